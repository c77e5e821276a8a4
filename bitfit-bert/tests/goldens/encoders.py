"""Goldens from transformers for tiny random encoders of every architecture, through every read-out and for every head.

What it writes, beside this file (or under --out DIR), for each architecture:

    encoders/<model_type>/
        config.json             the checkpoint's configuration
        model.safetensors       random weights, F32, under the names of the architecture's own class for classification,
                                without its head
        golden.safetensors      a batch, and for each read-out the head's first values, logits, gradients and values after
                                ten steps
        golden.json             losses, gradient norms and what trained, for each read-out

The batch is as in generate.py: `batch.input_ids`, `batch.token_type_ids`, `batch.lengths`, `batch.labels`. One text holds the
padding token, and one is longer than the distances that MPNet's position bias tells apart. For each read-out, <pooling>.head.<name>
are the head's first values, <pooling>.logits, <pooling>.grad.<name> and <pooling>.after.<name> as in generate.py.

`pooler` is the class of transformers itself (RobertaForSequenceClassification and so on). The other read-outs have no class
there: the encoder's last hidden states, the first token's or their mean, divided by its length where the name ends in
-normalized, then dropout and one linear layer called `classifier`. `tokens` is the class for the classification of tokens
(RobertaForTokenClassification and so on), with its own loss over every third token of each text, whose labels are `batch.tags`.
`every-token` is the class for answers in a context (RobertaForQuestionAnswering and so on): logits of the first and of the last
token of an answer, `batch.spans`, with its own loss of each text by itself, without padding, and the mean over the texts.

What trains: every bias of the encoder that the read-out reads but the key biases, and the whole head; for `every-token`, whose
softmax is over the tokens, neither the last bias of the encoder nor that of the head, whose gradients are exactly zero. Losses, steps and precision
are those of generate.py, whose functions are used.

    pip install torch transformers safetensors
    python encoders.py              writes the files again
    python encoders.py --check      computes all again and compares with the files that are there; 1 where they differ

Written with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.23.0, safetensors 0.8.0.
"""

import copy
import pathlib

import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

import generate

HERE = pathlib.Path(__file__).resolve().parent
POOLINGS = ["pooler", "cls", "mean", "cls-normalized", "mean-normalized"]
LENGTHS = [4, 150, 9, 1, 23]
READ_EVERY = 3  # tokens, by the head over tokens
VOCAB, HIDDEN, LABELS = 53, 16, 3

