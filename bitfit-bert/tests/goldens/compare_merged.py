"""Does a merged task predict in transformers what its task file predicts here, and does it come back from there?

    python compare_merged.py --cli target/release/bitfit-cli --task-file T --data FILE [--model DIR] [--limit N]
    python compare_merged.py --cli target/release/bitfit-cli --tiny

FILE has what `bitfit-cli predict` reads for the task: JSON lines, a table, or for tags CoNLL-U. With --tiny, tasks of every encoder,
read-out and head that merge writes are trained on the random models of `tiny_models.py` and compared. The script

1. merges T with `bitfit-cli merge`, and loads the directory with the Auto class of its kind, or with sentence-transformers where it
   is one of its directories (without that package, module by module), in float32 and in float64. It prints the greatest difference of
   a probability or a score between `bitfit-cli predict` and transformers in float64, beside that between transformers in float32 and
   itself in float64, and how many answers (labels, tags, answers, tokens) are others. A score above 1 differs by a share of itself;
2. extracts the task file from the merged directory, which must be T byte by byte;
3. saves model and tokenizer with save_pretrained, extracts a task file from that, and compares its answers in the same way.

Float32 has rounding of its own, in transformers as here, which depends on the order of additions: hence the two distances. The exit
status is 1 if an answer is another one, the bytes differ, or our distance to float64 is above both --tolerance and four times that
of transformers in float32. Needs torch and transformers (run with torch 2.15.0, transformers 5.24.0).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from tiny_models import POOLINGS, TOKENIZERS, tiny_model, write_data
from transformers import AutoTokenizer

BEST, LONGEST = 20, 30  # of an answer: the tokens that are paired, and the most tokens, as in heads/span.rs
CLASSES = {
    "classify": "AutoModelForSequenceClassification", "regress": "AutoModelForSequenceClassification",
    "multi-label": "AutoModelForSequenceClassification", "tag": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering", "mlm": "AutoModelForMaskedLM",
}  # fmt: skip


def run(*command):
    """The lines that a command prints on stdout."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout.splitlines()


class Sentence:
    """A directory of sentence-transformers: texts or pairs to what the last module, the head, gives."""

    def __init__(self, directory, is_double):
        dtype = torch.float64 if is_double else torch.float32
        try:
            from sentence_transformers import SentenceTransformer

            self.model = SentenceTransformer(str(directory), device="cpu").to(dtype)
            return
        except ImportError:
            self.model = None
        self.encoder = transformers.AutoModel.from_pretrained(directory).eval().to(dtype)
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        modules = json.loads((directory / "modules.json").read_text())
        self.kinds = [module["type"].rsplit(".", 1)[1] for module in modules]
        self.length = json.loads((directory / "sentence_bert_config.json").read_text())["max_seq_length"]
        self.pooling = json.loads((directory / modules[1]["path"] / "config.json").read_text())
        from safetensors.torch import load_file

        dense = load_file(directory / modules[-1]["path"] / "model.safetensors")
        self.dense = {name: tensor.to(dtype) for name, tensor in dense.items()}

    def __call__(self, text, pair):
        if self.model:
            return torch.tensor(self.model.encode([text if pair is None else [text, pair]], show_progress_bar=False))[0].double()
        hidden = self.encoder(**self.tokenizer(text, pair, truncation=True, max_length=self.length, return_tensors="pt"))
        hidden = hidden.last_hidden_state[0]
        row = hidden.mean(0) if self.pooling["pooling_mode_mean_tokens"] else hidden[0]
        if "Normalize" in self.kinds:
            row = row / row.norm()
        return (self.dense["linear.weight"] @ row + self.dense["linear.bias"]).double()


def of_texts(info, logits):
    """The answer of a classification, a regression or several labels."""
    kind, labels = info["kind"], json.loads(info["labels"])
    if kind == "regress":
        return None, [float(logits[0])]
    probabilities = (torch.softmax(logits, 0) if kind == "classify" else torch.sigmoid(logits)).tolist()
    if kind == "classify":
        return labels[int(logits.argmax())], probabilities
    return [label for label, p in zip(labels, probabilities) if p >= 0.5], probabilities


def expected(info, answer):
    """What `predict` says, in the form of the functions that compute it."""
    kind = info["kind"]
    if kind == "regress":
        return None, [answer["score"]]
    if kind in ("classify", "multi-label"):
        return answer["label" if kind == "classify" else "labels"], list(answer["probabilities"].values())
    if kind == "tag":
        return answer["tags"], answer["probabilities"]
    if kind == "span":
        return answer["answer"], [answer["probability"]]
    tokens = [token for mask in answer["masks"] for token in mask]
    return [token["token"] for token in tokens], [token["probability"] for token in tokens]


def of_tags(info, model, tokenizer, words):
    """The tag of each word that has a token, and its probability; None for a sentence of several sequences."""
    encoding = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    if encoding["input_ids"].shape[1] > json.loads(info["hyperparameters"])["max_length"]:
        return None
    probabilities = torch.softmax(model(**encoding).logits[0].double(), 1)
    ids = encoding.word_ids()
    first = [place for place, word in enumerate(ids) if word is not None and word != ids[place - 1]]
    best, names = probabilities.max(1), json.loads(info["labels"])
    return [names[best.indices[place]] for place in first], [float(best.values[place]) for place in first]


