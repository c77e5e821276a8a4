"""Runs PyTorch and bitfit alternately on the same work and prints a Markdown table with ratios.

    python3 benches/peers/compare.py --python PYTHON --minilm DIR --rte DIR --bitfit-bin target/release [--quick]

PYTHON is an interpreter that has torch, transformers, onnx and onnxruntime; this script itself needs only the standard library. DIR of --minilm
is all-MiniLM-L6-v2 (scripts/fetch-minilm.sh), that of --rte holds GLUE's train.tsv and dev.tsv of RTE. The binaries are
those of `cargo build --release -p benches -p bitfit-cli`. BERT-base has random weights, which the first run writes
beside the binaries' directory (440 MB); PyTorch reads the same file.

With --device cuda and --batches FILE it measures steps on a GPU instead, and needs neither MiniLM nor RTE: all weights are
random. A line of FILE is a batch, the lengths of its sequences.

Every measurement is a separate process, PyTorch's and bitfit's alternate, and both use --threads threads. The share of the
CPUs that other processes took meanwhile is printed below the table: above a few percent, repeat the run. Progress goes to
stderr. It takes about ten minutes on two cores; --quick only checks that everything works, with few steps.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import gpu

HERE = Path(__file__).resolve().parent
SEQUENCES, TOKENS, BATCH = 16, 128, 16
REPEATED = 8


@dataclass
class Run:
    """The result of a process."""

    result: dict  # the last line of its stdout
    lines: list  # seconds from its start to each line of its stdout
    whole: float  # seconds from its start to its end


def busy_ticks():
    """CPU time that all processes have used since the system started, in ticks; None without /proc."""
    try:
        with open("/proc/stat", encoding="ascii") as stat:
            user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, stat.readline().split()[1:])
    except OSError:
        return None
    return user + nice + system + irq + softirq


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Bench:
    """Runs both sides, and measures the CPU time of other processes."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.binaries = Path(arguments.bitfit_bin).resolve()
        self.models = self.binaries.parent
        self.threads = arguments.threads
        self.steps = 2 if arguments.quick else arguments.steps
        self.limit = ["--limit", "160"] if arguments.quick else []
        self.others = 0.0  # the greatest share of all CPUs that others took during a run
        self.environment = dict(
            os.environ,
            CARGO_TARGET_DIR=str(self.models),
            RAYON_NUM_THREADS=str(self.threads),
            OMP_NUM_THREADS=str(self.threads),
            HF_HUB_OFFLINE="1",
            TOKENIZERS_PARALLELISM="true",
        )

    def wait(self):
        """Waits until other processes are idle, for at most --wait seconds."""
        deadline = time.monotonic() + self.arguments.wait
        while time.monotonic() < deadline:
            before, start = busy_ticks(), time.monotonic()
            time.sleep(2)
            after = busy_ticks()
            if before is None or self.share(after - before, time.monotonic() - start) < 0.05:
                return
        if self.arguments.wait:
            print("compare: the machine is not idle; going on", file=sys.stderr)

    @staticmethod
    def share(ticks, seconds):
        return ticks / os.sysconf("SC_CLK_TCK") / seconds / os.cpu_count()

    def run(self, command, counted=True):
        """Runs one process to its end."""
        command = [str(word) for word in command]
        self.wait()
        ticks, own, start = busy_ticks(), children_seconds(), time.monotonic()
        lines, last = [], ""
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE if not self.arguments.verbose else None,
            text=True, env=self.environment,
        ) as process:
            # There is little output on stderr, which fits into the pipe until stdout ends.
            for line in process.stdout:
                lines.append(time.monotonic() - start)
                last = line
            errors = process.stderr.read() if process.stderr else ""
        whole = time.monotonic() - start
        if process.returncode:
            sys.exit(f"compare: {' '.join(command)} failed with {process.returncode}\n{errors}")
        if ticks is not None and counted:
            used = (children_seconds() - own) * os.sysconf("SC_CLK_TCK")
            self.others = max(self.others, self.share(busy_ticks() - ticks - used, whole))
        run = Run(json.loads(last), lines, whole)
        stamps = " ".join(f"{seconds:.2f}" for seconds in lines)
        print(f"{' '.join(command)}\n    {last.strip()[:400]} lines at {stamps}, whole {whole:.2f} s", file=sys.stderr)
        return run

    def torch(self, script, *words):
        return self.run([self.arguments.python, HERE / script, *words, "--threads", self.threads])

    def torch_alone(self, script, *words):
        return self.run([self.arguments.python, HERE / script, *words])

    def onnx_eval(self, precision, merged, data):
        """ONNX Runtime's evaluation, in the precisions that it has on a CPU."""
        return precision != "bf16" and self.torch("onnx_eval.py", merged, data, precision)

    def torch_step(self, precision, *more):
        model = self.models / "bench-bert-base"
        return self.torch("torch_step.py", model, precision, SEQUENCES, TOKENS, "--steps", self.steps, *more)

    def step(self, precision, steps=None, counted=True, *more, model="base"):
        command = [self.binaries / "step", model, precision, SEQUENCES, TOKENS, steps or self.steps, *more]
        return self.run(command, counted)

    def torch_epoch(self, precision, *more):
        words = [self.arguments.minilm, self.arguments.rte, precision, "--batch-size", BATCH, *self.limit, *more]
        return self.torch("torch_epoch.py", *words)

    def bitfit(self, command, precision, *words):
        return self.run([
            self.binaries / "bitfit-cli", command, "--model", self.arguments.minilm, "--task", "rte",
            "--precision", precision, "--threads", self.threads, "--quiet", *words,
        ])

    def finetune(self, precision, out, *more):
        return self.bitfit(
            "finetune", precision, "--train", Path(self.arguments.rte) / "train.tsv", "--batch-size", BATCH,
            "--epochs", 1, "--lr", "1e-3", "--out", out, "--overwrite", *more,
        )

    def evaluate(self, precision, out, directory=None):
        data = Path(directory or self.arguments.rte) / "dev.tsv"
        return self.bitfit("eval", precision, "--task-file", Path(out) / "task.safetensors", "--data", data)


