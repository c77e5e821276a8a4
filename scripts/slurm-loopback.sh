#!/usr/bin/env bash
# Tries slurm/sweep.sbatch on a real Slurm: starts munged, slurmctld and slurmd (Debian: slurm-wlm and munge) on
# 127.0.0.1 in a temporary directory, runs a sweep as an array of six, and compares its table and its task files with
# those of one process, byte by byte. One task is killed in the middle of a run and queued again by hand.
#
#   scripts/slurm-loopback.sh target/release/bitfit-cli MODEL     as root, or as a user whose jobs slurmd may run
set -euo pipefail

[ $# = 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
program=$(realpath "$1")
model=$(realpath "$2")
for tool in munged slurmctld slurmd sbatch squeue sinfo scontrol scancel; do
    PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || { echo "missing: $tool; install slurm-wlm and munge" >&2; exit 1; }
done
export PATH=$PATH:/usr/sbin
work=$(mktemp -d)
processes=()
finish() {
    scancel --quiet --user="$(id -un)" 2>/dev/null || true
    # A step that outlives its controller would wait for it.
    for _ in $(seq 100); do [ -z "$(squeue -h 2>/dev/null)" ] && break; sleep 0.1; done
    for ((i = ${#processes[@]} - 1; i >= 0; i--)); do kill "${processes[i]}" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

mkdir -p "$work"/{state,spool,bin}
chmod 711 "$work"
ln -s "$program" "$work/bin/bitfit-cli"
export PATH=$work/bin:$PATH SLURM_CONF=$work/slurm.conf

# Authentication: a key, a socket and files of its own. --force, because a temporary directory may be written by others.
(umask 077 && dd if=/dev/urandom of="$work/munge.key" bs=128 count=1 status=none)
munged --foreground --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munge.pid" \
    --log-file="$work/munge.log" --seed-file="$work/munge.seed" 2> "$work/munge.out" &
processes+=($!)
for _ in $(seq 100); do [ -S "$work/munge.socket" ] && break; sleep 0.1; done

port() { "${PYTHON:-python3}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
cat > "$SLURM_CONF" <<CONF
ClusterName=loopback
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$(port)
SlurmdPort=$(port)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$work/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MailProg=/bin/true
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
slurmctld -D -i > "$work/slurmctld.out" 2>&1 &
processes+=($!)
slurmd -D -N "$(hostname -s)" > "$work/slurmd.out" 2>&1 &
processes+=($!)
for _ in $(seq 300); do [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && break; sleep 0.1; done
[ "$(sinfo -h -o %T)" = idle ] || { cat "$work"/slurm*.log >&2; exit 1; }
sinfo --version

sweep=(--model "$model" --train "$root/data/support-desk/train.tsv" --eval "$root/data/support-desk/test.tsv"
    --methods probe,bitfit,frozen --seeds 0-3 --epochs 2 --limit 96 --checkpoint-every 1)
cd "$work"
echo 'one process ...'
bitfit-cli compare "${sweep[@]}" --out alone --threads 1 -q > alone.json

submit() { sbatch --parsable --cpus-per-task=1 --output="$work/%A_%a.log" "$@"; }
job=$(submit "$root/slurm/sweep.sbatch" "${sweep[@]}" --out out --log-every 1)
echo "job array $job, tasks 0 to 5"
# As where a node fails: the task of the second shard dies, is queued again, and goes on from the state of its run.
for _ in $(seq 1200); do grep -qs '^step 3/' "${job}_1.log" && break; sleep 0.05; done
pid=$(sed -n 's/.*"process":\([0-9]*\),"job":"'"${job}_1"'".*/\1/p' out/sweep/worker-*.json)
kill -KILL "$pid"
for _ in $(seq 2400); do [ -z "$(squeue -h -j "$job" 2>/dev/null)" ] && break; sleep 0.5; done
again=$(submit --array=1 "$root/slurm/sweep.sbatch" "${sweep[@]}" --out out --log-every 1)
for _ in $(seq 2400); do [ -z "$(squeue -h -j "$again" 2>/dev/null)" ] && break; sleep 0.5; done

grep -h '^shard\|runs are left\|^resumed\|^finished' "${job}"_?.log "${again}"_?.log
grep -q "^resumed after step" "${again}_1.log"
failed=0
for file in comparison.md comparison.csv comparison.svg {probe,bitfit,frozen}/seed-{0,1,2,3}/task.safetensors; do
    cmp "alone/$file" "out/$file" || failed=1
done
[ ! -e out/sweep ] || { echo "out/sweep is still there" >&2; failed=1; }
cat out/comparison.md
[ $failed = 0 ] && echo "the table and twelve task files are those of one process, byte by byte"
exit $failed
