"""Goldens from PyTorch for tiny random BERTs, and references for the optimizer.

What it writes, beside this file (or under --out DIR):

    bert-h32-l2/, bert-h24-l3/      two variants: 4 heads of 8 and 2 layers; 3 heads of 8, 3 layers, odd widths
        config.json                 the checkpoint's configuration, as Hugging Face writes it
        model.safetensors           random weights, F32, names with the `bert.` prefix, with pooler and 3-label classifier
        head_regression.safetensors the one-output head of the regression runs: classifier.weight [1,H], classifier.bias [1]
        golden.safetensors          a batch, hidden states, logits, gradients, parameters after ten steps (table below)
        golden.json                 losses, gradient norms, what ran, and how far torch's own float32 is from all of it
        golden_full.safetensors     grad.<name>: the classification loss's gradient of every parameter, matrices included
    optim.json                      ten AdamW steps on seven numbers, and learning-rate schedules with warm-up

golden.safetensors (B sequences, T tokens in all, H hidden, L layers, C = 3 classes; a packed batch, no padding):

    batch.input_ids, batch.token_type_ids     I64 [T]    the sequences one after another
    batch.lengths                             I64 [B]    tokens of each
    batch.labels                              I64 [B]    classes of the classification runs
    batch.targets                             F32 [B]    numbers of the regression runs
    hidden.0 .. hidden.L                      F32 [T,H]  after the embeddings (0) and after each layer
    pooled                                    F32 [B,H]  tanh(pooler(first token))
    <run>.logits                              F32 [B,C] or [B,1]
    <run>.grad.<name>                         F32        gradient of the loss at the first weights, unclipped
    <run>.after.<name>                        F32        the parameter after ten steps

The runs are `classify` (mean cross-entropy), `regress` (mean squared error, with head_regression.safetensors) and `subset`
(as classify, but only query and intermediate biases and the head train). <name> is the Hugging Face parameter name. `grad`
of classify and regress has every bias, the key biases among them: their true gradient is zero, so what stands there is
rounding noise and no test should read it. `after` has what trained: every bias but the key biases (or the subset), and
classifier.weight and classifier.bias. A step is: loss over the whole batch, gradients, clipping of the global norm of what
trains to 1.0, AdamW (lr 1e-3, betas 0.9 and 0.999, eps 1e-8, no weight decay). Dropout is off (eval mode), although the
configuration says 0.1.

Precision: the weights are F32 numbers; the model then computes everything in float64 and only the results are rounded to
F32, so that the goldens are right to their last bit or so and a test's tolerance is for the code under test alone. golden.json's
`float32_deviation` says how far the same computation in torch's float32 strays: a sensible lower bound for tolerances.

How to run:

    pip install torch transformers safetensors
    python generate.py              writes the files again
    python generate.py --check      computes all again and compares with the files that are there; 1 where they differ

Written with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.23.0, safetensors 0.8.0; golden.json repeats the versions.
"""

import argparse
import copy
import json
import pathlib
import platform
import sys
import tempfile

import safetensors
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

HERE = pathlib.Path(__file__).resolve().parent
STEPS = 10
LR, BETAS, EPS, CLIP = 1e-3, (0.9, 0.999), 1e-8, 1.0

# Each variant's lengths hold a single token (attention over one key), and the second the longest the positions allow.
VARIANTS = {
    "bert-h32-l2": {
        "seed": 20,
        "lengths": [3, 11, 7, 17, 1],
        "config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
    },
    "bert-h24-l3": {
        "seed": 21,
        "lengths": [5, 40, 2, 1, 23],
        "config": {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40},
    },
}

COMMON_CONFIG = {
    "vocab_size": 97,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "pad_token_id": 0,
}


def config_json(sizes):
    """The config.json of a variant: written out here so that a newer transformers does not change it."""
    labels = ["a", "b", "c"]
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        **COMMON_CONFIG,
        **sizes,
        "position_embedding_type": "absolute",
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def random_values(name, shape, generator):
    """First values of one parameter, F32. None is zero or one, which could hide an error."""
    noise = torch.randn(shape, generator=generator, dtype=torch.float32)
    if name.endswith("LayerNorm.weight"):
        return 1.0 + 0.2 * noise
    if name.endswith("bias"):
        return 0.1 * noise
    if "embeddings" in name:
        return 0.5 * noise
    return 0.25 * noise  # wide enough that attention is far from uniform


