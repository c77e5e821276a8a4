"""Twenty steps of PyTorch and of bitfit-cli on real data, and how far their answers on held-out texts are apart.

    python compare_full.py BITFIT-CLI MINILM RTE [--method full|bitfit|…] [--lr RATE] [--rows N]

MINILM is all-MiniLM-L6-v2, RTE the directory of GLUE's train.tsv and dev.tsv. Both sides begin with the same head over the
pooler, take the first rows in their order, sixteen a step, and have no dropout: AdamW without decay, a constant rate, the
gradient clipped to 1, f32. Prints a JSON object: the largest difference of a probability over the development set, and how
far the steps moved the answers. Needs torch, transformers and safetensors.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import common
from torch_scores import TASKS, padded, read

LABELS = ["entailment", "not_entailment"]
BATCH, LONGEST = 16, 128


def probabilities(model, tokenizer, encoded):
    """The probability of entailment of each row."""
    model.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(encoded["input_ids"]), 64):
            rows = range(start, min(start + 64, len(encoded["input_ids"])))
            found.append(model(**padded(tokenizer, encoded, rows)).logits.softmax(1)[:, 0])
    return torch.cat(found)


def train(model, method, rate, tokenizer, encoded, labels):
    parameters = list(model.parameters()) if method == "full" else common.freeze_all_but_biases(model)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    model.train()
    for start in range(0, len(labels), BATCH):
        rows = range(start, min(start + BATCH, len(labels)))
        targets = torch.tensor([LABELS.index(labels[row]) for row in rows])
        loss = model(**padded(tokenizer, encoded, rows), labels=targets).loss
        common.update(loss, parameters, optimizer)


def of_bitfit(arguments, head, directory):
    """The probabilities of bitfit's run, as PyTorch's."""
    training, out, answers = directory / "train.tsv", directory / "run", directory / "answers.jsonl"
    with open(arguments.rte / "train.tsv", encoding="utf-8") as file:
        training.write_text("".join(line for _, line in zip(range(arguments.rows + 1), file)), encoding="utf-8")
    common_flags = ["--model", arguments.minilm, "--precision", "f32", "--quiet"]
    subprocess.run([
        arguments.cli, "finetune", *common_flags, "--task", "rte", "--train", training, "--pooling", "pooler",
        "--method", arguments.method, "--lr", str(arguments.lr), "--epochs", "1", "--batch-size", str(BATCH), "--no-shuffle",
        "--dropout", "0", "--no-probe", "--init-head", head, "--max-length", str(LONGEST), "--out", out,
    ], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([
        arguments.cli, "predict", *common_flags, "--task-file", out / "task.safetensors", "--task", "rte",
        "--input", arguments.rte / "dev.tsv", "--output-format", "jsonl", "--out", answers,
    ], check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    return torch.tensor([row["probabilities"][LABELS[0]] for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cli", type=Path)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("rte", type=Path)
    parser.add_argument("--method", default="full", choices=["full", "bitfit"])
    parser.add_argument("--lr", type=float, default=2e-5)
    parser.add_argument("--rows", type=int, default=20 * BATCH)
    arguments = parser.parse_args()
    torch.manual_seed(0)

    tokenizer = AutoTokenizer.from_pretrained(arguments.minilm)
    encode = lambda texts: tokenizer(*texts, truncation=True, max_length=LONGEST)
    texts, labels = read(arguments.rte / "train.tsv", TASKS["rte"])
    training = encode([column[: arguments.rows] for column in texts])
    held_out = encode(read(arguments.rte / "dev.tsv", TASKS["rte"])[0])

    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    model = AutoModelForSequenceClassification.from_pretrained(arguments.minilm, num_labels=2, **no_dropout)
    with tempfile.TemporaryDirectory(prefix="bitfit-compare-") as directory:
        head = Path(directory) / "head.safetensors"
        save_file({name: value.contiguous() for name, value in model.state_dict().items() if "classifier" in name}, head)
        before = probabilities(model, tokenizer, held_out)
        train(model, arguments.method, arguments.lr, tokenizer, training, labels[: arguments.rows])
        theirs = probabilities(model, tokenizer, held_out)
        ours = of_bitfit(arguments, head, Path(directory))
    common.say(
        method=arguments.method,
        texts=len(ours),
        largest_difference=(ours - theirs).abs().max().item(),
        moved_by_at_most=(theirs - before).abs().max().item(),
    )


if __name__ == "__main__":
    main()
