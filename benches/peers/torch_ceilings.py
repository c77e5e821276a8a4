"""What a GPU can do at most: the rate of a large product in bfloat16 on random data, and of a copy, by PyTorch.

    python torch_ceilings.py [--device cuda]

Prints an object: `flop_per_s` of a product of 8192³ and `bytes_per_s` of a copy of 4 GiB, read and written; each the median of
twenty. Needs torch.
"""

import argparse
import statistics

import torch

import common


def median_seconds(work, repeats=20):
    """The median time of repeated calls by the device's clock, after three calls that are not counted."""
    for _ in range(3):
        work()
    taken = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end) / 1e3)
    return statistics.median(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    size = 8192
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    product = median_seconds(lambda: torch.matmul(a, b, out=out))
    source = torch.randn(1 << 30, device=device)
    target = torch.empty_like(source)
    copy = median_seconds(lambda: target.copy_(source))
    common.say(
        device=torch.cuda.get_device_name(device),
        flop_per_s=2 * size**3 / product,
        bytes_per_s=2 * 4 * source.numel() / copy,
    )


if __name__ == "__main__":
    main()
