#!/usr/bin/env bash
# What happens when bitfit-cli is killed, or what it stands on is taken away: no half of a file, no end by a signal that
# it was not sent, and one line that says what was wrong.
#
#     scripts/faults.sh CLI MODEL [N]
#
# CLI is a built bitfit-cli and MODEL a directory of all-MiniLM-L6-v2 (scripts/fetch-minilm.sh), of which copies are
# made. N is the number of kills, 30 by default; about six minutes on two cores. Prints a line for each check, `ok`,
# `FAILED` or `SKIPPED`, and ends with 1 where one failed. Needs GNU coreutils.
set -uo pipefail
set -m # a job in the background must not begin with SIGINT ignored
# Nor may this shell, which could not undo it: so it is where another script starts this one in the background.
[[ -z $(trap -p INT) ]] || exec env --default-signal=INT "$BASH" "$0" "$@"
kills=${3:-30}
# shellcheck source=scripts/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh" || exit 2
cut -f1 dev.tsv | tail -n +2 >texts.txt
export RAYON_NUM_THREADS=2

# The arguments of a short run; with `--epochs 1000 --log-every 1`, of one that has to be stopped.
run=(finetune --model "$model" --train "$desk/train.tsv" --eval dev.tsv --limit 96 --epochs 2)
endless=(finetune --model "$model" --train "$desk/train.tsv" --limit 96 --epochs 1000 --log-every 1)

# Whether stderr, in the file `err`, is one line of an error that has `$1` in it, and prints nothing else of a program
# that broke down.
is_one_line() { [[ $(wc -l <err) == 1 && $(<err) == "error: "* && $(<err) == *"$1"* ]]; }

# refused NAME TEXT COMMAND…: the command ends with 1 and one line that has the text in it.
refused() {
    local name=$1 text=$2 code
    shift 2
    "$@" >out 2>err </dev/null
    code=$?
    if ((code == 1)) && is_one_line "$text"; then ok "$name"; else bad "$name" "exit code $code, $(head -c 300 err)"; fi
}

# either NAME COMMAND…: the command succeeds, or ends with 1 and one line.
either() {
    local name=$1 code
    shift
    "$@" >out 2>err </dev/null
    code=$?
    if ((code == 0)); then
        ok "$name (it suffices)"
    elif ((code == 1)) && is_one_line ""; then
        ok "$name"
    else
        bad "$name" "exit code $code, $(head -c 300 err)"
    fi
}

evaluates() { "$cli" eval -q --model "$model" --task-file "$1/task.safetensors" --data dev.tsv >/dev/null 2>err; }

# Waits until a line of `err` begins with `$1`, for the job `$2`.
await() {
    until grep -q "^$1" err; do
        kill -0 "$2" 2>/dev/null || return 1
        sleep 0.02
    done
}

begin=$(now)
if "$cli" "${run[@]}" --out whole >out 2>err && evaluates whole; then
    ok "a run that is left alone"
else
    bad "a run that is left alone" "$(head -c 300 err)"
    exit 1
fi
length=$(($(now) - begin))

# Kills. All runs have one directory, so that what one leaves lies in the next one's way.
wrong="" found=0
for ((i = 0; i < kills; i++)); do
    "$cli" "${run[@]}" -q --out killed --overwrite >out 2>err </dev/null &
    job=$!
    pause $((RANDOM % length))
    kill -KILL $job 2>/dev/null
    wait $job 2>/dev/null
    [[ -e killed/task.safetensors ]] || continue
    found=$((found + 1))
    evaluates killed || wrong+="after kill $i: $(head -c 200 err); "
done
"$cli" "${run[@]}" -q --out killed --overwrite >out 2>err || wrong+="the next run: $(<err); "
has_only_known_names killed || wrong+="left behind: $(ls -A killed | tr '\n' ' ')"
name="$kills kills: what is there is complete ($found times), and the next run leaves nothing else"
if [[ -z $wrong ]]; then ok "$name"; else bad "$name" "$wrong"; fi

