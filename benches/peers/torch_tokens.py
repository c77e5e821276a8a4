"""Scores of BitFit over tokens in PyTorch, tags of words and answers in a context: the counterpart of `bitfit-cli finetune
--kind tag` and `--kind span`.

    python torch_tokens.py MODEL tag  TRAIN.conllu DEV.conllu [--lr RATE] [--epochs N] [--seed N] [--precision bf16]
    python torch_tokens.py MODEL span TRAIN.json   DEV.json   [--predictions FILE] …

The classes for tokens and for answers of transformers, as its examples run_ner.py and run_qa.py use them: a word is read at its
first token, a context in windows of 384 tokens that overlap by 128, an answer of at most 30 tokens is chosen among the twenty
best beginnings and ends. Every bias and the head train: rows shuffled, batches of 16 padded to their longest, AdamW without
decay, a rate that falls linearly to 0, the gradient clipped to 1, the checkpoint's dropout. Prints a JSON object with the score
of each epoch: accuracy over words, or the share of exact answers, as they stand in the text, in lower case; --predictions leaves
the last epoch's answers for SQuAD's own script. Needs torch and transformers.
"""

import argparse
import json
import time

import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification, AutoTokenizer

import common

BATCH, LONGEST, WINDOW, STRIDE = 16, 128, 384, 128
BEST, LONGEST_ANSWER = 20, 30
IGNORED = -100


class Tags:
    """Universal parts of speech of CoNLL-U."""

    def __init__(self, arguments, tokenizer):
        self.tokenizer = tokenizer
        train, dev = self.read(arguments.train), self.read(arguments.dev)
        self.names = sorted({tag for _, tags in train for tag in tags})
        self.train, self.dev = self.encode(train), self.encode(dev)
        self.model = AutoModelForTokenClassification.from_pretrained(arguments.model, num_labels=len(self.names))

    @staticmethod
    def read(path):
        sentences, words, tags = [], [], []
        with open(path, encoding="utf-8") as file:
            for line in [*file, "\n"]:
                fields = line.rstrip("\n").split("\t")
                if fields[0].isdigit():
                    words.append(fields[1])
                    tags.append(fields[3])
                elif not line.strip() and words:
                    sentences.append((words, tags))
                    words, tags = [], []
        return sentences

    def encode(self, sentences):
        rows = []
        for words, tags in sentences:
            encoding = self.tokenizer(words, is_split_into_words=True, truncation=True, max_length=LONGEST)
            of, labels = encoding.word_ids(), []
            for place, word in enumerate(of):
                is_first = word is not None and word != of[place - 1]
                labels.append(self.names.index(tags[word]) if is_first and tags[word] in self.names else IGNORED)
            rows.append({**encoding, "labels": labels})
        return rows

    def loss(self, batch):
        return self.model(**batch).loss

    def score(self, precision):
        right = words = 0
        for rows, batch in batches(self.tokenizer, self.dev):
            labels = batch.pop("labels")
            with common.precision(precision):
                found = self.model(**batch).logits.argmax(-1)
            right += int((found == labels).sum())
            words += int((labels != IGNORED).sum())
        return right / words


