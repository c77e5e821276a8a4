"""Loss trajectories of PyTorch on real weights: what each of the first training steps should cost, to the digit.

Trains a BERT checkpoint with transformers for a few steps with nothing random in it (dropout off, file order, head from a
file) and writes what every step's loss and gradient norm were:

    OUT_DIR/NAME.json           {"losses": [..], "grad_norms": [..], "tokens_per_step": [..], "tokens": n, "config": {..},
                                 "versions": {..}}
    the --head file             classifier.weight [C,H] from N(0, 0.02), classifier.bias [C] zeros; written if it is not
                                there yet, else read

A step: the next --batch rows of the file, padded to the longest; mean cross-entropy (labels numbered in lexicographic order
of their strings over the whole file) or, with --regress, mean squared error of the one output; gradients clipped to a global
norm of 1.0 (`grad_norms` are from before clipping); AdamW without weight decay, constant rate. `losses[i]` is from before
step i's update. `tokens` are real ones, [CLS] and [SEP] included, padding not.

What trains: the head and the biases that --bias names, save the key biases. Softmax ignores a constant added to a row, so a
key bias's gradient is zero; what arithmetic leaves there is noise, which Adam would turn into full steps. Frozen here.

The committed trajectories are of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; `config.model_sha256` names the exact
weights, which are not in the repository) and come from these lines, DATA being data/support-desk/train.tsv:

    pip install torch transformers safetensors
    python make_pairs.py DATA minilm/pairs.tsv
    python trajectories.py --model MINILM_DIR --name classify --data DATA --text text --label label
    python trajectories.py --model MINILM_DIR --name regress --data minilm/pairs.tsv --text sentence1,sentence2 --label score --regress
    python trajectories.py --model MINILM_DIR --name classify_subset --data DATA --text text --label label --bias query,intermediate

Written with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.23.0, safetensors 0.8.0. Another machine's float32 sums in
another order; --dtype float64 says how much that matters (the differences grow slowly with the steps).
"""

import argparse
import hashlib
import json
import pathlib
import platform
import re
import time

import safetensors
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from batches import collate, encode, read_columns

HERE = pathlib.Path(__file__).resolve().parent

# The names the command line uses, and the parameters that each stands for.
BIASES = {
    "query": r"attention\.self\.query\.bias$",
    "key": r"attention\.self\.key\.bias$",
    "value": r"attention\.self\.value\.bias$",
    "attention-output": r"attention\.output\.dense\.bias$",
    "attention-layernorm": r"attention\.output\.LayerNorm\.bias$",
    "intermediate": r"intermediate\.dense\.bias$",
    "output": r"layer\.\d+\.output\.dense\.bias$",
    "output-layernorm": r"layer\.\d+\.output\.LayerNorm\.bias$",
    "embeddings-layernorm": r"embeddings\.LayerNorm\.bias$",
    "pooler": r"pooler\.dense\.bias$",
}


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def load_head(path, outputs, hidden, seed):
    """The head's first weights, from the file, which is written first if it does not exist."""
    if not path.exists():
        generator = torch.Generator().manual_seed(seed)
        weight = 0.02 * torch.randn(outputs, hidden, generator=generator)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"classifier.weight": weight, "classifier.bias": torch.zeros(outputs)}, path, {"format": "pt"})
        path.chmod(0o644)
    head = load_file(path)
    assert head["classifier.weight"].shape == (outputs, hidden), f"{path} is another model's or task's head"
    return head


def is_trained(name, kinds):
    if name.startswith("classifier."):
        return True
    return any(re.search(BIASES[kind], name) for kind in kinds if kind != "key")


