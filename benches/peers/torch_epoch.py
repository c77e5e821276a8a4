"""One BitFit epoch over a GLUE task of text pairs in PyTorch, then an evaluation: the counterpart of `bitfit-cli finetune`
and `bitfit-cli eval`.

    python torch_epoch.py MODEL DATA f32|bf16 [--sort] [--limit N] [--batch-size N] [--threads N]

DATA holds train.tsv and dev.tsv with the columns sentence1, sentence2 and label, as in RTE. Without --sort the rows are in
random order, each batch padded to 128 tokens, as in the code of BitFit's authors. With --sort, rows of similar lengths share
a batch, padded to its longest row, which is the fastest setting found for PyTorch here; batches are then shuffled. Evaluation
is always over rows sorted by length, 64 at a time, including tokenising. Prints an empty JSON object after the first step,
and the result as another. Needs torch and transformers.
"""

import argparse
import csv
import random
import time

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import common

LONGEST = 128


def read(path):
    """Rows (sentence1, sentence2, label) of a file as GLUE writes it: tabs, no quoting."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["sentence1"], row["sentence2"], row["label"]) for row in rows]


def tokenise(tokenizer, rows):
    """Ids and token types of each pair, cut to LONGEST."""
    firsts, seconds, _ = zip(*rows)
    encoded = tokenizer(list(firsts), list(seconds), truncation=True, max_length=LONGEST)
    return list(zip(encoded["input_ids"], encoded["token_type_ids"]))


def pad(encodings, length):
    """A batch of tensors [B, length]."""
    ids, types, mask = (torch.zeros(len(encodings), length, dtype=torch.long) for _ in range(3))
    for row, (row_ids, row_types) in enumerate(encodings):
        ids[row, : len(row_ids)] = torch.tensor(row_ids)
        types[row, : len(row_ids)] = torch.tensor(row_types)
        mask[row, : len(row_ids)] = 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def evaluate(model, tokenizer, rows, classes, precision):
    """Accuracy and real tokens."""
    model.eval()
    encodings = tokenise(tokenizer, rows)
    order = sorted(range(len(rows)), key=lambda row: len(encodings[row][0]))
    right = 0
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        longest = max(len(encodings[row][0]) for row in chosen)
        with torch.inference_mode(), common.precision(precision):
            logits = model(**pad([encodings[row] for row in chosen], longest)).logits
        expected = torch.tensor([classes[rows[row][2]] for row in chosen])
        right += int((logits.argmax(1) == expected).sum())
    return right / len(rows), sum(len(ids) for ids, _ in encodings)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("precision", choices=["f32", "bf16"])
    parser.add_argument("--sort", action="store_true", help="batches of similar lengths, padded to their longest")
    parser.add_argument("--limit", type=int, help="train on this many rows only")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, help="PyTorch's own choice if not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    random.seed(0)

    training, held_out = read(f"{arguments.data}/train.tsv"), read(f"{arguments.data}/dev.tsv")
    classes = {label: number for number, label in enumerate(sorted({label for _, _, label in training}))}
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    encodings = tokenise(tokenizer, training)
    model = AutoModelForSequenceClassification.from_pretrained(arguments.model, num_labels=len(classes))
    model.train()
    trained = common.freeze_all_but_biases(model)
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)

    order = random.sample(range(len(training)), min(arguments.limit or len(training), len(training)))
    if arguments.sort:
        order.sort(key=lambda row: len(encodings[row][0]))
    batches = [order[start : start + arguments.batch_size] for start in range(0, len(order), arguments.batch_size)]
    if arguments.sort:
        random.shuffle(batches)
    seconds, tokens = 0.0, 0
    for number, rows in enumerate(batches):
        start = time.perf_counter()
        lengths = [len(encodings[row][0]) for row in rows]
        batch = pad([encodings[row] for row in rows], max(lengths) if arguments.sort else LONGEST)
        labels = torch.tensor([classes[training[row][2]] for row in rows])
        with common.precision(arguments.precision):
            loss = model(**batch, labels=labels).loss
        common.update(loss, trained, optimizer)
        loss.item()
        seconds += time.perf_counter() - start
        tokens += sum(lengths)
        if number == 0:
            common.say()

    peak = common.peak_rss_bytes()

    # A warm-up batch, in which PyTorch makes the preparations of its first forward pass without gradients.
    evaluate(model, tokenizer, held_out[:64], classes, arguments.precision)
    start = time.perf_counter()
    accuracy, eval_tokens = evaluate(model, tokenizer, held_out, classes, arguments.precision)
    eval_seconds = time.perf_counter() - start
    common.say(
        precision=arguments.precision,
        sort=arguments.sort,
        steps=len(batches),
        tokens=tokens,
        seconds=seconds,
        tokens_per_s=tokens / seconds,
        eval_tokens=eval_tokens,
        eval_seconds=eval_seconds,
        eval_tokens_per_s=eval_tokens / eval_seconds,
        accuracy=accuracy,
        peak_rss_bytes=peak,
    )


if __name__ == "__main__":
    main()
