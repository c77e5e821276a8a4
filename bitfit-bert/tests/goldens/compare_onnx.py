#!/usr/bin/env python3
"""Compares the ONNX files of `bitfit-cli export` in ONNX Runtime with the answers of `bitfit-cli predict`.

    python compare_onnx.py BITFIT_CLI                               every encoder, read-out and head, over tiny random models
    python compare_onnx.py BITFIT_CLI TASK_FILE MODEL TEXTS         one task file; TEXTS has a text a line, or two with a tab

Each file goes through onnx.checker. The texts are tokenised by transformers and put into batches of several sizes, with the
padding behind and in front, more of it than is needed, and of ids other than the padding's. A difference is that of an answer:
of a score itself, of a probability its logarithm, so that it is about one of logits. The tiny models are those of
`tiny_models.py` beside this script. Exit status 1 for a difference above 1e-4. Needs onnx, onnxruntime, torch, transformers
(run with onnx 1.23.2, onnxruntime 1.32.0, transformers 5.24.0).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tiny_models import POOLINGS, TOKENIZERS, tiny_model, write_data

HERE = Path(__file__).resolve().parent
sys.path = [path for path in sys.path if os.path.realpath(path or ".") != str(HERE)]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

GOAL = 1e-4
# What of a pair that is encoded apart ends in it.
SECOND = "_pair"


class Task:
    """A task file, its ONNX file, and the answers to some texts."""

    def __init__(self, cli, task_file, model, texts, directory):
        out = Path(directory) / "model.onnx"
        arguments = ["--task-file", task_file, "--model", model]
        run(cli, "export", "-q", "--overwrite", "--out", out, *arguments)
        onnx.checker.check_model(str(out), full_check=True)
        answers = run(
            cli, "predict", "-q", "--precision", "f32", "--input", texts, "--format", "lines", "--output-format", "jsonl", *arguments
        )
        self.answers = [json.loads(line) for line in answers.splitlines()]
        self.session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.session.get_inputs()]
        facts = self.session.get_modelmeta().custom_metadata_map
        self.facts = {name.removeprefix("bitfit."): value for name, value in facts.items()}
        self.labels = list(json.loads(self.facts.get("id2label", "{}")).values())
        options = {"add_prefix_space": True} if self.facts["kind"] == "tag" else {}
        self.tokenizer = AutoTokenizer.from_pretrained(model, **options)

    def encode(self, answer):
        """The tokens of a text: inputs by their names, and what transformers knows of them."""
        options = {"truncation": True, "max_length": int(self.facts["max_length"])}
        if self.facts["kind"] == "tag":
            encoding = self.tokenizer(answer["words"], is_split_into_words=True, **options)
            return named(encoding, ""), encoding
        if self.facts["pairs"] == "true" and self.facts["pair"] == "separate":
            first, second = self.tokenizer(answer["text"], **options), self.tokenizer(answer["pair"], **options)
            return named(first, "") | named(second, SECOND), first
        encoding = self.tokenizer(answer["text"], answer.get("pair"), **options)
        return named(encoding, ""), encoding

    def outputs(self, rows, side, extra, filler):
        """The outputs of a batch for each of its texts, without those of padding."""
        feed = {}
        for name in self.inputs:
            mask = "attention_mask" + (SECOND if name.endswith(SECOND) else "")
            length = max(len(row[mask]) for row in rows) + extra
            value = 0 if "mask" in name else filler if "ids" in name and "type" not in name else 0
            pads = [[value] * (length - len(row[mask])) for row in rows]
            values = [row.get(name, [0] * len(row[mask])) for row in rows]
            both = [value + pad if side == "right" else pad + value for value, pad in zip(values, pads)]
            feed[name] = np.array(both, np.int64)
        found = self.session.run(None, feed)
        for place, row in enumerate(rows):
            length, width = len(row["input_ids"]), feed["input_ids"].shape[1]
            tokens = slice(0, length) if side == "right" else slice(width - length, width)
            reads_tokens = self.facts["kind"] in ("tag", "span", "mlm")
            yield [value[place, tokens] if reads_tokens else value[place] for value in found]

    def difference(self, answer, encoding, outputs):
        """The greatest difference from an answer."""
        kind, logits = self.facts["kind"], outputs[0].astype(np.float64)
        if kind == "regress":
            return abs(logits[0] - answer["score"])
        if kind == "classify":
            return unlike(softmax(logits), [answer["probabilities"][label] for label in self.labels])
        if kind == "multi-label":
            return unlike(1 / (1 + np.exp(-logits)), [answer["probabilities"][label] for label in self.labels])
        if kind == "tag":
            words = encoding.word_ids()
            found = {word: softmax(logits[words.index(word)]) for word in set(words) - {None}}
            answers = enumerate(zip(answer["tags"], answer["probabilities"]))
            return unlike(*zip(*((found[word][self.labels.index(tag)], p) for word, (tag, p) in answers if word in found)))
        if kind == "mlm":
            masks = [place for place, id in enumerate(encoding["input_ids"]) if id == self.tokenizer.mask_token_id]
            assert len(masks) == len(answer["masks"])
            fills = [(softmax(logits[place]), fill) for place, fills in zip(masks, answer["masks"]) for fill in fills]
            found = [shares[self.tokenizer.convert_tokens_to_ids(fill["token"])] for shares, fill in fills]
            return unlike(found, [fill["probability"] for _, fill in fills])
        return self.answer_difference(answer, encoding, logits, outputs[1].astype(np.float64))

    def answer_difference(self, answer, encoding, starts, ends):
        """The difference of an answer to a question, which heads/span.rs chooses: of the most probable first and last tokens
        those that are in the context, at most 30 tokens apart, and of their pairs the best 20."""
        context = [place for place, part in enumerate(encoding.sequence_ids()) if part == 1]
        offsets = [encoding.encodings[0].offsets[place] for place in range(len(starts))]
        best = [np.argsort(-values, kind="stable")[:20] for values in (starts, ends)]
        pairs = [(first, last) for first in best[0] for last in best[1] if first in context and last in context]
        pairs = [(first, last) for first, last in pairs if 0 <= last - first < 30 and offsets[first][0] < offsets[last][1]]
        pairs = sorted(pairs, key=lambda pair: -(starts[pair[0]] + ends[pair[1]]))[:20]
        assert pairs and "false" in self.facts["span"], "an answer is expected"
        shares = softmax(np.array([starts[first] + ends[last] for first, last in pairs]))
        places = [(offsets[first][0], offsets[last][1]) for first, last in pairs]
        given = [share for share, place in zip(shares, places) if place == (answer["start"], answer["end"])]
        assert given, f"another answer than {answer}"
        return unlike(given[:1], [answer["probability"]])

    def compare(self):
        """The greatest difference over all batches, and the number of texts."""
        encoded = [self.encode(answer) for answer in self.answers]
        greatest = 0.0
        padding = self.tokenizer.pad_token_id
        for size, side, extra, filler in [
            (1, "right", 0, padding), (3, "right", 0, padding), (8, "right", 5, 7), (4, "left", 0, padding), (5, "left", 3, 9)
        ]:
            for first in range(0, len(encoded), size):
                rows = [row for row, _ in encoded[first:first + size]]
                for place, outputs in enumerate(self.outputs(rows, side, extra, filler)):
                    difference = self.difference(self.answers[first + place], encoded[first + place][1], outputs)
                    greatest = max(greatest, difference if np.isfinite(difference) else np.inf)
        return float(greatest), len(encoded)


def run(*command):
    """What a command prints, which must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(str(part) for part in command)}: {done.stderr}"
    return done.stdout


