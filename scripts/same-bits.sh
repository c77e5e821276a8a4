#!/usr/bin/env bash
# Checks that two builds of bitfit-cli give bit-identical results: both make every run below, and the tensors of the
# task files are compared byte by byte, the metrics logs number by number (except the speed). For changes that must not
# change results.
#
#     scripts/same-bits.sh OLD_CLI NEW_CLI [RUN…]
#
# Both must run on the same machine. BITFIT_MINILM names the directory of MiniLM's weights; without it
# scripts/fetch-minilm.sh is asked. With names of runs, only those are made. Needs python3.
set -euo pipefail
old=$(realpath "$1") new=$(realpath "$2")
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
model=${BITFIT_MINILM:-$(scripts/fetch-minilm.sh)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

desk="--train data/support-desk/train.tsv --eval data/support-desk/test.tsv --limit 96 --epochs 2 --log-every 1"
pairs_file=bitfit-bert/tests/goldens/minilm/pairs.tsv
goldens=bitfit-bert/tests/goldens/minilm
score="--train $pairs_file --eval $pairs_file --kind regress --text sentence1,sentence2 --label score --epochs 2 --log-every 1"
# Pairs with two classes: whether the score is above the middle.
awk -F'\t' -v OFS='\t' 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "score") at = i; print; next }
    { $at = $at > 2.5 ? "alike" : "apart"; print }' $pairs_file >"$work/classes.tsv"
classes="--train $work/classes.tsv --eval $work/classes.tsv --text sentence1,sentence2 --label score --epochs 2 --log-every 1"

runs=(
    "classify-f32-2|$desk --threads 2"
    "classify-f32-1|$desk --threads 1"
    "classify-bf16-2|$desk --threads 2 --precision bf16"
    "classify-bf16-1|$desk --threads 1 --precision bf16"
    "subset-f32|$desk --bias query,intermediate --threads 2"
    "subset-bf16|$desk --bias query,intermediate --threads 1 --precision bf16"
    "upper-f32|$desk --layers 3-5 --threads 2"
    "upper-f32-no-cache|$desk --layers 3-5 --threads 1 --reuse-memory 0"
    "upper-f32-frozen-dropout|$desk --layers 3-5 --threads 2 --frozen-dropout"
    "upper-bf16|$desk --layers 3-5 --threads 2 --precision bf16"
    "frozen-f32|$desk --method frozen --threads 2"
    "frozen-bf16|$desk --method frozen --threads 1 --precision bf16"
    "regress-f32|$score --threads 2"
    "regress-bf16|$score --threads 1 --precision bf16"
    "regress-upper|$score --layers 3-5 --threads 2"
    "pair-f32|$classes --threads 2"
    "pair-bf16-frozen|$classes --method frozen --threads 2 --precision bf16"
    "schedule|$desk --batch-tokens 600 --schedule linear --warmup 0.2 --weight-decay 0.1 --group-by-length --clip 0.5 --seed 7"
    "init-head|$desk --init-head $goldens/head_classify.safetensors --dropout 0 --no-shuffle --threads 2"
)

compare() {
    python3 - "$1" "$2" <<'PYTHON'
import json, struct, sys

def tensors(path):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    start = 8 + length
    return {n: (t["dtype"], t["shape"], data[start + t["data_offsets"][0] : start + t["data_offsets"][1]]) for n, t in header.items()}

def log(path):
    lines = [json.loads(line) for line in open(path)]
    for line in lines:
        line.pop("tokens_per_s", None)
    return lines

old, new = sys.argv[1:]
a, b = (tensors(f"{out}/task.safetensors") for out in (old, new))
assert a.keys() == b.keys(), f"other tensors: {sorted(a.keys() ^ b.keys())}"
different = [name for name in a if a[name] != b[name]]
assert not different, f"{len(different)} of {len(a)} tensors differ: {different[:3]}"
assert log(f"{old}/metrics.jsonl") == log(f"{new}/metrics.jsonl"), "the metrics logs differ"
print(f"same: {len(a)} tensors, {sum(len(t[2]) for t in a.values())} bytes, {len(log(f'{new}/metrics.jsonl'))} log lines")
PYTHON
}

# A build that offers other read-outs is told to use the pooler, which was the only one once, and to make no probe.
extra() {
    if "$1" finetune --help | grep -q -- --pooling; then echo "--pooling pooler --no-probe"; fi
}
old_extra=$(extra "$old") new_extra=$(extra "$new")

failed=0
for run in "${runs[@]}"; do
    name=${run%%|*} flags=${run#*|}
    if (($# > 0)) && [[ " $* " != *" $name "* ]]; then continue; fi
    for side in old new; do
        extra=${side}_extra
        # shellcheck disable=SC2086  # lists of flags
        "${!side}" finetune -q --model "$model" $flags ${!extra} --out "$work/$side-$name" >"$work/$side-$name.json"
    done
    printf '%-26s ' "$name"
    compare "$work/old-$name" "$work/new-$name" || failed=1
done
exit $failed
