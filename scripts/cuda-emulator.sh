#!/usr/bin/env bash
# Runs a command on the emulated CUDA driver of bitfit-cuda/emulator: builds it if necessary, and makes the loader find
# it before a real driver.
#
#     scripts/cuda-emulator.sh cargo test -p bitfit-cuda
#     BITFIT_EMULATOR_ORDER=reverse BITFIT_EMULATOR_ARCH=75 scripts/cuda-emulator.sh cargo test -p bitfit-cuda
#     scripts/cuda-emulator.sh --test          # the emulator's own tests
#
# Needs Linux on x86-64, g++ and make. The environment variables are in bitfit-cuda/emulator/README.md.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${CARGO_TARGET_DIR:-$root/target}
[[ $out == /* ]] || out=$PWD/$out
out+=/cuda-emulator

build=(make --silent --directory "$root/bitfit-cuda/emulator" -j2 "OUT=$out")
"${build[@]}" >&2
if [[ ${1:-} == --test ]]; then exec "${build[@]}" test; fi

# Each buffer an allocation of its own, between inaccessible pages.
export BITFIT_CUDA_MEMORY=${BITFIT_CUDA_MEMORY:-separate}
export BITFIT_EMULATOR_CACHE=${BITFIT_EMULATOR_CACHE:-$out/cache} BITFIT_CUDA_CACHE=${BITFIT_CUDA_CACHE:-$out/images}
export LD_LIBRARY_PATH=$out${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
exec "$@"
