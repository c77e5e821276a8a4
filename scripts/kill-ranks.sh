#!/usr/bin/env bash
# What happens when a rank of a data-parallel run is killed or does not fit the others: every process ends within
# seconds, one line names the rank and the cause, no half of a file is left, and the run goes on from its last state on
# any number of ranks to the bits of a run that was left alone.
#
#     scripts/kill-ranks.sh CLI MODEL [N]
#
# CLI is a bitfit-cli that was built with --features mpi and MODEL a directory of all-MiniLM-L6-v2
# (scripts/fetch-minilm.sh), of which a copy is made. N is the number of kills, 10 by default; some minutes on two
# cores. Prints a line for each check, `ok` or `FAILED`, and ends with 1 where one failed. Needs Open MPI and GNU
# coreutils.
set -uo pipefail
kills=${3:-10}
# shellcheck source=scripts/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh" || exit 2
cp "$cli" own-cli # a name of its own, by which its processes are found
own=$work/own-cli

mpi=(mpirun --oversubscribe)
((EUID != 0)) || mpi+=(--allow-run-as-root)
seconds=20 # within which everything has to end

# Of so many epochs that most kills meet a run that has a state.
run=(finetune -q --model "$model" --train "$desk/train.tsv" --eval dev.tsv --limit 96 --epochs 8 --checkpoint-every 1)

# The processes of our ranks.
ranks() { pgrep -f "^$own" || true; }

# Waits until no rank is left, at most the given time; kills what is left then.
gone() {
    local end=$((SECONDS + seconds))
    while [[ -n $(ranks) ]]; do
        if ((SECONDS > end)); then
            # shellcheck disable=SC2046  # a list of numbers
            kill -KILL $(ranks) 2>/dev/null
            return 1
        fi
        sleep 0.1
    done
}

if "$own" "${run[@]}" --shards 16 --out alone >out 2>err; then ok "one process, left alone"; else
    bad "one process, left alone" "$(head -c 300 err)"
    exit 1
fi
begin=$(now)
for n in 1 2 3 4; do
    "${mpi[@]}" -n "$n" "$own" "${run[@]}" --out "of-$n" >out 2>err
    code=$?
    name="$n ranks, left alone: the same task file"
    if ((code == 0)) && cmp -s "of-$n/task.safetensors" alone/task.safetensors; then ok "$name"; else
        bad "$name" "exit code $code, $(head -c 300 err)"
    fi
    length=$(($(now) - begin)) begin=$(now)
done

