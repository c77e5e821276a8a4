"""Runs the bench `embedder`, PyTorch and candle in turn on the same work and prints a Markdown table with ratios.

    python3 benches/peers/compare_embedder.py --python PYTHON [--rounds N] [--under COMMAND]

PYTHON is an interpreter that has torch; this script itself needs only the standard library. It builds the bench and the
peer in `candle/` first, both in CARGO_TARGET_DIR or target. candle is built for this CPU, as its own repository does, and
with the kernels for AVX-512 of its products' crate, which are off by default.

Every measurement is a process of its own, and the three take turns. A figure is the median over the rounds of the median of
a process; of several ways to do the same all are shown, and the ratio is that of the fastest. candle takes new memory for
every result, so that it is measured with glibc's allocator as it is, and with one that keeps what was freed. The share of the CPUs that other processes
took meanwhile is printed below the table: above a few percent, repeat the run. --under COMMAND runs each process under a
command, such as one that pins it or keeps the machine quiet. A round takes about three minutes, and a process up to 5 GB.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import compare

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = 3


def build(target, name, *command, where=ROOT, flags=None):
    """The executable of this name that a cargo command makes."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target))
    if flags:
        environment["RUSTFLAGS"] = flags
    words = ["cargo", *command, "--locked", "--message-format", "json-render-diagnostics"]
    done = subprocess.run(words, cwd=where, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    made = map(json.loads, done.stdout.splitlines())
    return next(one["executable"] for one in made if one.get("executable") and one["target"]["name"] == name)


class Side:
    """Runs one of the three and gathers its times: name of a row -> name of a way -> one time for each round."""

    def __init__(self):
        self.times = {}

    def add(self, row, way, seconds):
        self.times.setdefault(row, {}).setdefault(way, []).append(seconds)

    def ways(self, row):
        """The time and the name of each way, the fastest first."""
        return sorted((statistics.median(times), way) for way, times in self.times.get(row, {}).items())


class Bitfit(Side):
    # The names of criterion's folders.
    ROWS = {
        "tape_node/infer": "node, infer", "tape_node/train": "node, train", "adamw_slices/100000": "adamw, 1e5",
        "adamw_slices/100000000": "adamw, 1e8", "encoder_two_layers/f32": "encoder, f32",
        "encoder_two_layers/bf16": "encoder, bf16",
    }

    def round(self, run, binary):
        with tempfile.TemporaryDirectory(prefix="bitfit-criterion-") as home:
            environment = dict(CRITERION_HOME=home)
            run([binary, "--bench", "--noplot", "--warm-up-time", 1, "--measurement-time", SECONDS,
                 "tape|adamw|two_layers/(f32|bf16)"], environment)
            for folder, row in self.ROWS.items():
                estimates = json.loads((Path(home) / folder / "new" / "estimates.json").read_text(encoding="utf-8"))
                nodes = 1000 if row.startswith("node") else 1
                self.add(row, "", 1e-9 * estimates["median"]["point_estimate"] / nodes)


class Peer(Side):
    def round(self, run, command, name="", environment=None):
        found = json.loads(run(command, environment or {}).splitlines()[-1])
        for row, value in [
            ("node, infer", found["node_s"]["infer"]), ("node, train", found["node_s"]["train"]),
            ("adamw, 1e5", found["adamw_s"]["100000"]), ("adamw, 1e8", found["adamw_s"]["100000000"]),
            *((f"encoder, {precision}", value) for precision, value in found["encoder_step_s"].items()),
        ]:
            for way, seconds in value.items() if isinstance(value, dict) else [(name, value)]:
                self.add(row, way, seconds)


TABLE = [
    ("node, infer", "a node, inference", "ns"), ("node, train", "a node, recorded, and its backward", "ns"),
    ("adamw, 1e5", "AdamW, 1e5 values", "µs"), ("adamw, 1e8", "AdamW, 1e8 values", "ms"),
    ("encoder, f32", "two encoder layers, a step, f32", "ms"), ("encoder, bf16", "two encoder layers, a step, bf16", "ms"),
]
SCALES = {"ns": 1e9, "µs": 1e6, "ms": 1e3}
# What glibc gives back to the system, and what it takes from it for one request alone, from these sizes on.
KEEP = dict(GLIBC_TUNABLES="glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184")


def figure(value):
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def lines(torch, candle, bitfit):
    yield "| measure | PyTorch | candle | bitfit-core | PyTorch ÷ bitfit | candle ÷ bitfit |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, what, unit in TABLE:
        ways = [side.ways(name) for side in (torch, candle, bitfit)]
        ours, _ = ways[-1][0]
        cells = [", ".join(f"{figure(seconds * SCALES[unit])} {unit} {way}".rstrip() for seconds, way in side) for side in ways]
        ratios = [f"{side[0][0] / ours:.2f}" if side else "" for side in ways]
        yield f"| {what} | {' | '.join([*cells, *ratios[:2]])} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch")
    parser.add_argument("--rounds", type=int, default=5, help="how often each of the three is measured (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each side (all)")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well")
    parser.add_argument("--under", help="a command that each process is run under")
    arguments = parser.parse_args()

    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    bench = build(target, "embedder", "bench", "--package", "benches", "--bench", "embedder", "--no-run")
    peer = build(target / "candle", "candle-embedder", "build", "--release", where=HERE / "candle", flags="-C target-cpu=native")
    under, threads = (arguments.under or "").split(), str(arguments.threads)
    threads_of = dict(RAYON_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    others = 0.0

    def run(command, environment):
        nonlocal others
        environment = {**os.environ, **threads_of, **environment}
        ticks, own, start = compare.busy_ticks(), compare.children_seconds(), time.monotonic()
        done = subprocess.run([*under, *map(str, command)], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        whole = time.monotonic() - start
        if ticks is not None:
            used = (compare.children_seconds() - own) * os.sysconf("SC_CLK_TCK")
            others = max(others, compare.Bench.share(compare.busy_ticks() - ticks - used, whole))
        print(f"{command[0]}: {whole:.0f} s", file=sys.stderr)
        return done.stdout

    torch, candle, bitfit = Peer(), Peer(), Bitfit()
    script = [arguments.python, HERE / "torch_embedder.py", "--seconds", SECONDS, "--threads", threads, "--large"]
    for _ in range(arguments.rounds):
        torch.round(run, [*script, *(["--compile"] if arguments.compile else [])])
        for name, environment in [("as is", {}), ("memory kept", KEEP)]:
            candle.round(run, [peer, "--seconds", SECONDS, "--large"], name, environment)
        bitfit.round(run, bench)
    print(*lines(torch, candle, bitfit), "", sep="\n")
    locked = tomllib.loads((HERE / "candle" / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    version = next(package["version"] for package in locked if package["name"] == "candle-core")
    said = [arguments.python, "-c", "import torch; print(torch.__version__)"]
    pytorch = subprocess.run(said, capture_output=True, text=True, check=True).stdout.strip()
    print(f"{time.strftime('%Y-%m-%d')} · {compare.cpu()}, {threads} threads · PyTorch {pytorch} · candle {version} ·"
          f" {arguments.rounds} rounds · other processes took {100 * others:.0f} % of the CPUs at most")


if __name__ == "__main__":
    main()
