"""What rounding to int8 costs each kind of product of an encoder, in PyTorch and without bitfit.

For one batch of STS-B's pairs, each product of a linear layer's input, and of the gradient of its output, with
the layer's weight is made with both factors rounded as bitfit's int8 mode does, and compared with that in f32: the norm
of the difference over that of the result. Every product has inputs in f32, so that errors do not add up.

    python3 benches/peers/int8_errors.py all-mpnet-base-v2 STS-B/train.tsv

prints a row for each kind of layer: the mean over the layers and the largest, for rows rounded as a whole and for rows
from which up to four elements are set aside, forward and for the input gradient.
"""

import argparse
import collections

import torch
from transformers import AutoTokenizer

from torch_scores import TASKS, Encoder, read

OUTLIERS = 4


def scaled(x, largest):
    scale = torch.where(largest > 0, largest / 127, 1)
    return (x / scale).round() * scale


def rounded(x):
    """Each row of x in units of 1/127 of its largest element."""
    return scaled(x, x.abs().amax(1, keepdim=True))


def rounded_without_outliers(x):
    """As `rounded`, but up to four elements much larger than the rest do not count for the scale."""
    sizes = torch.nn.functional.pad(x.abs().sort(1, descending=True).values, (0, OUTLIERS + 1))
    most, active = sizes[:, :1], torch.ones(len(x), 1, dtype=torch.bool)
    for _ in range(OUTLIERS + 1):
        above = (sizes > most / 2).sum(1, keepdim=True)
        active = active & (above <= OUTLIERS)
        most = torch.where(active, sizes.gather(1, above.clamp(max=OUTLIERS + 1)), most)
    return scaled(x, torch.maximum(most, sizes[:, :1] / 128))


def error(got, want):
    return ((got - want).norm() / want.norm()).item()


def errors(x, weight, rounded_weight):
    """The errors of x · weight with the rows of x rounded as a whole, and with outliers set aside."""
    want = x @ weight
    return [error(rounding(x) @ rounded_weight, want) for rounding in (rounded, rounded_without_outliers)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("pairs", help="a file of STS-B as GLUE writes it")
    parser.add_argument("--rows", type=int, default=16)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    # What trains here reaches every layer: a regression over the mean of the tokens, divided by its length.
    model = Encoder(arguments.model, "mean-normalized", 1).eval()
    texts, labels = read(arguments.pairs, TASKS["stsb"])
    chosen = range(0, len(labels), max(len(labels) // arguments.rows, 1))[: arguments.rows]
    texts = [[column[row] for row in chosen] for column in texts]
    tokens = AutoTokenizer.from_pretrained(arguments.model)(*texts, return_tensors="pt", padding=True)
    mask = tokens["attention_mask"].bool()

    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and ".layer." in name:
            def forward(layer, inputs, _, name=name):
                found[name] = [layer.weight.detach(), inputs[0].detach()[mask]]

            def backward(_, __, gradients, name=name):
                found[name].append(gradients[0].detach()[mask])

            layer.register_forward_hook(forward)
            layer.register_full_backward_hook(backward)
    scores = torch.tensor([float(labels[row]) for row in chosen])
    (model(tokens)[:, 0] - scores).square().mean().backward()

    table = collections.defaultdict(list)
    for name, (weight, x, dy) in found.items():
        scales = (weight.abs().amax(1) / 127).clamp(min=1e-30)
        whole = (weight / scales[:, None]).round()
        kind = name.split(".layer.")[1].split(".", 1)[1]
        # In the second product the scales of the weight are factors of dy.
        of_x = errors(x, weight.T, (whole * scales[:, None]).T)
        table[kind].append(of_x + errors(dy * scales, weight / scales[:, None], whole))
    print("| layer | x · Wᵀ, whole rows | outliers set aside | dy · W, whole rows | outliers set aside |")
    print("|---|---:|---:|---:|---:|")
    for kind, values in table.items():
        columns = [f"{sum(column) / len(column):.3f}, {max(column):.3f}" for column in zip(*values)]
        print(f"| {kind} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