# Kills of one of four ranks at a random point; the run goes on on one to four ranks, and may be killed again.
wrong="" killed=0 resumed=0 ended=0
while ((killed < kills && ended < 5 * kills)); do
    ended=$((ended + 1))
    if [[ -e killed/state.safetensors || -e killed/state.earlier.safetensors ]]; then
        command=(finetune -q --resume killed) resumed=$((resumed + 1))
    else
        command=("${run[@]}" --out killed --overwrite)
    fi
    "${mpi[@]}" -n 4 "$own" "${command[@]}" >out 2>err </dev/null &
    job=$!
    pause $((500 + RANDOM % length))
    victims=($(ranks))
    if ((${#victims[@]} > 0)); then
        kill -KILL "${victims[RANDOM % ${#victims[@]}]}" 2>/dev/null
    fi
    gone || wrong+="ranks were left after $seconds s; "
    wait $job 2>/dev/null
    code=$?
    if ((code == 0)); then
        cmp -s killed/task.safetensors alone/task.safetensors || wrong+="another task file; "
        continue
    fi
    killed=$((killed + 1))
    (($(grep -c 'rank [0-9].* signal 9' err) == 1)) || wrong+="it said: $(head -c 400 err | tr '\n' '|'); "
    # What a rank was writing when it was killed, which nothing reads, may be left.
    [[ ! -d killed ]] || has_only_known_names killed '*.partial' || wrong+="left behind: $(ls -A killed | tr '\n' ' '); "
    # Every other time it goes on at once, on another number of ranks.
    if ((killed % 2 == 0)) && [[ -e killed/state.safetensors ]]; then
        n=$((RANDOM % 4 + 1))
        resumed=$((resumed + 1))
        "${mpi[@]}" -n $n "$own" finetune -q --resume killed >out 2>err || wrong+="on $n ranks: $(head -c 300 err); "
        cmp -s killed/task.safetensors alone/task.safetensors || wrong+="another task file on $n ranks; "
    fi
done
if [[ -e killed/state.safetensors ]]; then
    "$own" finetune -q --resume killed >out 2>err || wrong+="in one process: $(head -c 300 err); "
    cmp -s killed/task.safetensors alone/task.safetensors || wrong+="another task file in one process; "
fi
((resumed != 0)) || wrong+="no run was resumed; "
name="$killed ranks killed, $resumed runs resumed, and the same task file"
if [[ -z $wrong && $killed == "$kills" ]]; then ok "$name"; else bad "$name" "$wrong"; fi

# refused NAME TEXT COMMAND…: mpirun ends with an error, and one line of ours has the text in it.
refused() {
    local name=$1 text=$2 code begin=$SECONDS
    shift 2
    timeout $((2 * seconds)) "${mpi[@]}" "$@" >out 2>err </dev/null
    code=$?
    gone || bad "$name" "ranks were left"
    if ((code != 0 && SECONDS - begin <= seconds)) && [[ $(grep -c '^error: ' err) == 1 ]] &&
        grep '^error: ' err | grep -q -- "$text"; then ok "$name: $(grep '^error: ' err)"; else
        bad "$name" "exit code $code after $((SECONDS - begin)) s, $(head -c 600 err | tr '\n' '|')"
    fi
}

# The last of three ranks is another one.
new=("${run[@]}" --out new)
other=("$own" finetune -q --model "$model" --eval dev.tsv --limit 96 --epochs 8 --checkpoint-every 1 --out new)
refused "other data" "rank 2: it has another training set" \
    -n 2 "$own" "${new[@]}" : -n 1 "${other[@]}" --train "$desk/test.tsv"
refused "data that one rank lacks" "rank 2: .*missing.tsv: No such file" \
    -n 2 "$own" "${new[@]}" : -n 1 "${other[@]}" --train missing.tsv
refused "a flag that one rank lacks" "rank 2: unexpected argument" -n 2 "$own" "${new[@]}" : -n 1 "$own" "${new[@]}" --rotate
cp "$cli" own-cli-2 && printf ' ' >>own-cli-2
refused "another binary" "rank 2: it has another program" -n 2 "$own" "${new[@]}" : -n 1 "$work/own-cli-2" "${new[@]}"
refused "another instruction set" "rank 2: it has another arithmetic" \
    -n 2 "$own" "${new[@]}" : -n 1 -x BITFIT_ISA=portable "$own" "${new[@]}"
cp -rL "$model" other-model
# One bit of the last weight.
size=$(stat -c %s other-model/model.safetensors)
printf '\001' | dd of=other-model/model.safetensors bs=1 seek=$((size - 4)) conv=notrunc status=none
refused "another base" "rank 2: it has another base model" \
    -n 2 "$own" "${new[@]}" : -n 1 "$own" "${new[@]/#$model/other-model}"
refused "a wrong flag on all ranks" "--lr 0: it must be a number above 0" -n 3 "$own" "${new[@]}" --lr 0
refused "several seeds" "--seeds: several ranks make one run" -n 2 "$own" "${new[@]}" --seeds 0-2
refused "more ranks than shards" "--shards 2: 3 ranks were started" -n 3 "$own" "${new[@]}" --shards 2

# The first rank can write no longer: the others, which wait for it, end too.
name="a directory that is lost"
"${mpi[@]}" -n 3 "$own" "${new[@]/#8/1000}" >out 2>err </dev/null &
job=$!
until [[ -e new/state.safetensors ]] || ! kill -0 $job 2>/dev/null; do sleep 0.05; done
mv new lost
gone || bad "$name" "ranks were left"
wait $job 2>/dev/null
code=$?
if ((code != 0)) && [[ $(grep -c '^error: ' err) == 1 ]] && grep -q '^error: rank 0: new/.*No such file' err; then
    ok "$name: $(grep '^error: ' err)"
else
    bad "$name" "exit code $code, $(head -c 600 err | tr '\n' '|')"
fi
exit $((failed > 0))
