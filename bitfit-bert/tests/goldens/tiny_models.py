"""Tiny random models of every encoder, with the tokenizers of `tokenizers.json` beside this file, and data for every kind of task.

compare_onnx.py and compare_merged.py train tasks on them. Needs torch and transformers.
"""

import json
import os
import random
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer  # noqa: E402

HERE = Path(__file__).resolve().parent
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
# The name that each encoder's tokenizer has in tokenizers.json.
TOKENIZERS = {
    "bert": "bert",
    "roberta": "roberta",
    "xlm-roberta": "xlm-roberta",
    "camembert": "core camembert",
    "distilbert": "core model type distilbert",
    "electra": "core model type electra",
    "mpnet": "mpnet",
}
POOLINGS = ["pooler", "cls", "mean", "cls-normalized", "mean-normalized"]


def tiny_model(kind, directory):
    """A random model of an architecture with a tokenizer, whose outputs differ from text to text."""
    goldens = json.loads((HERE / "tokenizers.json").read_text(encoding="utf-8"))
    files = next(entry["files"] for entry in goldens["directories"] if entry["name"] == TOKENIZERS[kind])
    for name, content in files.items():
        text = content if isinstance(content, str) else goldens["bodies"][content["body"]]
        (directory / name).write_text(text, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    names = {"distilbert": ("dim", "n_layers", "n_heads", "hidden_dim")}
    names = names.get(kind, ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"))
    extents = dict(zip(names, (24, 3, 4, 40)))
    first = 0 if kind in ("bert", "distilbert", "electra") else tokenizer.pad_token_id + 1
    if kind == "electra":
        extents["embedding_size"] = 16
    if kind in ("roberta", "xlm-roberta", "camembert"):
        extents["type_vocab_size"] = 1
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), max_position_embeddings=160 + first, pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.25, **extents
    )
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config)
    encoder = AutoModel.from_config(config)
    parameters = dict(model.state_dict())
    if kind == "bert":
        pooler = {name: value for name, value in encoder.state_dict().items() if name.startswith("pooler")}
        parameters |= {f"bert.{name}": value for name, value in pooler.items()}
    for name, value in parameters.items():
        if value.dim() == 1 and value.is_floating_point():
            with torch.no_grad():
                value += torch.randn_like(value) * 0.2
    model.save_pretrained(directory, state_dict=parameters)
    return tokenizer


def write_data(directory, tokenizer):
    """Data of every kind of task, and texts to predict."""
    words = "the quick brown fox jumps over lazy dog was not amused and neither a tokenizer splits text walking talked".split()
    draw = random.Random(1)

    def text(least=2, most=18):
        return " ".join(draw.choice(words) for _ in range(draw.randint(least, most)))

    def write(name, lines):
        (directory / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    write("classify.tsv", ["text\tlabel"] + [f"{text()}\t{draw.choice('abc')}" for _ in range(24)])
    scores = [f"{text()}\t{text()}\t{draw.random() * 5:.3f}" for _ in range(24)]
    write("regress.tsv", ["sentence1\tsentence2\tscore", *scores])
    labels = ["a;b", "b", "a;b;c", "c", "", "a;c"] * 4
    write("multi-label.tsv", ["text\tlabels"] + [f"{text()}\t{label}" for label in labels])
    sentences = [[f"{word}\t{draw.choice('XYZ')}" for word in text().split()] + [""] for _ in range(16)]
    write("tag.conll", sum(sentences, []))
    questions = []
    for number in range(12):
        context = text(8, 18)
        answer = draw.choice(context.split())
        answers = {"text": [answer], "answer_start": [context.index(answer)]}
        questions.append({"id": str(number), "question": text(2, 5), "context": context, "answers": answers})
    write("span.jsonl", [json.dumps(question) for question in questions])
    none = {"id": "none", "question": "nothing", "context": questions[0]["context"], "answers": {"text": [], "answer_start": []}}
    write("unanswerable.jsonl", [json.dumps(question) for question in [*questions, none]])
    write("mlm.txt", [text() for _ in range(24)])
    write("single.txt", [text(1, 40) for _ in range(12)] + [f"the {tokenizer.pad_token} fox {tokenizer.pad_token} jumps"])
    # Those that are read token by token are one sequence each.
    write("short.txt", [text(1, 12) for _ in range(12)])
    write("questions.txt", [f"{text(1, 5)}\t{text(4, 12)}" for _ in range(12)])
    write("pairs.txt", [f"{text(1, 12)}\t{text(4, 25)}" for _ in range(13)])
    write("masks.txt", [f"{text(1, 9)} {tokenizer.mask_token} {text(1, 12)} {tokenizer.mask_token} ." for _ in range(9)])
