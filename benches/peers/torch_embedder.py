"""What `benches/benches/embedder.rs` measures of core, in PyTorch: the time of a node of autograd, AdamW on flat tensors, and
a training step of two encoder layers of which the biases train.

    python torch_embedder.py [--seconds S] [--threads N] [--large] [--compile]

One JSON object on stdout; times in seconds, of every way that PyTorch has: AdamW as one kernel (fused) and as one for each
operation over all tensors (foreach), the step in f32 and as bf16's autocast, and with --compile both through torch.compile.
`--large` includes AdamW on 1e8 values, which takes 2.5 GB. Needs torch.
"""

import argparse

import torch
from torch import nn

import common

NODES, WARM = 1000, 3
SEQUENCES, TOKENS, H, HEADS, FFN = 16, 64, 384, 12, 1536


def node(seconds):
    one = torch.ones(1, 1, requires_grad=True)

    def infer():
        with torch.no_grad():
            x = one
            for _ in range(NODES):
                x = x * 1.0

    def train():
        x = one
        for _ in range(NODES):
            x = x * 1.0
        x.backward()

    return {"infer": common.median(seconds, infer, WARM) / NODES, "train": common.median(seconds, train, WARM) / NODES}


def adamw(seconds, length):
    taken = {}
    for way in ("fused", "foreach"):
        values = torch.full((length,), 0.5, requires_grad=True)
        values.grad = torch.linspace(-1, 1, length)
        optimizer = torch.optim.AdamW([values], lr=1e-4, weight_decay=0.0, **{way: True})
        taken[way] = common.median(seconds, optimizer.step, WARM)
    return taken


class Layer(nn.Module):
    """A post-LN layer as in embedder.rs: query, key and value as one product, the exact GELU."""

    def __init__(self):
        super().__init__()
        self.qkv, self.o = nn.Linear(H, 3 * H), nn.Linear(H, H)
        self.up, self.down = nn.Linear(H, FFN), nn.Linear(FFN, H)
        self.norms = nn.ModuleList([nn.LayerNorm(H), nn.LayerNorm(H)])

    def forward(self, x):
        split = self.qkv(x).view(SEQUENCES, TOKENS, 3, HEADS, H // HEADS).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(split[0], split[1], split[2], dropout_p=0.1)
        y = self.o(attended.transpose(1, 2).reshape(SEQUENCES, TOKENS, H))
        h = self.norms[0](x + nn.functional.dropout(y, 0.1))
        y = self.down(nn.functional.gelu(self.up(h)))
        return self.norms[1](h + nn.functional.dropout(y, 0.1))


def encoder(seconds, precision, compiled=False):
    layers, head = nn.Sequential(Layer(), Layer()), nn.Linear(H, 2, bias=False)
    for name, parameter in layers.named_parameters():
        parameter.requires_grad = name.endswith("bias")
    trained = [parameter for parameter in [*layers.parameters(), *head.parameters()] if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    x, labels = torch.randn(SEQUENCES, TOKENS, H), torch.arange(SEQUENCES) % 2

    run = torch.compile(layers) if compiled else layers

    def step():
        with common.precision(precision):
            loss = nn.functional.cross_entropy(head(run(x).mean(1)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return common.median(seconds, step, WARM)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, help="PyTorch's own choice if not given")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well, which takes half a minute")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    lengths = [100_000, 100_000_000] if arguments.large else [100_000]
    common.say(
        node_s=node(arguments.seconds),
        adamw_s={str(length): adamw(arguments.seconds, length) for length in lengths},
        encoder_step_s={
            precision: {
                "compiled" if compiled else "eager": encoder(arguments.seconds, precision, compiled)
                for compiled in ([False, True] if arguments.compile else [False])
            }
            for precision in ("f32", "bf16")
        },
    )


if __name__ == "__main__":
    main()
