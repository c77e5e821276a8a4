"""Goldens from transformers for full fine-tuning of tiny random encoders: the gradient of every parameter, ten AdamW steps.

What it writes, beside this file (or under --out DIR), for each architecture:

    full/<model_type>.safetensors       the batch, logits, gradients, and values after ten steps
    full/<model_type>.json              losses, gradient norms and what trained

The models are those of encoders.py, whose files are read: the architecture's own class for classification, with the head's
values of its read-out `pooler`. The batch is its batch without the padding token, because transformers computes no gradient for
the row of that token. What trains: every parameter but the key biases, whose gradient is exactly zero,
and a pooler that the class does not have.

    pip install torch transformers safetensors
    python full.py              writes the files again
    python full.py --check      computes all again and compares with the files that are there; 1 where they differ

Written with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.24.0, safetensors 0.8.0.
"""

import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

import encoders
import generate

HERE = pathlib.Path(__file__).resolve().parent
RUN = "full"
INSTEAD_OF_PADDING = 7


def read_batch(golden, padding, has_types):
    lengths = golden["batch.lengths"].tolist()
    parts = lambda name: list(torch.split(golden[name], lengths))
    ids = [torch.where(text == padding, INSTEAD_OF_PADDING, text) for text in parts("batch.input_ids")]
    return {
        "ids": ids, "types": parts("batch.token_type_ids"), "labels": golden["batch.labels"],
        "padding": padding, "has_types": has_types,
    }


def write_case(out, model_type):
    _, padding, sizes = encoders.ENCODERS[model_type]
    folder = HERE / "encoders" / model_type
    (out / RUN).mkdir(parents=True, exist_ok=True)
    config = AutoConfig.for_model(model_type, **sizes, num_labels=encoders.LABELS, attn_implementation="eager")
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    golden = load_file(folder / "golden.safetensors")
    head = {name.removeprefix("pooler.head."): value for name, value in golden.items() if name.startswith("pooler.head.")}
    missing, unexpected = model.load_state_dict({**load_file(folder / "model.safetensors"), **head}, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    batch = read_batch(golden, padding, model_type in ("bert", "electra"))
    generate.padded, generate.loss_of = encoders.padded, encoders.loss_of
    trained = lambda name: not encoders.is_key_bias(name)
    values, facts = generate.run(model.double(), batch, False, trained, trained)
    for name, value in values.items():
        assert not name.startswith("grad.") or value.abs().max() > 1e-6, f"{model_type} {name}: no gradient"
    tensors = {
        "batch.input_ids": torch.cat(batch["ids"]), "batch.token_type_ids": torch.cat(batch["types"]),
        "batch.lengths": golden["batch.lengths"], "batch.labels": batch["labels"],
        **{f"{RUN}.head.{name}": value for name, value in head.items()},
        **{f"{RUN}.{name}": value for name, value in values.items()},
    }
    save_file(generate.as_stored(tensors), out / RUN / f"{model_type}.safetensors", {"format": "pt"})
    generate.write_json(out / RUN / f"{model_type}.json", {"runs": {RUN: facts}, "versions": generate.versions()})


def write_all(out):
    for model_type in encoders.ENCODERS:
        write_case(out, model_type)


if __name__ == "__main__":
    generate.command_line("Writes the goldens of full fine-tuning.", write_all, HERE)
