"""Thirty steps of BitFit on real weights, by PyTorch and by bitfit-cli, side by side.

    python compare_steps.py --cli target/release/bitfit-cli --model DIR --data data/support-desk/train.tsv [--pooling mean]

Both train all biases but the key biases and a linear head `classifier` over the chosen read-out, from the same first values, on
the first rows of the file in their order, without dropout: batch 16, learning rate 1e-3, AdamW without weight decay, clipping
at 1.0. Prints each step's losses and their greatest difference; exits 1 where that is above --tolerance (default 1e-3).

DIR is a model directory that transformers and bitfit both read. The file has the header text<TAB>label. Needs torch, transformers
and safetensors.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer


def rows(path, count):
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    header = lines[0].split("\t")
    text, label = header.index("text"), header.index("label")
    table = [line.split("\t") for line in lines[1:]]
    return [(row[text], row[label]) for row in table[:count]]


def pooled(states, mask, pooling):
    if pooling.startswith("mean"):
        mask = mask[..., None].to(states.dtype)
        row = (states * mask).sum(1) / mask.sum(1)
    else:
        row = states[:, 0]
    return torch.nn.functional.normalize(row, dim=1) if pooling.endswith("normalized") else row


def torch_losses(model_dir, texts, labels, head, pooling, max_length, batch):
    tokenizer, model = AutoTokenizer.from_pretrained(model_dir), AutoModel.from_pretrained(model_dir).eval()
    unread = ("pooler.", "relative_attention_bias")
    key = ("attention.self.key.bias", "attention.k_lin.bias", "attention.attn.k.bias")
    trained = []
    for name, parameter in model.named_parameters():
        trains = name.endswith(".bias") and not name.startswith(unread) and not name.endswith(key)
        parameter.requires_grad_(trains)
        trained += [parameter] if trains else []
    classifier = torch.nn.Linear(head["classifier.weight"].shape[1], head["classifier.weight"].shape[0])
    classifier.load_state_dict({"weight": head["classifier.weight"], "bias": head["classifier.bias"]})
    trained += list(classifier.parameters())
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    losses = []
    for first in range(0, len(texts), batch):
        inputs = tokenizer(
            texts[first : first + batch], padding=True, truncation=True, max_length=max_length, return_tensors="pt"
        )
        optimizer.zero_grad(set_to_none=True)
        row = pooled(model(**inputs).last_hidden_state, inputs["attention_mask"], pooling)
        loss = torch.nn.functional.cross_entropy(classifier(row), torch.tensor(labels[first : first + batch]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def cli_losses(arguments, scratch, head):
    save_file(head, scratch / "head.safetensors", {"format": "pt"})
    command = [
        arguments.cli, "finetune", "-q", "--precision", "f32", "--model", arguments.model, "--train", str(scratch / "rows.tsv"), "--epochs", "1",
        "--no-shuffle", "--dropout", "0", "--lr", "1e-3", "--batch-size", str(arguments.batch), "--log-every", "1",
        "--pooling", arguments.pooling, "--max-length", str(arguments.max_length),
        "--init-head", str(scratch / "head.safetensors"), "--out", str(scratch / "out"),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    log = (scratch / "out/metrics.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, log) if "loss" in line]


def main():
    parser = argparse.ArgumentParser(description="Compares steps on real weights with PyTorch's.")
    parser.add_argument("--cli", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pooling", default="mean", choices=["cls", "mean", "cls-normalized", "mean-normalized"])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    arguments = parser.parse_args()
    table = rows(arguments.data, arguments.steps * arguments.batch)
    names = sorted({label for _, label in table})
    hidden = AutoModel.from_pretrained(arguments.model).config.hidden_size
    generator = torch.Generator().manual_seed(0)
    head = {
        "classifier.weight": 0.02 * torch.randn(len(names), hidden, generator=generator),
        "classifier.bias": torch.zeros(len(names)),
    }
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "rows.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in table))
        found = cli_losses(arguments, scratch, head)
    texts, labels = [text for text, _ in table], [names.index(label) for _, label in table]
    expected = torch_losses(
        arguments.model, texts, labels, head, arguments.pooling, arguments.max_length, arguments.batch
    )
    greatest = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    for step, (a, b) in enumerate(zip(found, expected), 1):
        print(f"{step:3}  bitfit {a:.6f}  PyTorch {b:.6f}")
    print(f"{len(found)} steps, greatest difference {greatest:.2e}, limit {arguments.tolerance:.0e}")
    sys.exit(0 if greatest <= arguments.tolerance else 1)


if __name__ == "__main__":
    main()
