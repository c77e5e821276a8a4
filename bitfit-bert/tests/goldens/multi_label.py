"""Goldens from transformers for several labels a text: tiny random encoders of two architectures.

What it writes, beside this file (or under --out DIR), over the bases of encoders.py, which must be there:

    multi_label/<model_type>.safetensors    the texts and their labels, the head's first values, logits, gradients and values
                                            after ten steps, under the names of encoders.py with the run `multi-label`
    multi_label/<model_type>.json           losses, gradient norms and what trained

`batch.indicators` is F32 [B,C], 1 where the text has the label. One text has no label, one has all but one, and one label never
occurs. The models are transformers' own classes with problem_type "multi_label_classification", and the loss is the one that
they compute themselves (torch.nn.BCEWithLogitsLoss). Everything else is as in encoders.py.

    pip install torch transformers safetensors
    python multi_label.py              writes the files again
    python multi_label.py --check      computes all again and compares with the files that are there; 1 where they differ

Written with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.24.0, safetensors 0.8.0.
"""

import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

import encoders
import generate

HERE = pathlib.Path(__file__).resolve().parent
ARCHITECTURES = ["bert", "distilbert"]
INDICATORS = [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def loss_of(model, batch, _regress):
    output = model(**encoders.padded(batch), labels=batch["indicators"].to(next(model.parameters()).dtype))
    return output.logits, output.loss


def read_batch(folder, padding, has_types):
    golden = load_file(folder / "golden.safetensors")
    lengths = golden["batch.lengths"].tolist()
    parts = lambda name: list(torch.split(golden[name], lengths))
    return {
        "ids": parts("batch.input_ids"), "types": parts("batch.token_type_ids"), "lengths": golden["batch.lengths"],
        "indicators": torch.tensor(INDICATORS, dtype=torch.float32), "padding": padding, "has_types": has_types,
    }


def write_case(out, model_type, place):
    _, padding, sizes = encoders.ENCODERS[model_type]
    folder = HERE / "encoders" / model_type
    (out / "multi_label").mkdir(parents=True, exist_ok=True)
    config = AutoConfig.for_model(
        model_type, **sizes, num_labels=len(INDICATORS[0]), problem_type="multi_label_classification",
        attn_implementation="eager",
    )
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    encoders.fill(model, torch.Generator().manual_seed(60 + place))
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert all(encoders.is_head(name) for name in missing) and not unexpected, (missing, unexpected)
    batch = read_batch(folder, padding, model_type == "bert")
    generate.loss_of = loss_of
    tensors = {
        "batch.input_ids": torch.cat(batch["ids"]), "batch.token_type_ids": torch.cat(batch["types"]),
        "batch.lengths": batch["lengths"], "batch.indicators": batch["indicators"],
    }
    head = {name: value.detach().clone() for name, value in model.named_parameters() if encoders.is_head(name)}
    tensors.update({f"multi-label.head.{name}": value for name, value in head.items()})
    trained = lambda name: encoders.is_head(name) or (name.endswith(".bias") and not encoders.is_key_bias(name))
    values, facts = generate.run(model.double(), batch, False, trained, trained)
    for name, value in values.items():
        assert not name.startswith("grad.") or value.abs().max() > 1e-6, f"{model_type} {name}: no gradient"
    tensors.update({f"multi-label.{name}": value for name, value in values.items()})
    save_file(generate.as_stored(tensors), out / "multi_label" / f"{model_type}.safetensors", {"format": "pt"})
    json = {"runs": {"multi-label": facts}, "versions": generate.versions()}
    generate.write_json(out / "multi_label" / f"{model_type}.json", json)


def write_all(out):
    for place, model_type in enumerate(ARCHITECTURES):
        write_case(out, model_type, place)


if __name__ == "__main__":
    generate.command_line("Writes the goldens of several labels a text.", write_all, HERE)
