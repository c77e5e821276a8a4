#!/bin/sh
# From a fresh clone to a fine-tuned classifier: builds bitfit-cli, fetches MiniLM, trains the 14 intents of a support
# desk twice (a head on the frozen model, then BitFit), compares the two and classifies sentences that neither has seen.
#
#     ./quickstart.sh
#
# Needs cargo (https://rustup.rs), and the network once. Writes to target/quickstart. The last line on stdout is the
# result of the BitFit run as one JSON object.
set -eu
cd "$(dirname "$0")"

data=data/support-desk
out=target/quickstart
bitfit=${CARGO_TARGET_DIR:-target}/release/bitfit-cli

heading() { printf '\n== %s\n' "$1"; }
fail() { echo "quickstart: $1" >&2; exit 1; }

# One run of `finetune`: its last line, the result, goes to $out/NAME.json.
finetune() {
    name=$1
    shift
    echo "\$ bitfit-cli finetune --model MINILM --train $data/train.tsv --eval $data/test.tsv $* --out $out/$name"
    "$bitfit" finetune --model "$minilm" --train "$data/train.tsv" --eval "$data/test.tsv" "$@" --out "$out/$name" \
        >"$out/$name.json" || fail "the run $name failed; see its error above"
}

# The number of a key in the result of a run.
number() { sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" "$out/$1.json"; }

# One line of the comparison.
compare() {
    awk -v label="$2" -v accuracy="$(number "$1" accuracy)" -v trainable="$(number "$1" trainable)" \
        -v seconds="$(number "$1" seconds)" 'BEGIN {
            printf "%-28s accuracy %.3f   %6d scalars trained   %3.0f s of training\n", label, accuracy, trainable, seconds
        }'
}

command -v cargo >/dev/null 2>&1 || fail "there is no cargo: install Rust 1.95 or later from https://rustup.rs"

heading "Build (once, a few minutes)"
cargo build --release -p bitfit-cli || fail "the build failed; it needs Rust 1.95 or later, and the network for the crates"

heading "Model: all-MiniLM-L6-v2, 22.7 million parameters"
minilm=$(scripts/fetch-minilm.sh) || fail "there is no model to train; see the reason above"
echo "$minilm"
mkdir -p "$out"

heading "Frozen: nothing but the task's head trains"
finetune frozen --method frozen --lr 1e-2 --epochs 20 --schedule linear

heading "BitFit: the biases train too"
finetune bitfit --lr 4e-3 --epochs 20 --schedule linear

heading "Frozen and BitFit on the 168 rows of $data/test.tsv"
compare frozen "frozen, head only"
compare bitfit "BitFit, head and all biases"

heading "Eight sentences that are in neither file: intent, probability, text"
"$bitfit" predict --model "$minilm" --task-file "$out/bitfit/task.safetensors" --input "$data/unseen.txt"

heading "The task: $out/bitfit/task.safetensors, $(number bitfit task_bytes) bytes; the result of its run"
cat "$out/bitfit.json"