class Spans:
    """Answers of SQuAD's JSON."""

    def __init__(self, arguments, tokenizer):
        self.tokenizer, self.predictions = tokenizer, arguments.predictions
        self.train, _ = self.encode(self.read(arguments.train))
        self.questions = self.read(arguments.dev)
        self.dev, self.of = self.encode(self.questions)
        self.model = AutoModelForQuestionAnswering.from_pretrained(arguments.model)

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8") as file:
            articles = json.load(file)["data"]
        paragraphs = (paragraph for article in articles for paragraph in article["paragraphs"])
        return [(paragraph["context"], question) for paragraph in paragraphs for question in paragraph["qas"]]

    def encode(self, questions):
        rows, of = [], []
        for number, (context, question) in enumerate(questions):
            encoding = self.tokenizer(
                question["question"], context, truncation="only_second", max_length=WINDOW, stride=STRIDE,
                return_overflowing_tokens=True, return_offsets_mapping=True,
            )
            first = question["answers"][0]
            start, end = first["answer_start"], first["answer_start"] + len(first["text"])
            for window, ids in enumerate(encoding["input_ids"]):
                parts, offsets = encoding.sequence_ids(window), encoding["offset_mapping"][window]
                context_at = [place for place, part in enumerate(parts) if part == 1]
                begins = [place for place in context_at if offsets[place][0] <= start]
                ends = [place for place in context_at if offsets[place][1] >= end]
                is_inside = begins and ends and offsets[context_at[0]][0] <= start and offsets[context_at[-1]][1] >= end
                row = {key: encoding[key][window] for key in ("input_ids", "token_type_ids", "attention_mask") if key in encoding}
                row["positions"] = [begins[-1], ends[0]] if is_inside else [0, 0]
                row["offsets"] = [offsets[place] if part == 1 else None for place, part in enumerate(parts)]
                rows.append(row)
                of.append(number)
        return rows, of

    def loss(self, batch):
        first, last = torch.tensor(batch.pop("positions")).T
        batch.pop("offsets")
        return self.model(**batch, start_positions=first, end_positions=last).loss

    def score(self, precision):
        best = {}
        for rows, batch in batches(self.tokenizer, self.dev):
            batch.pop("positions")
            offsets = batch.pop("offsets")
            with common.precision(precision):
                output = self.model(**batch)
            for place, row in enumerate(rows):
                first, last = output.start_logits[place].float(), output.end_logits[place].float()
                at = offsets[place]
                starts, ends = (z[: len(at)].argsort(descending=True)[:BEST].tolist() for z in (first, last))
                for start in starts:
                    for end in ends:
                        if at[start] and at[end] and start <= end < start + LONGEST_ANSWER:
                            found = (float(first[start] + last[end]), at[start][0], at[end][1])
                            best[self.of[row]] = max(best.get(self.of[row], found), found)
        answers = {}
        for number, (context, question) in enumerate(self.questions):
            _, start, end = best.get(number, (0.0, 0, 0))
            answers[question["id"]] = context[start:end]
        if self.predictions:
            with open(self.predictions, "w", encoding="utf-8") as file:
                json.dump(answers, file)
        is_right = lambda question: answers[question["id"]].lower() in {a["text"].lower() for a in question["answers"]}
        return sum(is_right(question) for _, question in self.questions) / len(self.questions)


def padded(tokenizer, rows):
    """A batch of rows as long as the longest; what is no input of the model stays as it is."""
    inputs = [{key: row[key] for key in ("input_ids", "token_type_ids", "attention_mask") if key in row} for row in rows]
    batch = dict(tokenizer.pad(inputs, return_tensors="pt"))
    for key in rows[0].keys() - batch.keys():
        batch[key] = [row[key] for row in rows]
    if "labels" in batch:
        longest = batch["input_ids"].shape[1]
        batch["labels"] = torch.tensor([labels + [IGNORED] * (longest - len(labels)) for labels in batch["labels"]])
    return batch


def batches(tokenizer, rows, size=64):
    """Row numbers and batches, in the order of length."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, padded(tokenizer, [rows[row] for row in chosen])


def order(rows, is_sorted):
    """The rows of each batch of an epoch, in random order; of a batch that is sorted, out of fifty drawn together."""
    drawn = torch.randperm(len(rows)).tolist()
    if not is_sorted:
        return [drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH)]
    together = [drawn[start : start + 50 * BATCH] for start in range(0, len(drawn), 50 * BATCH)]
    drawn = [row for some in together for row in sorted(some, key=lambda row: len(rows[row]["input_ids"]))]
    parts = [drawn[start : start + BATCH] for start in range(0, len(drawn), BATCH)]
    return [parts[part] for part in torch.randperm(len(parts)).tolist()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("kind", choices=["tag", "span"])
    parser.add_argument("train")
    parser.add_argument("dev")
    parser.add_argument("--predictions")
    parser.add_argument("--sort", action="store_true", help="batches of rows of similar lengths, which pad less")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    started = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    task = {"tag": Tags, "span": Spans}[arguments.kind](arguments, tokenizer)
    trained = common.freeze_all_but_biases(task.model)
    optimizer = torch.optim.AdamW(trained, lr=arguments.lr, weight_decay=0.0)
    steps = arguments.epochs * -(-len(task.train) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    epochs = []
    for _ in range(arguments.epochs):
        task.model.train()
        for rows in order(task.train, arguments.sort):
            batch = padded(tokenizer, [task.train[row] for row in rows])
            with common.precision(arguments.precision):
                loss = task.loss(batch)
            common.update(loss, trained, optimizer)
            schedule.step()
        task.model.eval()
        with torch.inference_mode():
            epochs.append(task.score(arguments.precision))
    common.say(kind=arguments.kind, epochs=epochs, seconds=time.perf_counter() - started)


if __name__ == "__main__":
    main()
