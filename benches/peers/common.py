"""What the PyTorch peers share: which parameters train, and what a process tells of itself.

BitFit as bitfit does it: every bias of the encoder and the pooler, the classifier with its weight, AdamW without decay, the
gradient clipped to a norm of 1. Dropout is the checkpoint's.
"""

import contextlib
import json
import statistics
import time

import torch


def freeze_all_but_biases(model):
    """Makes only the biases and the head trainable; returns the trainable parameters."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(".bias") or name.startswith(("classifier.", "qa_outputs."))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def precision(name, device="cpu"):
    """The context of a forward pass: bf16 is autocast, the way PyTorch documents mixed precision."""
    if name == "bf16":
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def update(loss, trained, optimizer):
    """Backward, clipping and AdamW."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def median(seconds, work, warm):
    """The median time of repeated calls over the given number of seconds, after some warm-up calls."""
    for _ in range(warm):
        work()
    taken = []
    while len(taken) < 7 or sum(taken) < seconds:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peak_rss_bytes():
    """The peak resident memory of this process; None without /proc."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            lines = [line for line in status if line.startswith("VmHWM:")]
    except OSError:
        return None
    return int(lines[0].split()[1]) * 1024 if lines else None


def say(**fields):
    """Prints one JSON object per line on stdout; without fields it only marks a point in time."""
    print(json.dumps(fields), flush=True)