def build_model(sizes, generator):
    """A classification model with random weights, F32, in eval mode."""
    config = BertConfig(**COMMON_CONFIG, **sizes, num_labels=3, attn_implementation="eager")
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(random_values(name, parameter.shape, generator))
    return model


def build_batch(lengths, vocab, generator):
    """Random sequences; those of five tokens and more are pairs (token types 0, then 1)."""
    ids, types = [], []
    for length in lengths:
        ids.append(torch.randint(1, vocab, (length,), generator=generator))
        second = length - length // 3 if length >= 5 else length
        types.append(torch.tensor([0] * second + [1] * (length - second)))
    count = len(lengths)
    return {
        "ids": ids,
        "types": types,
        "labels": torch.tensor([i % 3 for i in range(count)]),
        "targets": (5.0 * torch.rand(count, generator=generator, dtype=torch.float32)),
    }


def padded(batch):
    """The batch as transformers takes it: padded to the longest, with a mask."""
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(batch["ids"], batch_first=True),
        "token_type_ids": pad(batch["types"], batch_first=True),
        "attention_mask": pad([torch.ones_like(ids) for ids in batch["ids"]], batch_first=True),
    }


def is_bias(name):
    return name.endswith(".bias")


def is_key_bias(name):
    return name.endswith("attention.self.key.bias")


def is_head(name):
    return name.startswith("classifier.")


def trained_all(name):
    return is_head(name) or (is_bias(name) and not is_key_bias(name))


def trained_subset(name):
    return is_head(name) or name.endswith(("attention.self.query.bias", "intermediate.dense.bias"))


def loss_of(model, batch, regress):
    """(logits, mean loss) of the whole batch."""
    logits = model(**padded(batch)).logits
    if regress:
        return logits, torch.nn.functional.mse_loss(logits.squeeze(-1), batch["targets"].to(logits.dtype))
    return logits, torch.nn.functional.cross_entropy(logits, batch["labels"])


def run(model, batch, regress, trained, with_gradients_of):
    """One run: (tensors without the run's prefix, its entry of golden.json). The model is not changed."""
    model = copy.deepcopy(model)
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(trained(name) or with_gradients_of(name))
    tensors, losses, norms = {}, [], []
    training = [parameters[name] for name in parameters if trained(name)]
    optimizer = torch.optim.AdamW(training, lr=LR, betas=BETAS, eps=EPS, weight_decay=0.0)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        logits, loss = loss_of(model, batch, regress)
        loss.backward()
        if step == 0:
            tensors["logits"] = logits.detach().clone()
            for name, parameter in parameters.items():
                if with_gradients_of(name):
                    tensors[f"grad.{name}"] = parameter.grad.clone()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(training, CLIP).item())
        optimizer.step()
    for name, parameter in parameters.items():
        if trained(name):
            tensors[f"after.{name}"] = parameter.detach().clone()
    facts = {
        "loss": losses[0],
        "losses": losses,
        "grad_norms": norms,
        "trained": [name for name in parameters if trained(name)],
        "trained_scalars": sum(parameter.numel() for parameter in training),
    }
    return tensors, facts


def with_head(model, head):
    """A copy of the model whose classifier is the given one."""
    model = copy.deepcopy(model)
    dtype = next(model.parameters()).dtype
    outputs, hidden = head["classifier.weight"].shape
    model.classifier = torch.nn.Linear(hidden, outputs).to(dtype)
    model.load_state_dict({name: value.to(dtype) for name, value in head.items()}, strict=False)
    return model


def all_runs(model, head, batch):
    """Every run of a variant: {run: (tensors, facts)}."""
    biases_and_head = lambda name: is_bias(name) or is_head(name)
    return {
        "classify": run(model, batch, False, trained_all, biases_and_head),
        "regress": run(with_head(model, head), batch, True, trained_all, biases_and_head),
        "subset": run(model, batch, False, trained_subset, trained_subset),
    }


def hidden_states(model, batch):
    """hidden.<layer> [T,H] and pooled [B,H]. Also checks that padding changed nothing, sequence by sequence."""
    with torch.no_grad():
        out = model.bert(**padded(batch), output_hidden_states=True)
        for i, (ids, types) in enumerate(zip(batch["ids"], batch["types"])):
            alone = model.bert(input_ids=ids[None], token_type_ids=types[None])
            error = (alone.last_hidden_state[0] - out.last_hidden_state[i, : len(ids)]).abs().max().item()
            assert error < 1e-12, f"padding changed sequence {i} by {error}"
    lengths = [len(ids) for ids in batch["ids"]]
    tensors = {"pooled": out.pooler_output}
    for layer, states in enumerate(out.hidden_states):
        tensors[f"hidden.{layer}"] = torch.cat([states[i, :length] for i, length in enumerate(lengths)])
    return tensors