def main():
    parser = argparse.ArgumentParser(description="Writes PyTorch's loss trajectory on real weights.")
    parser.add_argument("--model", required=True, help="directory of the checkpoint, as Hugging Face lays it out")
    parser.add_argument("--name", required=True, help="the output is OUT_DIR/NAME.json")
    parser.add_argument("--data", required=True, help="TSV file with a header")
    parser.add_argument("--text", required=True, help="column, or two columns joined by a comma")
    parser.add_argument("--label", required=True, help="column of the label or, with --regress, of the number")
    parser.add_argument("--regress", action="store_true", help="one output and mean squared error")
    parser.add_argument("--bias", default="all", help=f"all, or some of {','.join(BIASES)}")
    parser.add_argument(
        "--head", type=pathlib.Path, help="the head's first weights (default: OUT_DIR/head_classify.safetensors, or head_regress)"
    )
    parser.add_argument("--head-seed", type=int, default=30, help="seed of a head that has to be written")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out-dir", type=pathlib.Path, default=HERE / "minilm")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)

    *texts, labels = read_columns(args.data, [*args.text.split(","), args.label])
    needed = args.steps * args.batch
    assert len(labels) >= needed, f"{args.data} has {len(labels)} rows, {needed} are needed"
    classes = None if args.regress else sorted(set(labels))
    outputs = 1 if args.regress else len(classes)
    rows = encode(AutoTokenizer.from_pretrained(args.model), [part[:needed] for part in texts], args.max_length)
    if args.regress:
        targets = torch.tensor([float(value) for value in labels[:needed]], dtype=dtype)
    else:
        targets = torch.tensor([classes.index(value) for value in labels[:needed]])

    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=outputs, dtype=torch.float32, attn_implementation=args.attention
    )
    default = "head_regress.safetensors" if args.regress else "head_classify.safetensors"
    head_path = args.head or args.out_dir / default
    unexpected = model.load_state_dict(
        load_head(head_path, outputs, model.config.hidden_size, args.head_seed), strict=False
    ).unexpected_keys
    assert not unexpected, unexpected
    model = model.to(dtype).eval()  # eval mode is dropout 0
    kinds = list(BIASES) if args.bias == "all" else args.bias.split(",")
    names = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name, kinds))
        names += [name] if parameter.requires_grad else []
    training = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(training, lr=args.lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

    losses, norms, tokens = [], [], []
    started = time.time()
    for first in range(0, needed, args.batch):
        batch = rows[first : first + args.batch]
        goal = targets[first : first + args.batch]
        logits = model(**collate(batch)).logits
        if args.regress:
            loss = torch.nn.functional.mse_loss(logits.squeeze(-1), goal)
        else:
            loss = torch.nn.functional.cross_entropy(logits, goal)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(training, 1.0).item())
        optimizer.step()
        losses.append(loss.item())
        tokens.append(sum(len(ids) for ids, _ in batch))
    seconds = time.time() - started

    result = {
        "losses": losses,
        "grad_norms": norms,
        "tokens": sum(tokens),
        "tokens_per_step": tokens,
        "config": {
            "model_sha256": sha256(pathlib.Path(args.model) / "model.safetensors"),
            "data": pathlib.Path(args.data).name,
            "data_sha256": sha256(args.data),
            "text": args.text.split(","),
            "label": args.label,
            "kind": "regress" if args.regress else "classify",
            "labels": classes,
            "head": head_path.name,
            "head_sha256": sha256(head_path),
            "bias": args.bias,
            "frozen": "key biases, and every weight outside the head",
            "trained_tensors": len(names),
            "trained_scalars": sum(parameter.numel() for parameter in training),
            "optimizer": {"name": "adamw", "lr": args.lr, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "clip": 1.0},
            "schedule": "constant",
            "dropout": 0.0,
            "shuffle": False,
            "steps": args.steps,
            "batch_size": args.batch,
            "max_length": args.max_length,
            "padding": "longest of the batch",
            "dtype": args.dtype,
            "attention": args.attention,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "safetensors": safetensors.__version__,
        },
    }
    args.out_dir.mkdir(parents=True, exist_ok=True)
    (args.out_dir / f"{args.name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{args.name}: loss {losses[0]:.6f} -> {losses[-1]:.6f}, {sum(tokens)} tokens, {seconds:.1f} s")


if __name__ == "__main__":
    main()
