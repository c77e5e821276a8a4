"""Scores of BitFit and of a probe in PyTorch, through a sentence encoder's pooling: the counterpart of `bitfit-cli finetune`.

    python torch_scores.py MODEL GLUE TASK --pooling mean-normalized [--probe | --lr RATE --epochs N] [--limit N] [--seed N]

GLUE holds a directory for each task (STS-B, SST-2, RTE, CoLA) with train.tsv and dev.tsv. BitFit trains every bias and a new
linear head over the pooled rows: rows shuffled, batches of 16 padded to their longest row, AdamW without decay, a rate that
falls linearly to 0, the gradient clipped to 1, the checkpoint's dropout, which is also applied before the head; f32, or bfloat16
by autocast. The probe is scikit-learn's LogisticRegressionCV or RidgeCV over standardised rows of the frozen model. Prints a JSON
object with the score of each epoch (of the probe: one). Needs torch, transformers, scikit-learn and scipy.
"""

import argparse
import csv
import time
from dataclasses import dataclass

import numpy
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import accuracy_score, matthews_corrcoef
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer

import common

LONGEST, BATCH = 128, 16


@dataclass
class Task:
    """Where a GLUE task's texts and labels are, and how it is scored."""

    folder: str
    texts: list  # columns, by name or number
    label: object
    metric: str
    header: bool = True


TASKS = {
    "stsb": Task("STS-B", ["sentence1", "sentence2"], "score", "spearman"),
    "sst2": Task("SST-2", ["sentence"], "label", "accuracy"),
    "rte": Task("RTE", ["sentence1", "sentence2"], "label", "accuracy"),
    "cola": Task("CoLA", [3], 1, "matthews", header=False),
}
METRICS = {
    "spearman": lambda expected, outputs: spearmanr(expected, outputs[:, 0]).statistic,
    "accuracy": lambda expected, outputs: accuracy_score(expected, outputs.argmax(1)),
    "matthews": lambda expected, outputs: matthews_corrcoef(expected, outputs.argmax(1)),
}


def read(path, task):
    """Texts, one list for each column, and labels, of a file as GLUE writes it: tabs, no quoting."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    names = rows.pop(0) if task.header else []
    column = lambda key: key if isinstance(key, int) else names.index(key)
    return [[row[column(key)] for row in rows] for key in task.texts], [row[column(task.label)] for row in rows]


class Encoder(torch.nn.Module):
    """The base, its pooling and a linear head."""

    def __init__(self, model, pooling, outputs):
        super().__init__()
        self.base = AutoModel.from_pretrained(model)
        self.pooling = pooling
        self.dropout = torch.nn.Dropout(self.base.config.hidden_dropout_prob)
        self.classifier = torch.nn.Linear(self.base.config.hidden_size, outputs)
        torch.nn.init.normal_(self.classifier.weight, std=0.02)
        torch.nn.init.zeros_(self.classifier.bias)

    def pooled(self, batch):
        states = self.base(**batch).last_hidden_state.float()
        if self.pooling.startswith("mean"):
            mask = batch["attention_mask"].unsqueeze(-1)
            row = (states * mask).sum(1) / mask.sum(1)
        else:
            row = states[:, 0]
        return torch.nn.functional.normalize(row, dim=1) if self.pooling.endswith("normalized") else row

    def forward(self, batch):
        return self.classifier(self.dropout(self.pooled(batch)))


def in_order_of_length(tokenizer, encoded, batch=64):
    """Row numbers and padded batches; every row once."""
    order = sorted(range(len(encoded["input_ids"])), key=lambda row: len(encoded["input_ids"][row]))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        yield rows, padded(tokenizer, encoded, rows)


def padded(tokenizer, encoded, rows):
    return tokenizer.pad({key: [values[row] for row in rows] for key, values in encoded.items()}, return_tensors="pt")


def evaluate(function, tokenizer, encoded, precision):
    """The function's result for every row, [N, C]."""
    found = [None] * len(encoded["input_ids"])
    with torch.inference_mode(), common.precision(precision):
        for rows, batch in in_order_of_length(tokenizer, encoded):
            for row, output in zip(rows, function(batch).float().numpy()):
                found[row] = output
    return numpy.stack(found)


def probe(model, tokenizer, training, targets, held_out, precision, is_regression):
    model.eval()
    rows = evaluate(model.pooled, tokenizer, training, precision)
    if is_regression:
        head = RidgeCV(alphas=numpy.logspace(0, 6, 25))
    else:
        head = LogisticRegressionCV(Cs=numpy.logspace(-4, 1, 11), cv=5, max_iter=2000, scoring="neg_log_loss")
    head = make_pipeline(StandardScaler(), head).fit(rows, targets)
    rows = evaluate(model.pooled, tokenizer, held_out, precision)
    return head.predict(rows)[:, None] if is_regression else head.predict_proba(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("glue")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--pooling", default="mean", choices=["cls", "mean", "cls-normalized", "mean-normalized"])
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    started = time.perf_counter()

    task = TASKS[arguments.task]
    is_regression = task.metric == "spearman"
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    encode = lambda texts: tokenizer(*texts, truncation=True, max_length=LONGEST)
    texts, labels = read(f"{arguments.glue}/{task.folder}/train.tsv", task)
    dev_texts, dev_labels = read(f"{arguments.glue}/{task.folder}/dev.tsv", task)
    names = sorted(set(labels))
    number = float if is_regression else names.index
    training, held_out = encode(texts), encode(dev_texts)
    targets = torch.tensor([number(label) for label in labels])
    expected = numpy.array([number(label) for label in dev_labels])
    model = Encoder(arguments.model, arguments.pooling, 1 if is_regression else len(names))
    score = lambda outputs: float(METRICS[task.metric](expected, outputs))
    limited = torch.randperm(len(labels))[: arguments.limit or len(labels)]
    if arguments.probe:
        chosen = {key: [values[row] for row in limited.tolist()] for key, values in training.items()}
        outputs = probe(
            model, tokenizer, chosen, targets[limited].numpy(), held_out, arguments.precision, is_regression
        )
        common.say(metric=task.metric, epochs=[score(outputs)], seconds=time.perf_counter() - started)
        return

    trained = common.freeze_all_but_biases(model)
    optimizer = torch.optim.AdamW(trained, lr=arguments.lr, weight_decay=0.0)
    steps = arguments.epochs * -(-len(limited) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    loss_of = torch.nn.functional.mse_loss if is_regression else torch.nn.functional.cross_entropy
    epochs = []
    for _ in range(arguments.epochs):
        model.train()
        for rows in limited[torch.randperm(len(limited))].split(BATCH):
            with common.precision(arguments.precision):
                outputs = model(padded(tokenizer, training, rows.tolist())).float()
            loss = loss_of(outputs[:, 0] if is_regression else outputs, targets[rows])
            common.update(loss, trained, optimizer)
            schedule.step()
        model.eval()
        epochs.append(score(evaluate(model, tokenizer, held_out, arguments.precision)))
    common.say(metric=task.metric, epochs=epochs, seconds=time.perf_counter() - started)


if __name__ == "__main__":
    main()