def full_gradients(model, batch):
    """The classification loss's gradient of every parameter."""
    model = copy.deepcopy(model)
    _, loss = loss_of(model, batch, False)
    loss.backward()
    return {f"grad.{name}": parameter.grad for name, parameter in model.named_parameters()}


def deviation(exact, single):
    """How far float32 strays from float64, over all tensors of each kind but the key biases: largest absolute differences,
    and for gradients also the difference's norm over the gradient's, the worst tensor's."""
    kinds = {"logits": 0.0, "grad": 0.0, "grad_relative": 0.0, "after": 0.0, "losses": 0.0}
    for run_name, (tensors, facts) in exact.items():
        other, other_facts = single[run_name]
        for name, value in tensors.items():
            if is_key_bias(name):
                continue
            kind = name.split(".")[0]
            difference = other[name].double() - value
            kinds[kind] = max(kinds[kind], difference.abs().max().item())
            if kind == "grad":
                kinds["grad_relative"] = max(kinds["grad_relative"], (difference.norm() / value.norm()).item())
        for a, b in zip(facts["losses"], other_facts["losses"]):
            kinds["losses"] = max(kinds["losses"], abs(a - b))
    return kinds


def check_gradients(name, runs):
    """Checks that no gradient is zero, which would test nothing, except those of key biases, which must be."""
    for run_name, (tensors, _) in runs.items():
        for key, value in tensors.items():
            if not key.startswith("grad."):
                continue
            largest = value.abs().max().item()
            fine = largest < 1e-14 if is_key_bias(key) else largest > 1e-4
            assert fine, f"{name} {run_name} {key}: largest gradient {largest}"


def as_stored(tensors):
    """F32 for numbers, I64 for indices, contiguous."""
    return {
        name: (value.to(torch.float32) if value.is_floating_point() else value).detach().contiguous()
        for name, value in tensors.items()
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def versions():
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
    }