def of_answers(info, model, tokenizer, question, context):
    """The most probable span, and its share of the softmax over the best spans."""
    span, found, none = json.loads(info["span"]), [], float("inf")
    length = json.loads(info["hyperparameters"])["max_length"]
    windows = tokenizer(
        question, context, truncation="only_second", max_length=length, stride=span["stride"],
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    for window in range(len(windows["input_ids"])):
        parts = {key: torch.tensor([windows[key][window]]) for key in tokenizer.model_input_names if key in windows}
        output, sequence = model(**parts), windows.sequence_ids(window)
        starts, ends = output.start_logits[0], output.end_logits[0]
        none = min(none, float(starts[0] + ends[0]))
        best = [values.argsort(descending=True, stable=True)[:BEST].tolist() for values in (starts, ends)]
        for first in (place for place in best[0] if sequence[place] == 1):
            for last in (place for place in best[1] if sequence[place] == 1 and first <= place < first + LONGEST):
                bounds = windows["offset_mapping"][window][first][0], windows["offset_mapping"][window][last][1]
                if bounds[0] < bounds[1]:
                    found.append((float(starts[first] + ends[last]), bounds))
    found.sort(key=lambda candidate: -candidate[0])
    found = found[:BEST]
    if span["unanswerable"]:
        found.append((none, None))
        found.sort(key=lambda candidate: -candidate[0])
    weights = torch.softmax(torch.tensor([score for score, _ in found]).double(), 0)
    bounds = found[0][1]
    return context[slice(*bounds)] if bounds else None, [float(weights[0])]


def of_masks(model, tokenizer, text):
    """The five most probable tokens for each mask."""
    encoding = tokenizer(text, return_tensors="pt")
    probabilities = torch.softmax(model(**encoding).logits[0].double(), 1)
    best = probabilities[encoding["input_ids"][0] == tokenizer.mask_token_id].topk(5)
    return tokenizer.convert_ids_to_tokens(best.indices.flatten().tolist()), best.values.flatten().tolist()


def loaded(info, directory, is_double):
    """A function from an answer of `predict`, for its text, to what transformers computes; and the model."""
    if (directory / "modules.json").exists():
        sentence = Sentence(directory, is_double)
        return lambda answer: of_texts(info, sentence(answer["text"], answer.get("pair"))), None
    kind = info["kind"]
    model = getattr(transformers, CLASSES[kind]).from_pretrained(directory).eval()
    model = model.double() if is_double else model
    # Words that are tokens by themselves begin as behind a space.
    tokenizer = AutoTokenizer.from_pretrained(directory, **({"add_prefix_space": True} if kind == "tag" else {}))
    length = json.loads(info["hyperparameters"])["max_length"]

    def texts(answer):
        encoding = tokenizer(answer["text"], answer.get("pair"), truncation=True, max_length=length, return_tensors="pt")
        return of_texts(info, model(**encoding).logits[0].double())

    functions = {
        "tag": lambda answer: of_tags(info, model, tokenizer, answer["words"]),
        "span": lambda answer: of_answers(info, model, tokenizer, answer["text"], answer["pair"]),
        "mlm": lambda answer: of_masks(model, tokenizer, answer["text"]),
    }
    return functions.get(kind, texts), model


class Distance:
    """How far answers are from others: the greatest difference of their values, and the number of other labels."""

    def __init__(self, answers, others):
        assert len(answers) == len(others) > 0
        self.greatest, self.others, self.count = 0.0, 0, len(answers)
        for (label, values), (other_label, other_values) in zip(answers, others):
            self.others += label != other_label or len(values) != len(other_values)
            differences = [abs(a - b) / max(1.0, abs(b)) for a, b in zip(values, other_values)]
            self.greatest = max([self.greatest, *differences])


def compare(arguments, task_file, data, model=None):
    """Compares one task; prints what is found, and returns whether all is well and the two distances to float64."""
    cli, flags = arguments.cli, ["--model", model] if model else []
    with tempfile.TemporaryDirectory() as temporary:
        merged, saved = Path(temporary) / "merged", Path(temporary) / "saved"
        back, again = Path(temporary) / "back.safetensors", Path(temporary) / "again.safetensors"
        report = json.loads(run(cli, "merge", "-q", *flags, "--task-file", task_file, "--out", merged)[-1])
        info = json.loads((merged / "bitfit.json").read_text())
        what = f"{info['kind']}, {info['pooling']}, {info['method']}, as {report['class']} of {report['library']}"

        def answers(task_file):
            lines = run(
                cli, "predict", "-q", "--precision", "f32", *flags, "--task-file", task_file, "--input", data, "--output-format", "jsonl",
                *(["--format", "lines"] if str(data).endswith(".txt") else []),
            )  # fmt: skip
            return [json.loads(line) for line in lines[: arguments.limit]]

        ours = answers(task_file)
        with torch.inference_mode():
            single, network = loaded(info, merged, False)
            singles = [single(answer) for answer in ours]
            double = loaded(info, merged, True)[0]
            doubles = [double(answer) for answer in ours]
        mine = [expected(info, answer) for answer in ours]
        both = [three for three in zip(mine, singles, doubles) if three[2]]
        mine, singles, doubles = zip(*both)
        here, there = Distance(mine, doubles), Distance(singles, doubles)
        agrees = here.others == 0 and here.greatest <= max(arguments.tolerance, 4 * there.greatest)

        base = model or json.loads(info["base_path"]) or info["base"]
        run(cli, "extract", "-q", "--model", base, "--checkpoint", merged, "--out", back)
        is_same = back.read_bytes() == task_file.read_bytes()
        agrees &= is_same
        print(
            f"{what}: {here.count} texts, to float64 {here.greatest:.2e}, of transformers in float32 {there.greatest:.2e}, to that "
            f"{Distance(mine, singles).greatest:.2e}, {here.others} other answers, extract(merge) "
            f"{'the same bytes' if is_same else 'OTHER BYTES'}",
            end="",
        )
        if network:
            network.save_pretrained(saved)
            AutoTokenizer.from_pretrained(merged).save_pretrained(saved)
            flags_of_task = ["--pairs"] if info["pairs"] == "true" else []
            flags_of_task += ["--unanswerable"] if '"unanswerable":true' in info.get("span", "") else []
            flags_of_task += ["--max-length", str(json.loads(info["hyperparameters"])["max_length"])]
            out = run(cli, "extract", "-q", "--model", base, "--checkpoint", saved, "--out", again, *flags_of_task)
            out = json.loads(out[-1])
            extracted = Distance([expected(info, answer) for answer in answers(again)], [expected(info, answer) for answer in ours])
            agrees &= extracted.others == 0 and extracted.greatest <= arguments.tolerance
            print(f"; saved by transformers: {out['method']}, not held {out['not_held']}, {extracted.greatest:.2e}", end="")
        print("" if agrees else "  FAILED", flush=True)
        return agrees, here.greatest, there.greatest


def cases():
    """The tasks that merge writes: a name, the flags of finetune, and the texts to predict."""
    for pooling in POOLINGS:
        yield ["--train", "classify.tsv", "--pooling", pooling], "single.txt"
    for method in ["full", "columns:3", "bitfit:query+intermediate", "layernorm"]:
        yield ["--train", "classify.tsv", "--pooling", "pooler", "--method", method], "single.txt"
    yield ["--train", "classify.tsv", "--pooling", "mean", "--method", "full"], "single.txt"
    for pooling in POOLINGS:
        yield ["--kind", "regress", "--train", "regress.tsv", "--pooling", pooling], "pairs.txt"
    for pooling in POOLINGS:
        yield ["--kind", "multi-label", "--train", "multi-label.tsv", "--label-separator", ";", "--pooling", pooling], "single.txt"
    yield ["--kind", "tag", "--train", "tag.conll"], "short.txt"
    yield ["--kind", "span", "--train", "span.jsonl"], "questions.txt"
    yield ["--kind", "span", "--train", "unanswerable.jsonl"], "questions.txt"
    yield ["--kind", "mlm", "--train", "mlm.txt"], "masks.txt"
    yield ["--kind", "mlm", "--train", "mlm.txt", "--method", "full"], "masks.txt"


def compare_tiny(arguments):
    """Compares every case over every tiny model; returns whether all is well."""
    agrees, greatest = True, [0.0, 0.0]
    for kind in TOKENIZERS:
        with tempfile.TemporaryDirectory() as directory:
            directory = Path(directory)
            (directory / "model").mkdir()
            write_data(directory, tiny_model(kind, directory / "model"))
            for flags, texts in cases():
                flags = [directory / flag if (directory / flag).is_file() else flag for flag in flags]
                run(
                    arguments.cli, "finetune", "-q", "--precision", "f32", "--overwrite", "--no-probe", "--epochs", "2", "--lr", "1e-2", "--max-length", "100",
                    "--model", directory / "model", "--out", directory / "out", *flags,
                )  # fmt: skip
                print(f"{kind}: ", end="")
                found, *distances = compare(arguments, directory / "out/task.safetensors", directory / texts, directory / "model")
                agrees &= found
                greatest = [max(pair) for pair in zip(greatest, distances)]
    print(f"greatest distance to float64 {greatest[0]:.2e}, of transformers in float32 {greatest[1]:.2e}")
    return agrees


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cli", required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--task-file", type=Path)
    what.add_argument("--tiny", action="store_true", help="every encoder, read-out and head over tiny random models")
    parser.add_argument("--data")
    parser.add_argument("--model", help="the base model; by default the one that the task file names")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=1e-6)
    arguments = parser.parse_args()
    if arguments.tiny:
        return 0 if compare_tiny(arguments) else 1
    if not arguments.data:
        parser.error("--task-file needs --data")
    return 0 if compare(arguments, arguments.task_file, arguments.data, arguments.model)[0] else 1


if __name__ == "__main__":
    sys.exit(main())