def named(encoding, suffix):
    return {f"{name}{suffix}": list(values) for name, values in encoding.items()}


def softmax(logits):
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def unlike(found, expected):
    return float(np.abs(np.log(np.array(found)) - np.log(np.array(expected))).max())


def cases(kind):
    """The tasks of an architecture: a name, the flags of finetune, and the texts to predict."""
    classify = ["--train", "classify.tsv"]
    for pooling in POOLINGS:
        yield f"classify, {pooling}", [*classify, "--pooling", pooling], "single.txt"
    yield "classify, full", [*classify, "--pooling", "pooler", "--method", "full"], "single.txt"
    yield "classify, columns", [*classify, "--pooling", "mean", "--method", "columns:3"], "single.txt"
    regress = ["--kind", "regress", "--train", "regress.tsv"]
    yield "regress, joint pairs", [*regress, "--pooling", "pooler"], "pairs.txt"
    for pooling in ["cls", "mean", "mean-normalized"] + (["pooler"] if kind == "bert" else []):
        yield f"regress, separate pairs, {pooling}", [*regress, "--pair", "separate", "--pooling", pooling], "pairs.txt"
    yield "multi-label", ["--kind", "multi-label", "--train", "multi-label.tsv", "--label-separator", ";"], "single.txt"
    yield "tag", ["--kind", "tag", "--train", "tag.conll"], "short.txt"
    yield "span", ["--kind", "span", "--train", "span.jsonl"], "questions.txt"
    yield "mlm", ["--kind", "mlm", "--train", "mlm.txt"], "masks.txt"
    yield "mlm, full", ["--kind", "mlm", "--train", "mlm.txt", "--method", "full"], "masks.txt"


def tiny_cases(cli):
    """Every case, with its greatest difference."""
    for kind in TOKENIZERS:
        with tempfile.TemporaryDirectory() as directory:
            directory = Path(directory)
            (directory / "model").mkdir()
            write_data(directory, tiny_model(kind, directory / "model"))
            for name, flags, texts in cases(kind):
                flags = [directory / flag if (directory / flag).is_file() else flag for flag in flags]
                run(
                    cli, "finetune", "-q", "--precision", "f32", "--overwrite", "--no-probe", "--epochs", "2", "--lr", "1e-2", "--max-length", "100",
                    "--model", directory / "model", "--out", directory / "out", *flags
                )
                task = Task(cli, directory / "out/task.safetensors", directory / "model", directory / texts, directory)
                yield f"{kind}: {name}", *task.compare()


def main():
    if len(sys.argv) == 2:
        results = tiny_cases(sys.argv[1])
    elif len(sys.argv) == 5:
        with tempfile.TemporaryDirectory() as directory:
            results = [(sys.argv[2], *Task(*sys.argv[1:], directory).compare())]
    else:
        sys.exit(__doc__)
    worst = 0.0
    for name, greatest, texts in results:
        print(f"{name}: {texts} texts, greatest difference {greatest:.2e}", flush=True)
        worst = max(worst, greatest)
    print(f"greatest difference {worst:.2e}")
    sys.exit(worst > GOAL)


if __name__ == "__main__":
    main()
