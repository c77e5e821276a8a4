# shellcheck shell=bash disable=SC2034  # the scripts use what is set here
# What faults.sh and kill-ranks.sh have in common, which source this file with their own arguments, CLI and MODEL first:
# a directory to work in, which is removed at the end, the line of a check, and what a run may leave.
cli=$(realpath "$1") model=$(realpath "$2")
desk=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../data/support-desk")
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work" || exit 2
head -n 33 "$desk/test.tsv" >dev.tsv

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)) && printf 'ok       %s\n' "$1"; }
bad() { failed=$((failed + 1)) && printf 'FAILED   %s: %s\n' "$1" "$2"; }
skip() { skipped=$((skipped + 1)) && printf 'SKIPPED  %s: %s\n' "$1" "$2"; }

# Milliseconds.
now() { date +%s%3N; }
pause() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

# Whether a directory holds the files of a run and nothing else, but for names of the pattern `$2`.
has_only_known_names() {
    local name
    for name in $(ls -A "$1"); do
        case $name in
            task.safetensors | metrics.jsonl | state.safetensors | state.earlier.safetensors) ;;
            # shellcheck disable=SC2254  # a pattern
            ${2:-}) ;;
            *) return 1 ;;
        esac
    done
}