def row(what, unit, torch, bitfit, higher_is_better=False, digits=2):
    """A line of the table; the ratio is how many times better bitfit is."""
    ratio = bitfit / torch if higher_is_better else torch / bitfit
    return f"| {what} | {torch:,.{digits}f} {unit} | {bitfit:,.{digits}f} {unit} | {ratio:.2f} |"


def steps(bench):
    """BERT-base, one step at a time."""
    bench.step("f32", steps=1, counted=False)  # writes the weights where they are missing, and warms the disk
    runs = {precision: (bench.torch_step(precision), bench.step(precision)) for precision in ("f32", "bf16")}
    int8 = bench.step("int8")
    what = f"BERT-base step, {SEQUENCES} × {TOKENS}"
    for precision, (torch, bitfit) in runs.items():
        yield row(f"{what}, {precision}", "s", torch.result["median_s"], bitfit.result["median_s"])
        if bench.arguments.compile:
            compiled = bench.torch_step(precision, "--compile")
            yield row(f"{what}, {precision}, torch.compile", "s", compiled.result["median_s"], bitfit.result["median_s"])
    for precision, (torch, bitfit) in runs.items():
        peaks = [run.result["peak_rss_bytes"] for run in (torch, bitfit)]
        if None not in peaks:
            yield row(f"the same, {precision}: peak RSS", "GB", *(peak / 1e9 for peak in peaks))
    # PyTorch has no training in int8: its faster and its smaller step stand beside ours.
    theirs = [run.result for run, _ in runs.values()]
    yield row(f"{what}, int8, PyTorch's faster", "s", min(run["median_s"] for run in theirs), int8.result["median_s"])
    if None not in (peaks := [run["peak_rss_bytes"] for run in (*theirs, int8.result)]):
        yield row("the same: peak RSS", "GB", min(peaks[:-1]) / 1e9, peaks[-1] / 1e9)
    torch, bitfit = runs["f32"]
    yield row("BERT-base, f32: start to beginning of first step", "s", torch.lines[0], bitfit.lines[0])
    yield row("BERT-base, f32: start to end of first step", "s", torch.lines[1], bitfit.lines[1])