# Kills of runs that are resumed: the task file is that of a run that was left alone.
for method in bitfit full random-uniform; do
    resumable=("${run[@]}" -q --method $method --checkpoint-every 2)
    rm -rf alone killed
    begin=$(now)
    "$cli" "${resumable[@]}" --out alone >out 2>err || bad "$method, left alone" "$(head -c 300 err)"
    span=$(($(now) - begin)) wrong="" killed=0 resumed=0
    while ((resumed < kills && killed < 20 * kills)); do
        if [[ -e killed/state.safetensors ]]; then command=(finetune -q --resume killed); else
            command=("${resumable[@]}" --out killed --overwrite)
        fi
        "$cli" "${command[@]}" >out 2>err </dev/null &
        job=$!
        pause $((RANDOM % span))
        kill -KILL $job 2>/dev/null
        wait $job 2>/dev/null
        code=$?
        if ((code == 0)); then
            cmp -s killed/task.safetensors alone/task.safetensors || wrong+="another task file; "
        elif ((code == 137)); then
            killed=$((killed + 1))
            [[ ${command[2]} != --resume ]] || resumed=$((resumed + 1))
        else
            wrong+="exit code $code, $(head -c 300 err); "
            break
        fi
    done
    [[ ! -e killed/state.safetensors ]] || "$cli" finetune -q --resume killed >out 2>err || wrong+="$(head -c 300 err); "
    cmp -s killed/task.safetensors alone/task.safetensors || wrong+="another task file at the end; "
    name="$method: $killed kills, $resumed of them in a run that was resumed, and the same task file"
    if [[ -z $wrong ]]; then ok "$name"; else bad "$name" "$wrong"; fi
done

# Signals that ask a run to end: it saves what it reached. Before it catches them, it ends by them.
for signal in TERM INT; do
    wrong="" caught=0
    for ((i = 0; i < (kills + 2) / 3; i++)); do
        rm -rf asked
        "$cli" "${run[@]}" --out asked >out 2>err </dev/null &
        job=$!
        pause $((RANDOM % length))
        kill -$signal $job 2>/dev/null
        wait $job 2>/dev/null
        code=$?
        if grep -q "^stopping after this step" err; then
            caught=$((caught + 1))
            # The last step may have been made already.
            ((code == 130 || code == 0)) || wrong+="exit code $code, $(tail -n1 err); "
            [[ ! -e asked/task.safetensors ]] || evaluates asked || wrong+="$(head -c 200 err); "
        elif ((code != 0 && code != 128 + $(kill -l $signal))); then
            wrong+="exit code $code, $(tail -n1 err); "
        fi
        [[ ! -d asked ]] || has_only_known_names asked || wrong+="left behind: $(ls -A asked | tr '\n' ' '); "
    done
    name="SIG$signal: $(((kills + 2) / 3)) runs, $caught of them stopped and saved"
    if [[ -z $wrong && $caught != 0 ]]; then ok "$name"; else bad "$name" "$wrong"; fi
done

rm -rf asked
"$cli" "${endless[@]}" --out asked >out 2>err </dev/null &
job=$!
await "step 2/" $job && kill -INT $job && await "stopping after" $job && kill -INT $job 2>/dev/null
wait $job 2>/dev/null
code=$?
name="a second signal ends the run at once"
if ((code == 130)) && { [[ ! -d asked ]] || has_only_known_names asked; }; then ok "$name"; else bad "$name" "exit code $code"; fi

mkfifo texts
exec 9<>texts # its input stays open
"$cli" predict -q --model "$model" --task-file whole/task.safetensors --out answers >out 2>err <texts &
job=$!
until compgen -G 'answers.*.partial' >/dev/null || ! kill -0 $job 2>/dev/null; do sleep 0.02; done
kill -TERM $job
wait $job 2>/dev/null
code=$?
name="a signal during predict --out leaves no file"
if ((code == 130)) && ! compgen -G 'answers*' >/dev/null; then ok "$name"; else bad "$name" "exit code $code, $(ls)"; fi

# Places that take no bytes.
predict=(predict -q --model "$model" --task-file whole/task.safetensors --input texts.txt)
evaluate=(eval -q --model "$model" --task-file whole/task.safetensors --data dev.tsv)
refused "a full disk under predict --out" "No space left" "$cli" "${predict[@]}" --out /dev/full
full() { "$cli" "$@" >/dev/full; }
refused "a full disk under stdout of predict" "No space left" full "${predict[@]}"
refused "a full disk under stdout of eval" "No space left" full "${evaluate[@]}"
limited() {
    local flag=$1 limit=$2
    shift 2
    (ulimit "$flag" "$limit" && exec "$@")
}
refused "a limit on the size of files" "File too large" limited -f 8 "$cli" "${run[@]}" -q --out limited
if [[ ! -d limited ]] || has_only_known_names limited; then ok "and no part of a file"; else bad "and no part of a file" "$(ls -A limited)"; fi

# A state does not fit: the one before it stays, and the run goes on from it where there is room.
rm -rf cramped alone
"$cli" "${run[@]}" -q --out alone >out 2>err
"$cli" "${run[@]}" --log-every 1 --checkpoint-every 1 --out cramped >out 2>err </dev/null &
job=$!
await "step 4/" $job && kill -KILL $job
wait $job 2>/dev/null
refused "no room for a state" "the state before it is kept there" limited -f 256 "$cli" finetune -q --resume cramped
name="and the run goes on from that state"
"$cli" finetune -q --resume cramped >out 2>err
code=$?
if ((code == 0)) && cmp -s cramped/task.safetensors alone/task.safetensors; then ok "$name"; else bad "$name" "exit code $code, $(<err)"; fi