def write_variant(out, name, variant):
    """All files of one variant, under out/name."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(variant["seed"])
    single = build_model(variant["config"], generator)
    hidden = variant["config"]["hidden_size"]
    head = {
        key: random_values(key, shape, generator)
        for key, shape in {"classifier.weight": (1, hidden), "classifier.bias": (1,)}.items()
    }
    batch = build_batch(variant["lengths"], COMMON_CONFIG["vocab_size"], generator)

    exact_model = copy.deepcopy(single).double()
    runs = all_runs(exact_model, head, batch)
    check_gradients(name, runs)
    single_runs = all_runs(single, head, batch)

    tensors = {
        "batch.input_ids": torch.cat(batch["ids"]),
        "batch.token_type_ids": torch.cat(batch["types"]),
        "batch.lengths": torch.tensor(variant["lengths"]),
        "batch.labels": batch["labels"],
        "batch.targets": batch["targets"],
        **hidden_states(exact_model, batch),
    }
    for run_name, (values, _) in runs.items():
        tensors.update({f"{run_name}.{key}": value for key, value in values.items()})

    write_json(folder / "config.json", config_json(variant["config"]))
    save_file(as_stored(dict(single.named_parameters())), folder / "model.safetensors", {"format": "pt"})
    save_file(as_stored(head), folder / "head_regression.safetensors", {"format": "pt"})
    save_file(as_stored(tensors), folder / "golden.safetensors", {"format": "pt"})
    save_file(as_stored(full_gradients(exact_model, batch)), folder / "golden_full.safetensors", {"format": "pt"})
    write_json(
        folder / "golden.json",
        {
            "variant": name,
            "seed": variant["seed"],
            "lengths": variant["lengths"],
            "optimizer": {
                "name": "adamw", "lr": LR, "betas": list(BETAS), "eps": EPS, "weight_decay": 0.0, "clip": CLIP, "steps": STEPS,
            },
            "computed_in": "float64",
            "dropout": 0.0,
            "runs": {run_name: facts for run_name, (_, facts) in runs.items()},
            "float32_deviation": deviation(runs, single_runs),
            "versions": versions(),
        },
    )


def write_optim(out):
    """optim.json: AdamW with weight decay on seven numbers, all in float64 (the inputs are F32 numbers), and the learning
    rates of 20 steps for each schedule. `lr[i]` is the rate of step i, counted from 0: with warm-up the first is 0."""
    generator = torch.Generator().manual_seed(22)
    weights = torch.randn(7, generator=generator)
    # Sizes from 1e-9 (where eps counts) to 1e3; one entry that is always zero: decay alone moves it.
    scale = torch.tensor([1.0, 1e-9, 1e-4, 1e3, 0.0, 1e-2, 1e-7])
    gradients = torch.randn(STEPS, 7, generator=generator) * scale
    parameter = torch.nn.Parameter(weights.double())
    adamw = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": 0.01}
    optimizer = torch.optim.AdamW([parameter], **adamw)
    states = []
    for gradient in gradients:
        parameter.grad = gradient.double()
        optimizer.step()
        states.append(parameter.detach().tolist())

    steps = 20
    makers = {
        "constant": lambda opt, warmup: transformers.get_constant_schedule_with_warmup(opt, warmup),
        "linear": lambda opt, warmup: transformers.get_linear_schedule_with_warmup(opt, warmup, steps),
        "cosine": lambda opt, warmup: transformers.get_cosine_schedule_with_warmup(opt, warmup, steps),
    }
    schedules = []
    for kind, make in makers.items():
        for warmup in (0, 5):
            opt = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=LR)
            schedule, rates = make(opt, warmup), []
            for _ in range(steps):
                rates.append(opt.param_groups[0]["lr"])
                opt.step()
                schedule.step()
            schedules.append({"schedule": kind, "warmup_steps": warmup, "total_steps": steps, "base_lr": LR, "lr": rates})

    write_json(
        out / "optim.json",
        {
            "adamw": {
                **adamw,
                "initial": weights.double().tolist(),
                "gradients": gradients.double().tolist(),
                "after_each_step": states,
            },
            "schedules": schedules,
            "versions": versions(),
        },
    )


def write_all(out):
    for name, variant in VARIANTS.items():
        write_variant(out, name, variant)
    write_optim(out)


def json_differs(a, b, path=""):
    """The first place where two JSON values differ by more than rounding; versions and deviations may differ."""
    if path in (".versions", ".float32_deviation"):
        return None
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return path or "."
        return next((d for k in a if (d := json_differs(a[k], b[k], f"{path}.{k}"))), None)
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return path
        return next((d for i in range(len(a)) if (d := json_differs(a[i], b[i], f"{path}[{i}]"))), None)
    if isinstance(a, float) and isinstance(b, float):
        return None if abs(a - b) <= 1e-12 + 1e-9 * abs(a) else path
    return None if a == b else path


def check(write):
    """Computes everything again with `write` and compares with the files beside this script. Returns how many differ."""
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        write(scratch)
        for fresh in sorted(p for p in scratch.rglob("*") if p.is_file()):
            name = fresh.relative_to(scratch)
            if not (HERE / name).exists():
                problem = "missing"
            elif fresh.suffix == ".json":
                place = json_differs(json.loads((HERE / name).read_text()), json.loads(fresh.read_text()))
                problem = place and f"differs at {place}"
            else:
                old, new = load_file(HERE / name), load_file(fresh)
                names = [] if old.keys() == new.keys() else ["the set of names"]
                # A key bias's gradient is rounding noise, far below the absolute tolerance on every machine.
                names += [
                    k for k in old.keys() & new.keys()
                    if old[k].shape != new[k].shape or old[k].dtype != new[k].dtype
                    or not torch.allclose(old[k], new[k], rtol=3e-7, atol=1e-9)
                ]
                problem = names and f"differs: {', '.join(names[:3])}"
            print(f"{name}: {problem or 'as computed'}")
            wrong += bool(problem)
    return wrong


def command_line(description, write, folder):
    """Writes the goldens of a script to its folder or to --out, or with --check compares; `write` writes them to a folder."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=pathlib.Path, default=folder, help="folder to write to (default: this script's)")
    parser.add_argument("--check", action="store_true", help="compare with the files that are there instead of writing")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the order of every sum, and so the last bit, does not depend on the machine's cores
    if args.check:
        sys.exit(1 if check(write) else 0)
    write(args.out)


if __name__ == "__main__":
    command_line("Writes the PyTorch goldens for tiny BERTs and for the optimizer.", write_all, HERE)
