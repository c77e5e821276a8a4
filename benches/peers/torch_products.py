"""`x · Wᵀ + b` with few rows in PyTorch: the counterpart of `benches/src/bin/products.rs`, which says what is measured.

    python torch_products.py [--seconds S] [--threads N]

bf16 is a bfloat16 input with bfloat16 weights: no conversion is counted. int8 is PyTorch's dynamically quantized layer: a
weight of int8 with a scale for each channel, an input of f32 that is rounded in the product. Needs torch.
"""

import argparse

import torch

import common

WEIGHTS = [(768, 768), (768, 3072), (3072, 768), (384, 1536), (1536, 384)]
ROWS = [16, 32, 64, 128]
LAYERS = 12


def quantized(layer):
    """A layer quantized as PyTorch does it for serving."""
    layer.qconfig = torch.ao.quantization.per_channel_dynamic_qconfig
    return torch.ao.nn.quantized.dynamic.Linear.from_float(layer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, help="PyTorch's own choice if not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    products = []
    for name, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16), ("int8", torch.float32)]:
        for inputs, outputs in WEIGHTS:
            layers = [torch.nn.Linear(inputs, outputs, dtype=dtype) for _ in range(LAYERS)]
            if name == "int8":
                layers = [quantized(layer) for layer in layers]
            for rows in ROWS:
                x = torch.randn(rows, inputs, dtype=dtype)
                turn = 0

                def product(weights, x=x):
                    nonlocal turn
                    weights[turn % len(weights)](x)
                    turn += 1

                with torch.inference_mode():
                    same = common.median(arguments.seconds, lambda: product(layers[:1]), LAYERS)
                    turns = common.median(arguments.seconds, lambda: product(layers), LAYERS)
                products.append(
                    {"precision": name, "rows": rows, "in": inputs, "out": outputs, "same_s": same, "turns_s": turns}
                )
    common.say(products=products)


if __name__ == "__main__":
    main()
