"""Probe and BitFit on four GLUE tasks over three seeds, by bitfit-cli and by PyTorch: the tables of docs/results.md.

    python3 benches/peers/scores.py --cli target/release/bitfit-cli --glue GLUE --out DIR \\
        --model all-MiniLM-L6-v2=DIR [--model all-mpnet-base-v2=DIR] [--python PYTHON] [--only SUBSTRING] [--print]

GLUE holds STS-B, SST-2, RTE and CoLA, each with train.tsv and dev.tsv as GLUE distributes them. Every run leaves its result in
DIR, and a run whose result is there is not repeated, so that the grid can be interrupted and run in parts. --only runs the
cells whose name (model/task/method/seed) contains the text; --print only prints the tables. PYTHON, an interpreter with torch,
transformers, scikit-learn and scipy, also runs the first seed's BitFit and the probe in PyTorch (torch_scores.py).

A score is that of the best epoch on the development set, as the paper reports it. Every bias trains, the batch is 16, the
rate falls linearly to 0, products are in bfloat16 on both sides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1, 2)
FOLDERS = {"stsb": "STS-B", "sst2": "SST-2", "rte": "RTE", "cola": "CoLA"}
PAIRS = ("stsb", "rte")
TITLES = {"stsb": "STS-B, Spearman", "sst2": "SST-2, accuracy", "rte": "RTE, accuracy", "cola": "CoLA, Matthews"}


@dataclass(frozen=True)
class Settings:
    """What a model's runs have in common."""

    lr: str
    pooling: str  # what --pooling auto finds
    epochs: dict
    limits: dict


SETTINGS = {
    "all-MiniLM-L6-v2": Settings(
        "4e-3", "mean-normalized", {"stsb": 3, "sst2": 3, "rte": 5, "cola": 5}, {"sst2": 16_000}
    ),
    "all-mpnet-base-v2": Settings(
        "1e-3", "mean-normalized", {"stsb": 2, "sst2": 2, "rte": 3, "cola": 3}, {"sst2": 8_000}
    ),
}


@dataclass(frozen=True)
class Cell:
    """One run."""

    model: str
    task: str
    method: str
    seed: int

    @property
    def name(self):
        return f"{self.model}/{self.task}/{self.method}/{self.seed}"


METHODS = {
    "probe": "probe",
    "bitfit-random-head": "BitFit, `--no-probe` (random head)",
    "bitfit": "BitFit",
    "probe-separate": "probe, `--pair separate`",
    "bitfit-separate": "BitFit, `--pair separate`",
    "torch-probe": "scikit-learn's probe on PyTorch's rows",
    "torch-bitfit": "PyTorch, BitFit, random head",
}


def grid(models):
    """Every cell, the most telling first."""
    for model in models:
        for method in METHODS:
            seeds = SEEDS[:1] if "probe" in method or method.startswith("torch") else SEEDS
            for task in FOLDERS:
                if "separate" not in method or task in PAIRS:
                    yield from (Cell(model, task, method, seed) for seed in seeds)


def bitfit_command(arguments, cell, out):
    settings, data = SETTINGS[cell.model], Path(arguments.glue) / FOLDERS[cell.task]
    command = [arguments.cli, "finetune", "-q", "--model", arguments.models[cell.model], "--task", cell.task]
    command += ["--train", data / "train.tsv", "--eval", data / "dev.tsv", "--precision", "bf16", "--seed", str(cell.seed)]
    if cell.task in settings.limits:
        command += ["--limit", str(settings.limits[cell.task])]
    if cell.method.endswith("separate"):
        command += ["--pair", "separate"]
    if cell.method.startswith("probe"):
        command += ["--method", "probe"]
    else:
        command += ["--lr", settings.lr, "--schedule", "linear", "--epochs", str(settings.epochs[cell.task])]
        command += ["--no-probe"] if cell.method == "bitfit-random-head" else []
    return command + ["--out", out, "--overwrite"]


def torch_command(arguments, cell):
    settings = SETTINGS[cell.model]
    command = [arguments.python, HERE / "torch_scores.py", arguments.models[cell.model], arguments.glue, cell.task]
    command += ["--pooling", settings.pooling, "--precision", "bf16", "--seed", str(cell.seed)]
    if cell.task in settings.limits:
        command += ["--limit", str(settings.limits[cell.task])]
    if cell.method == "torch-probe":
        return command + ["--probe"]
    return command + ["--lr", settings.lr, "--epochs", str(settings.epochs[cell.task])]


def run(arguments, cell):
    """Runs a cell and returns its result; None where PyTorch is asked for and there is no interpreter for it."""
    directory = Path(arguments.out) / cell.name
    result = directory / "score.json"
    if result.exists():
        return json.loads(result.read_text())
    if arguments.print or arguments.only not in cell.name:
        return None
    is_torch = cell.method.startswith("torch")
    if is_torch and not arguments.python:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    command = torch_command(arguments, cell) if is_torch else bitfit_command(arguments, cell, directory)
    command = [str(word) for word in command]
    environment = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true")
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    score = max(summary["epochs"]) if is_torch else summary["best"]["value"]
    found = {"score": score, "command": command, "summary": summary}
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1))
    partial.rename(result)
    print(f"{cell.name}: {score:.4f}", file=sys.stderr, flush=True)
    return found


def shown(scores):
    """Scores by seed, and their mean and sample standard deviation where there are several."""
    if not scores:
        return ""
    by_seed = ", ".join(f"{score:.3f}" for score in scores)
    if len(scores) == 1:
        return by_seed
    return f"{statistics.mean(scores):.3f} ± {statistics.stdev(scores):.3f} ({by_seed})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cli", required=True)
    parser.add_argument("--glue", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--python")
    parser.add_argument("--only", default="")
    parser.add_argument("--print", action="store_true")
    arguments = parser.parse_args()
    arguments.models = dict(model.split("=", 1) for model in arguments.model)
    unknown = arguments.models.keys() - SETTINGS.keys()
    if unknown:
        parser.error(f"no settings for {', '.join(sorted(unknown))}; there are some for {', '.join(SETTINGS)}")
    found = {cell: result for cell in grid(arguments.models) if (result := run(arguments, cell))}
    for model in arguments.models:
        print(f"\n### {model}\n\n| | {' | '.join(TITLES.values())} |\n|---|{'---|' * len(TITLES)}")
        for method, title in METHODS.items():
            by_task = [
                [result["score"] for cell, result in found.items() if (cell.model, cell.task, cell.method) == (model, task, method)]
                for task in TITLES
            ]
            if any(by_task):
                print(f"| {title} | {' | '.join(map(shown, by_task))} |")


if __name__ == "__main__":
    main()