def epochs(bench):
    """RTE on MiniLM: training, evaluation, and how soon it begins."""
    with tempfile.TemporaryDirectory(prefix="bitfit-compare-") as out:
        one = bench.finetune("f32", out, "--limit", BATCH)
        padded = bench.torch_epoch("f32")
        f32 = bench.finetune("f32", out, *bench.limit)
        f32_scores = bench.evaluate("f32", out)
        sorted_ = bench.torch_epoch("bf16", "--sort")
        bf16 = bench.finetune("bf16", out, *bench.limit)
        bf16_scores = bench.evaluate("bf16", out)
    pairs = [("f32, PyTorch padded to 128", padded, f32), ("bf16, PyTorch sorted by length", sorted_, bf16)]
    for what, torch, bitfit in pairs:
        yield row(f"MiniLM on RTE, one epoch, {what}", "s", torch.result["seconds"], bitfit.result["seconds"], digits=1)
        rates = [run.result["tokens_per_s"] for run in (torch, bitfit)]
        yield row("the same, real tokens", "/s", *rates, higher_is_better=True, digits=0)
        peaks = [run.result["peak_rss_bytes"] for run in (torch, bitfit)]
        if None not in peaks:
            yield row("the same, peak RSS", "GB", *(peak / 1e9 for peak in peaks))
    for precision, torch, bitfit in [("f32", padded, f32_scores), ("bf16", sorted_, bf16_scores)]:
        rates = (torch.result["eval_tokens_per_s"], bitfit.result["tokens_per_s"])
        what = f"MiniLM on RTE's dev set, evaluation, {precision}, PyTorch sorted by length"
        yield row(what, "tokens/s", *rates, higher_is_better=True, digits=0)
    # bitfit's whole process: it also saves the task file after its one step.
    yield row("MiniLM on RTE, f32: start to end of first step", "s", padded.lines[0], one.whole)


