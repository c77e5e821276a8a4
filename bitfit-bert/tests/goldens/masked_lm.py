"""Goldens from transformers for masked language modelling: tiny random encoders of five architectures with their own heads.

What it writes, beside this file (or under --out DIR), for each architecture:

    masked_lm/<model_type>/
        config.json             the checkpoint's configuration
        model.safetensors       random weights, F32, under the names of the architecture's class for masked language
                                modelling; the weight of the last product is the word embeddings and not there
        golden.safetensors      a batch, logits, gradients and values after ten steps, with the run `mlm`
        golden.json             losses, gradient norms and what trained

`batch.input_ids` (some of them masked), `batch.token_type_ids` and `batch.lengths` are as in generate.py. `batch.masked` I64 [R]
are the places of the masked tokens among all tokens of the batch, in their order, and `batch.tokens` I64 [R] what stood there.
`mlm.logits` is F32 [R,V]. The loss is the one that the class computes itself, with the labels -100 at every other token. What
trains: every bias of the encoder but the key biases, and the biases of the head. Losses, steps and precision are those of
generate.py, whose functions are used.

    pip install torch transformers safetensors
    python masked_lm.py              writes the files again
    python masked_lm.py --check      computes all again and compares with the files that are there; 1 where they differ

Written with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.24.0, safetensors 0.8.0.
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForMaskedLM

import encoders
import generate

HERE = pathlib.Path(__file__).resolve().parent
ARCHITECTURES = ["bert", "roberta", "distilbert", "electra", "mpnet"]
MASK, MASK_EVERY = 5, 4  # the id of the mask, and how many tokens apart two masked ones are


def loss_of(model, batch, _regress):
    inputs = encoders.padded(batch)
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[batch["texts"], batch["places"]] = batch["tokens"]
    output = model(**inputs, labels=labels)
    return output.logits[batch["texts"], batch["places"]], output.loss


def masked_batch(padding, generator, has_types):
    """A batch of which every fourth token of each text is masked, but for one in three, which stays."""
    batch = encoders.build_batch(padding, generator, has_types)
    lengths = [len(ids) for ids in batch["ids"]]
    at = [(text, token) for text, length in enumerate(lengths) for token in range(0, length, MASK_EVERY)]
    batch["texts"], batch["places"] = map(torch.tensor, zip(*at))
    batch["tokens"] = torch.tensor([batch["ids"][text][token] for text, token in at])
    for number, (text, token) in enumerate(at):
        if number % 3 != 2:
            batch["ids"][text][token] = MASK
    firsts = [sum(lengths[:text]) for text in range(len(lengths))]
    batch["masked"] = torch.tensor([firsts[text] + token for text, token in at])
    return batch


def write_case(out, model_type, place):
    _, padding, sizes = encoders.ENCODERS[model_type]
    folder = out / "masked_lm" / model_type
    folder.mkdir(parents=True, exist_ok=True)
    config = AutoConfig.for_model(model_type, **sizes, attn_implementation="eager")
    model = AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(90 + place)
    encoders.fill(model, generator)
    words, decoder = model.get_input_embeddings().weight, model.get_output_embeddings()
    assert decoder.weight is words, f"{model_type}: the last product is not with the word embeddings"
    batch = masked_batch(padding, generator, model_type in ("bert", "electra"))
    generate.loss_of = loss_of
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    trained = lambda name: name.endswith(".bias") and not encoders.is_key_bias(name)
    values, facts = generate.run(model.double(), batch, False, trained, trained)
    for name, value in values.items():
        assert not name.startswith("grad.") or value.abs().max() > 1e-6, f"{model_type} {name}: no gradient"
    tensors = {
        "batch.input_ids": torch.cat(batch["ids"]), "batch.token_type_ids": torch.cat(batch["types"]),
        "batch.lengths": torch.tensor([len(ids) for ids in batch["ids"]]),
        "batch.masked": batch["masked"], "batch.tokens": batch["tokens"],
        **{f"mlm.{name}": value for name, value in values.items()},
    }
    generate.write_json(folder / "config.json", {"model_type": model_type, **sizes})
    save_file(generate.as_stored(weights), folder / "model.safetensors", {"format": "pt"})
    save_file(generate.as_stored(tensors), folder / "golden.safetensors", {"format": "pt"})
    generate.write_json(folder / "golden.json", {"runs": {"mlm": facts}, "versions": generate.versions()})


def write_all(out):
    for place, model_type in enumerate(ARCHITECTURES):
        write_case(out, model_type, place)


if __name__ == "__main__":
    generate.command_line("Writes the goldens of masked language modelling.", write_all, HERE)
