#!/bin/sh
# Core's tests under AddressSanitizer: every kernel of every instruction set the CPU has, on odd shapes and real ones,
# with each read and write checked against the bounds and the lifetime of its memory.
#
#     scripts/sanitize.sh [TEST-NAME…]
#
# Needs nothing but the toolchain: stable Rust ships the sanitizer's runtime, and RUSTC_BOOTSTRAP lets it take the flag.
# Builds into target/sanitize, some minutes the first time.
set -eu
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
    cargo test --locked -p bitfit-core --lib --target "$host" --target-dir target/sanitize -- "$@"