for files in 4 8 12 16 24; do
    either "$files file descriptors" limited -n $files "$cli" "${evaluate[@]}"
done
for megabytes in 50 100 200 300 400 600 1000; do
    either "$megabytes MB of address space" limited -v $((megabytes * 1024)) "$cli" "${run[@]}" -q --out small --overwrite
done

# Places for a run's files that are not files of its own.
mkdir read-only
chmod 555 read-only
name="an output directory that is read-only"
if touch read-only/probe 2>/dev/null; then
    rm read-only/probe
    skip "$name" "this user may write it (root?)"
else
    refused "$name" "--out read-only" "$cli" "${run[@]}" -q --out read-only
fi
echo precious >precious
for file in task.safetensors metrics.jsonl; do
    for kind in directory FIFO "symbolic link" "hard link"; do
        rm -rf taken
        mkdir taken
        case $kind in
            directory) mkdir taken/$file ;;
            FIFO) mkfifo taken/$file ;;
            "symbolic link") ln -s ../precious taken/$file ;;
            "hard link") ln precious taken/$file ;;
        esac
        name="a $kind at OUT/$file"
        if [[ $kind == "hard link" ]]; then
            "$cli" "${run[@]}" -q --out taken --overwrite >out 2>err
            code=$?
            if ((code == 0)) && evaluates taken; then ok "$name is replaced"; else bad "$name is replaced" "exit code $code, $(<err)"; fi
        else
            refused "$name" "$file in it is" "$cli" "${run[@]}" -q --out taken
        fi
        [[ $(<precious) == precious ]] || bad "$name" "what it leads to was written"
    done
done

# Streams that are closed at the start.
name="stdin closed"
"$cli" "${predict[@]}" >out 2>err <&-
code=$?
if ((code == 0)) && [[ $(wc -l <out) == $(wc -l <texts.txt) ]]; then ok "$name"; else bad "$name" "exit code $code, $(<err)"; fi
closed() { "$cli" "$@" >&-; }
refused "stdout closed, predict" "stdout" closed "${predict[@]}"
refused "stdout closed, eval" "stdout" closed "${evaluate[@]}"
name="stderr closed"
"$cli" "${evaluate[@]}" >out 2>&-
code=$?
if ((code == 0)) && [[ -s out ]]; then ok "$name"; else bad "$name" "exit code $code"; fi

# No place for a model. Nothing is fetched: the hub is a port on which nothing listens.
bare=(env -u HOME -u HF_HOME -u HF_HUB_CACHE -u HUGGINGFACE_HUB_CACHE -u XDG_CACHE_HOME HF_ENDPOINT=http://127.0.0.1:9)
hub=(finetune -q --model no-such/model --train dev.tsv --out hub)
refused "no network, HOME unset" "no-such/model" "${bare[@]}" "$cli" "${hub[@]}"
refused "no network, an empty cache" "no-such/model" "${bare[@]}" HF_HOME="$work/cache" "$cli" "${hub[@]}"
refused "a cache that cannot be written" "no-such/model" "${bare[@]}" HF_HOME=/dev/null/cache "$cli" "${hub[@]}"

# Weights that change while they are mapped.
for change in truncated overwritten; do
    rm -rf copy changed
    cp -rL "$model" copy
    if [[ $change == truncated ]]; then epochs=1000; else epochs=20; fi
    "$cli" finetune --model copy --train "$desk/train.tsv" --limit 96 --epochs $epochs --log-every 1 --out changed \
        >out 2>err </dev/null &
    job=$!
    await "step 2/" $job
    case $change in
        truncated) truncate -s 1000 copy/model.safetensors ;;
        overwritten) head -c 4096 /dev/urandom | dd of=copy/model.safetensors bs=4096 seek=1000 conv=notrunc status=none ;;
    esac
    wait $job 2>/dev/null
    code=$?
    name="weights $change in place during a run"
    errors=$(grep -c '^error: ' err)
    if ((code == 1 && errors == 1)); then ok "$name"; else bad "$name" "exit code $code, $(tail -n 2 err)"; fi
    [[ ! -d changed ]] || has_only_known_names changed || bad "$name" "left behind: $(ls -A changed)"
done

printf '%d ok, %d failed, %d skipped\n' $passed $failed $skipped
((failed == 0))
