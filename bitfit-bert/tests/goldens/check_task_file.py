"""Does a task file mean in Python what it means in Rust? Loads one with transformers and compares predictions.

A task file is a safetensors file of the trained parameters under their Hugging Face names, with metadata that says what they
are. This script loads the base model, puts the task file on top with nothing but `load_state_dict(..., strict=False)`,
predicts every row of a TSV and compares with the predictions that the Rust program wrote for the same rows:

    pip install torch transformers safetensors
    python check_task_file.py --model DIR --task-file task.safetensors --data FILE --text COL[,COL2] --predictions preds.jsonl

preds.jsonl has one object per data row, in the data's order: {"label": .., "probability": ..} for classification, where the
probability is the label's own; {"score": ..} for regression; a "text" that is a string is compared with the data's first
text column. All labels must be equal, every probability within --tolerance, every score within --tolerance times
max(1, |score|). Where --base-fingerprint is given it must be the metadata's.

The last line is one JSON object with what was found. Exit status: 0 all agree, 1 something differs (what, on stderr).

Tried with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.23.0, safetensors 0.8.0.
"""

import argparse
import json
import math
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from batches import collate, encode, read_columns

METADATA_KEYS = (
    "format", "version", "base", "base_path", "base_fingerprint", "tokenizer_fingerprint", "config", "kind", "labels", "pairs",
    "biases", "seed", "hyperparameters", "best",
)


class Mismatch(Exception):
    """An error in the task file or the predictions."""


def require(condition, message):
    if not condition:
        raise Mismatch(message)


def read_metadata(path):
    """The task file's metadata, checked: every key there, of this format, the JSON ones parsed."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    missing = [key for key in METADATA_KEYS if key not in metadata]
    require(not missing, f"metadata without {', '.join(missing)}")
    require(metadata["format"] == "bitfit-task", f"format is {metadata['format']!r}, not 'bitfit-task'")
    require(metadata["version"] == "2", f"version {metadata['version']!r} is not one this script knows")
    require(metadata["kind"] in ("classify", "regress"), f"kind {metadata['kind']!r} is not for this script")
    fingerprint = metadata["base_fingerprint"]
    is_hex = len(fingerprint) == 64 and all(digit in "0123456789abcdef" for digit in fingerprint)
    require(is_hex, f"base_fingerprint is not a hash in lower-case hex: {fingerprint!r}")
    parsed = {}
    for key in ("labels", "hyperparameters", "best"):
        try:
            parsed[key] = json.loads(metadata[key])
        except ValueError as error:
            raise Mismatch(f"metadata {key} is not JSON: {error}") from error
    require(isinstance(parsed["labels"], list), "labels is not a JSON array")
    if metadata["kind"] == "classify":
        require(len(parsed["labels"]) >= 2, f"classification with labels {parsed['labels']}")
    return {**metadata, **parsed}


def load_model(directory, task_file, outputs):
    """The base with the task file's tensors. Every tensor must be used, and none may keep random values."""
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        directory, num_labels=outputs, dtype=torch.float32, output_loading_info=True
    )
    task = load_file(task_file)
    result = model.load_state_dict(task, strict=False)
    require(not result.unexpected_keys, f"unexpected tensors in the task file: {result.unexpected_keys}")
    still_random = sorted(set(loading["missing_keys"]) - set(task))
    require(not still_random, f"neither the base nor the task file has {', '.join(still_random)}")
    return model.eval(), task


def predict(model, tokenizer, texts, max_length, batch):
    """Logits [rows, outputs], float32."""
    rows = encode(tokenizer, texts, max_length)
    with torch.no_grad():
        return torch.cat([model(**collate(rows[i : i + batch])).logits for i in range(0, len(rows), batch)])


def read_predictions(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def field(row, index, key):
    require(key in row, f"row {index}: no {key!r} in {row}")
    return row[key]


def number(row, index, key):
    """A field that must be a finite number: a NaN would pass every comparison."""
    value = field(row, index, key)
    require(isinstance(value, (int, float)) and math.isfinite(value), f"row {index}: {key} is {value!r}")
    return value


def compare_classify(labels, logits, predictions):
    """Returns the rows whose label differs, and the largest difference of a probability."""
    best, places = torch.softmax(logits.double(), dim=-1).max(dim=-1)
    wrong, largest = [], 0.0
    for index, (row, probability, place) in enumerate(zip(predictions, best.tolist(), places.tolist())):
        told = field(row, index, "label")
        if told != labels[place]:
            wrong.append(f"row {index}: {told!r}, here {labels[place]!r} with {probability:.6f}")
            continue
        largest = max(largest, abs(number(row, index, "probability") - probability))
    return wrong, largest


def compare_regress(logits, predictions):
    """Returns [], and the largest difference of a score, relative if the score is over 1."""
    largest = 0.0
    for index, (row, score) in enumerate(zip(predictions, logits.squeeze(-1).tolist())):
        largest = max(largest, abs(number(row, index, "score") - score) / max(1.0, abs(score)))
    return [], largest


def check(args):
    """Makes all comparisons and returns the results as a dict. Raises Mismatch."""
    metadata = read_metadata(args.task_file)
    if args.base_fingerprint:
        told = metadata["base_fingerprint"]
        require(told == args.base_fingerprint, f"base_fingerprint {told}, expected {args.base_fingerprint}")
    regress = metadata["kind"] == "regress"
    model, task = load_model(args.model, args.task_file, 1 if regress else len(metadata["labels"]))
    texts = read_columns(args.data, args.text.split(","))
    predictions = read_predictions(args.predictions)
    require(len(predictions) == len(texts[0]), f"{len(predictions)} predictions for {len(texts[0])} rows")
    for index, (row, text) in enumerate(zip(predictions, texts[0])):
        if isinstance(row.get("text"), str):
            require(row["text"].strip() == text.strip(), f"row {index}: text {row['text']!r}, in the data {text!r}")

    logits = predict(model, AutoTokenizer.from_pretrained(args.model), texts, args.max_length, args.batch)
    require(bool(torch.isfinite(logits).all()), "logits that are not finite")
    wrong, largest = compare_regress(logits, predictions) if regress else compare_classify(metadata["labels"], logits, predictions)
    require(not wrong, f"{len(wrong)} of {len(predictions)} labels differ:\n  " + "\n  ".join(wrong[:10]))
    require(largest <= args.tolerance, f"{'scores' if regress else 'probabilities'} differ by up to {largest:.3e}")
    return {
        "rows": len(predictions),
        "kind": metadata["kind"],
        "tensors": len(task),
        "scalars": sum(value.numel() for value in task.values()),
        "largest_difference": largest,
    }


def main():
    parser = argparse.ArgumentParser(description="Compares a task file's predictions in Rust with transformers'.")
    parser.add_argument("--model", required=True, help="directory of the base model")
    parser.add_argument("--task-file", required=True)
    parser.add_argument("--data", required=True, help="TSV file with a header")
    parser.add_argument("--text", required=True, help="column, or two columns joined by a comma")
    parser.add_argument("--predictions", required=True, help="JSON lines, one object per data row")
    parser.add_argument("--base-fingerprint", help="expected fingerprint in the metadata")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    try:
        print(json.dumps(check(args)))
    except Mismatch as problem:
        print(f"check_task_file: {problem}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
