#!/bin/sh
# From a fresh clone to a fine-tuned classifier: builds bitfit-cli, fetches MiniLM, learns the 14 intents of a support
# desk twice (a probe, which is a linear head on the frozen model, then BitFit with three seeds), compares them and
# classifies sentences that none has seen.
#
#     ./quickstart.sh
#
# Needs cargo (https://rustup.rs), and the network once. Writes target/quickstart anew. The last line on stdout is the
# result of the first BitFit run as one JSON object.
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

# The number of a key in the result of a run; `value` is the score that chose the epoch.
number() { sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" "$out/$1.json"; }

# One line of the comparison.
compare() {
    awk -v label="$2" -v accuracy="$(number "$1" value)" -v trainable="$(number "$1" trainable)" \
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
rm -rf "$out" # of an earlier call
mkdir -p "$out"

heading "Probe: a linear head on the frozen model, fitted to its optimum in one pass over the texts"
finetune probe --method probe

heading "BitFit: the biases train too, from the probe on, with three seeds"
for seed in 0 1 2; do
    finetune bitfit-$seed --lr 1e-3 --epochs 8 --schedule linear --seed $seed
done

heading "Probe and BitFit on the 168 rows of $data/test.tsv"
compare probe "probe: linear head"
for seed in 0 1 2; do compare bitfit-$seed "BitFit, seed $seed"; done

heading "Eight sentences that are in neither file: intent, probability, text"
"$bitfit" predict --model "$minilm" --task-file "$out/bitfit-0/task.safetensors" --input "$data/unseen.txt"

heading "The task: $out/bitfit-0/task.safetensors, $(number bitfit-0 task_bytes) bytes; the result of its run"
cat "$out/bitfit-0.json"