def serving(bench):
    """Evaluation beside ONNX Runtime's faster, over a task that reads the pooler, which both can."""
    with tempfile.TemporaryDirectory(prefix="bitfit-compare-") as out:
        task, merged, data = (Path(out) / name for name in ("task", "merged", "data"))
        # The rows several times, so that the first batches, which find nothing prepared, weigh little.
        header, *lines = (Path(bench.arguments.rte) / "dev.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        data.mkdir()
        (data / "dev.tsv").write_text("".join([header, *REPEATED * lines]), encoding="utf-8")
        bench.finetune("f32", task, "--pooling", "pooler", "--no-probe", *bench.limit)
        bench.run([bench.binaries / "bitfit-cli", "merge", "--task-file", task / "task.safetensors", "--out", merged])
        runs = [
            (kind, bench.evaluate(kind, task, data), bench.onnx_eval(kind, merged, data)) for kind in ("f32", "bf16", "int8")
        ]
    others = {kind: run.result for kind, _, run in runs if run}
    best = max(others, key=lambda kind: others[kind]["eval_tokens_per_s"])
    for kind, bitfit, _ in runs:
        what = f"evaluation, {kind}, ONNX Runtime {best}"
        yield row(f"MiniLM on RTE's dev set, {what}", "tokens/s", others[best]["eval_tokens_per_s"],
                  bitfit.result["tokens_per_s"], higher_is_better=True, digits=0)
        yield row("the same, accuracy", "", others[best]["accuracy"], bitfit.result["metrics"]["accuracy"], True, 4)


METHODS = ["layernorm", "columns:3", "rows:3", "random-row-col:0", "random-uniform:0"]


def methods(bench):
    """BERT-base: full fine-tuning beside PyTorch's, and every other method beside BitFit."""
    bench.step("f32", steps=1, counted=False)
    for precision in ("f32", "bf16"):
        torch = bench.torch_step(precision, "--full")
        ours = bench.step(precision, None, True, "--method", "full")
        what = f"BERT-base full fine-tuning step, {SEQUENCES} × {TOKENS}, {precision}"
        yield row(what, "s", torch.result["median_s"], ours.result["median_s"])
        if bench.arguments.compile:
            compiled = bench.torch_step(precision, "--full", "--compile")
            yield row(f"{what}, torch.compile", "s", compiled.result["median_s"], ours.result["median_s"])
        peaks = [run.result["peak_rss_bytes"] for run in (torch, ours)]
        if None not in peaks:
            yield row(f"the same, {precision}: peak RSS", "GB", *(peak / 1e9 for peak in peaks))


def method_steps(bench):
    """Steps of every method beside those of BitFit just before, of BERT-base and of MiniLM."""
    for model in ("base", "minilm"):
        for precision in ("f32", "bf16"):
            for method in METHODS:
                runs = [bench.step(precision, None, True, "--method", name, model=model) for name in ("bitfit", method)]
                bitfit, other = (run.result["median_s"] for run in runs)
                peaks = [run.result["peak_rss_bytes"] or 0 for run in runs]
                scalars = runs[1].result["scalars"]
                yield (f"| {runs[1].result['model']}, {precision} | {method} | {scalars:,} | {bitfit:.3f} s | {other:.3f} s |"
                       f" {other / bitfit:.2f} | {peaks[1] / max(peaks[0], 1):.2f} |")


def products(bench):
    """Products with few rows, as in serving."""
    seconds = 0.02 if bench.arguments.quick else 0.5
    torch = bench.torch("torch_products.py", "--seconds", seconds).result["products"]
    bitfit = bench.run([bench.binaries / "products", seconds]).result["products"]
    for ours, theirs in zip(bitfit, torch, strict=True):
        gflop = 2e-9 * ours["rows"] * ours["in"] * ours["out"]
        cells = []
        for kind in ("same_s", "turns_s"):
            rates = gflop / theirs[kind], gflop / ours[kind]
            cells += [f"{rates[0]:.0f}", f"{rates[1]:.0f}", f"{rates[1] / rates[0]:.2f}"]
        yield f"| {ours['precision']} | {ours['rows']} × {ours['in']} → {ours['out']} | {' | '.join(cells)} |"


def on_gpu(bench):
    """The whole table of a GPU."""
    one = gpu.Gpu(bench, bench.arguments.device, bench.arguments.batches)
    lines = ["| measure | PyTorch's mode | PyTorch | bitfit | times better |", "|---|---|---:|---:|---:|"]
    for line in (*gpu.rows(one, bench.arguments.quick), "", *gpu.ceilings(one)):
        print(line, file=sys.stderr)
        lines.append(line)
    return "\n".join([*lines, f"{time.strftime('%Y-%m-%d')} · {versions(bench.arguments.python)}"])


def versions(python):
    code = "import torch, transformers; print('PyTorch', torch.__version__, '· transformers', transformers.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def cpu():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch and transformers")
    parser.add_argument("--minilm", help="the directory of all-MiniLM-L6-v2; without it BERT-base alone is measured")
    parser.add_argument("--rte", help="the directory of RTE's train.tsv and dev.tsv")
    parser.add_argument("--bitfit-bin", default="target/release", help="the directory of the release binaries")
    parser.add_argument("--only", choices=["step", "epoch", "serve", "product", "method"],
                        help="measure BERT-base's steps, RTE's epochs, its evaluation beside ONNX Runtime, products with few"
                             " rows, or methods alone")
    parser.add_argument("--steps", type=int, default=5, help="measured steps of BERT-base (5)")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well; compiling takes a minute")
    parser.add_argument("--quick", action="store_true", help="two steps, and ten of the epoch")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of either side (all)")
    parser.add_argument("--wait", type=float, default=0, help="wait up to this many seconds for an idle machine before each process")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU: steps of BERT-base, BERT-large and MiniLM in every mode of PyTorch")
    parser.add_argument("--batches", help="with a GPU: a file of batches of mixed lengths, as `step` takes it")
    parser.add_argument("--verbose", action="store_true", help="let what the processes say on stderr through")
    arguments = parser.parse_args()
    if bool(arguments.minilm) != bool(arguments.rte) or (arguments.only in ("epoch", "serve") and not arguments.minilm):
        parser.error("the epoch needs both --minilm and --rte")

    bench = Bench(arguments)
    if arguments.device != "cpu":
        print(on_gpu(bench))
        return
    rows = []
    if arguments.only in (None, "step"):
        rows += steps(bench)
    if arguments.only in (None, "epoch") and arguments.minilm:
        rows += epochs(bench)
    if arguments.only in (None, "serve") and arguments.minilm:
        rows += serving(bench)
    if arguments.only == "method":
        rows += methods(bench)
    if rows:
        print("| measure | PyTorch | bitfit | times better |", "|---|---:|---:|---:|", *rows, "", sep="\n")
    if arguments.only == "method":
        print("Steps beside BitFit's, median:\n")
        print("| model | method | scalars | BitFit | method | ratio | peak RSS, ratio |")
        print("|---|---|---:|---:|---:|---:|---:|", *method_steps(bench), "", sep="\n")
    if arguments.only in (None, "product"):
        print("GFLOP/s of `x · Wᵀ + b`:\n")
        print("| precision | product | PyTorch, one weight | bitfit | ratio | PyTorch, 12 in turn | bitfit | ratio |")
        print("|---|---|---:|---:|---:|---:|---:|---:|", *products(bench), "", sep="\n")
    print(
        f"{time.strftime('%Y-%m-%d')} · {cpu()}, {bench.threads} threads · {versions(arguments.python)} · other processes"
        f" took {100 * bench.others:.0f} % of the CPUs at most{' · --quick' if arguments.quick else ''}"
    )


if __name__ == "__main__":
    main()