COMMON = {
    "vocab_size": VOCAB, "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 160, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
ROBERTA = {**COMMON, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}

# The name of the encoder inside its class, the padding, and the configuration.
ENCODERS = {
    "bert": ("bert", 0, {**COMMON, "type_vocab_size": 2, "layer_norm_eps": 1e-12}),
    "roberta": ("roberta", 1, ROBERTA),
    "xlm-roberta": ("roberta", 1, ROBERTA),
    "camembert": ("roberta", 3, {**ROBERTA, "pad_token_id": 3}),
    "distilbert": (
        "distilbert",
        0,
        {
            "vocab_size": VOCAB, "dim": HIDDEN, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "activation": "gelu",
            "max_position_embeddings": 160, "dropout": 0.1, "attention_dropout": 0.1, "seq_classif_dropout": 0.2,
        },
    ),
    "electra": ("electra", 0, {**COMMON, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "embedding_size": 8}),
    "mpnet": ("mpnet", 1, {**COMMON, "layer_norm_eps": 1e-5, "relative_attention_num_buckets": 32, "pad_token_id": 1}),
}


class Pooled(torch.nn.Module):
    """An encoder read out without a class of transformers' own."""

    def __init__(self, name, encoder, pooling):
        super().__init__()
        self.name, self.pooling = name, pooling
        setattr(self, name, encoder)
        self.classifier = torch.nn.Linear(HIDDEN, LABELS)

    def forward(self, **inputs):
        states = getattr(self, self.name)(**inputs).last_hidden_state
        if self.pooling.startswith("mean"):
            mask = inputs["attention_mask"][..., None].to(states.dtype)
            row = (states * mask).sum(1) / mask.sum(1)
        else:
            row = states[:, 0]
        if self.pooling.endswith("normalized"):
            row = torch.nn.functional.normalize(row, dim=1)
        return type("Output", (), {"logits": self.classifier(row)})


def is_head(name):
    return name.startswith(("classifier.", "pre_classifier.", "qa_outputs."))


def is_key_bias(name):
    return name.endswith(("attention.self.key.bias", "attention.k_lin.bias", "attention.attn.k.bias"))


def is_shift(name):
    """Whether a bias adds one vector to all rows that the head reads, which a softmax over the tokens ignores."""
    return name == "qa_outputs.bias" or name.endswith(("layer.1.output.LayerNorm.bias", "layer.1.output_layer_norm.bias"))


def is_encoder(name):
    return not is_head(name)


def build_batch(padding, generator, has_types):
    batch = generate.build_batch(LENGTHS, VOCAB, generator)
    batch["ids"][2][4] = padding
    batch["padding"], batch["has_types"] = padding, has_types
    if not has_types:
        batch["types"] = [torch.zeros_like(types) for types in batch["types"]]
    return batch


def padded(batch):
    pad = torch.nn.utils.rnn.pad_sequence
    inputs = {
        "input_ids": pad(batch["ids"], batch_first=True, padding_value=batch["padding"]),
        "attention_mask": pad([torch.ones_like(ids) for ids in batch["ids"]], batch_first=True),
    }
    if batch["has_types"]:
        inputs["token_type_ids"] = pad(batch["types"], batch_first=True)
    return inputs


def loss_of(model, batch, _regress):
    if "TokenClassification" in type(model).__name__:
        labels = torch.full((len(LENGTHS), max(LENGTHS)), -100)
        at = [(text, token) for text, length in enumerate(LENGTHS) for token in range(0, length, READ_EVERY)]
        texts, tokens = map(torch.tensor, zip(*at))
        labels[texts, tokens] = batch["tags"]
        output = model(**padded(batch), labels=labels)
        return output.logits[texts, tokens], output.loss
    if "QuestionAnswering" in type(model).__name__:
        output = model(**padded(batch))
        logits = torch.stack((output.start_logits, output.end_logits), dim=-1)
        logits = [logits[text, :length] for text, length in enumerate(LENGTHS)]
        losses = [torch.nn.functional.cross_entropy(z.T, span) for z, span in zip(logits, batch["spans"])]
        # transformers' own, where a text has no padding: the longest.
        longest = LENGTHS.index(max(LENGTHS))
        inputs = {name: value[longest : longest + 1] for name, value in padded(batch).items()}
        first, last = batch["spans"][longest : longest + 1].T
        own = model(**inputs, start_positions=first, end_positions=last).loss
        assert torch.allclose(own, losses[longest]), (own, losses[longest])
        return torch.cat(logits), torch.stack(losses).mean()
    logits = model(**padded(batch)).logits
    return logits, torch.nn.functional.cross_entropy(logits, batch["labels"])


def fill(model, generator):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "norm" in name.lower() and name.endswith("weight")
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.copy_(1.0 + 0.2 * noise if norm else generate.random_values(name, parameter.shape, generator))


def write_encoder(out, model_type, place):
    inner, padding, sizes = ENCODERS[model_type]
    folder = out / "encoders" / model_type
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(30 + place)
    config = AutoConfig.for_model(model_type, **sizes, num_labels=LABELS, attn_implementation="eager")
    own = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    fill(own, generator)
    batch = build_batch(padding, generator, model_type in ("bert", "electra"))
    models = {"pooler": own}
    for pooling in POOLINGS[1:]:
        models[pooling] = Pooled(inner, copy.deepcopy(getattr(own, inner)), pooling).eval()
        fill(models[pooling].classifier, generator)
    # Drawn from another stream, so that what stands above keeps its values.
    generator = torch.Generator().manual_seed(60 + place)
    batch["tags"] = torch.randint(LABELS, (sum(-(-length // READ_EVERY) for length in LENGTHS),), generator=generator)
    models["tokens"] = AutoModelForTokenClassification.from_config(config, attn_implementation="eager").eval()
    getattr(models["tokens"], inner).load_state_dict(getattr(own, inner).state_dict(), strict=False)
    fill(models["tokens"].classifier, generator)

    generator = torch.Generator().manual_seed(90 + place)
    places = [torch.randint(length, (2,), generator=generator).sort().values for length in LENGTHS]
    batch["spans"] = torch.stack(places)
    config = AutoConfig.for_model(model_type, **sizes, num_labels=2, attn_implementation="eager")
    models["every-token"] = AutoModelForQuestionAnswering.from_config(config, attn_implementation="eager").eval()
    getattr(models["every-token"], inner).load_state_dict(getattr(own, inner).state_dict(), strict=False)
    fill(models["every-token"].qa_outputs, generator)

    # The functions of generate.py, over this file's batch and names.
    generate.padded, generate.loss_of = padded, loss_of
    tensors = {
        "batch.input_ids": torch.cat(batch["ids"]),
        "batch.token_type_ids": torch.cat(batch["types"]),
        "batch.lengths": torch.tensor(LENGTHS),
        "batch.labels": batch["labels"],
        "batch.tags": batch["tags"],
        "batch.spans": batch["spans"].flatten(),
    }
    facts = {}
    for pooling, model in models.items():
        for name, parameter in model.named_parameters():
            if is_head(name):
                tensors[f"{pooling}.head.{name}"] = parameter.detach().clone()
        reads_pooler = model_type == "bert" and pooling == "pooler"
        is_inert = lambda name: is_key_bias(name) or (pooling == "every-token" and is_shift(name))
        trained = lambda name: not is_inert(name) and (
            is_head(name) or (name.endswith(".bias") and (reads_pooler or "pooler" not in name))
        )
        values, facts[pooling] = generate.run(model.double(), batch, False, trained, trained)
        for name, value in values.items():
            assert not name.startswith("grad.") or value.abs().max() > 1e-6, f"{model_type} {pooling} {name}: no gradient"
        tensors.update({f"{pooling}.{name}": value for name, value in values.items()})

    weights = {name: value.float() for name, value in own.named_parameters() if is_encoder(name)}
    generate.write_json(folder / "config.json", {"model_type": model_type, **sizes})
    save_file(generate.as_stored(weights), folder / "model.safetensors", {"format": "pt"})
    save_file(generate.as_stored(tensors), folder / "golden.safetensors", {"format": "pt"})
    generate.write_json(folder / "golden.json", {"runs": facts, "versions": generate.versions()})


def write_all(out):
    for place, model_type in enumerate(ENCODERS):
        write_encoder(out, model_type, place)


if __name__ == "__main__":
    generate.command_line("Writes the goldens of tiny encoders of every architecture.", write_all, HERE)
