"""Training steps of a BERT, BitFit's or with --full those of all parameters, on random tokens in PyTorch: the counterpart of `benches/src/bin/step.rs`.

    python torch_step.py MODEL f32|tf32|bf16 SEQUENCES TOKENS [--full] [--steps N] [--compile [MODE]] [--device cuda] [--threads N]
    python torch_step.py MODEL f32|tf32|bf16 --batches FILE [the same]

MODEL is a directory with config.json and model.safetensors; `step` of the benches writes such ones with random weights to
`target/bench-*`. All sequences have the same length, so that nothing is padded; or a line of FILE is a batch, the lengths of
its sequences, which are padded to the longest. Dropout is on. Prints an empty JSON object before the first step and when it is
done, and the result as another: the median and the least of the steps after it, and the peak of resident memory, or of a
GPU's. Needs torch and transformers.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoModelForSequenceClassification

import common


def chosen_lengths(arguments):
    """The lengths of each batch's sequences."""
    if not arguments.batches:
        return [[arguments.tokens] * arguments.sequences] * arguments.steps
    with open(arguments.batches, encoding="ascii") as file:
        batches = [[int(length) for length in line.split()] for line in file]
    return batches[:: max(1, len(batches) // arguments.limit)] if arguments.limit else batches


def batch(lengths):
    """Random tokens, padded to the longest."""
    shape = (len(lengths), max(lengths))
    mask = (torch.arange(shape[1])[None] < torch.tensor(lengths)[:, None]).long()
    return {
        "input_ids": torch.randint(1000, 30000, shape) * mask,
        "attention_mask": mask,
        "labels": torch.randint(0, 2, shape[:1]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("precision", choices=["f32", "tf32", "bf16"])
    parser.add_argument("sequences", type=int, nargs="?")
    parser.add_argument("tokens", type=int, nargs="?")
    parser.add_argument("--batches", help="a file of batches, each a line of lengths")
    parser.add_argument("--limit", type=int, help="use about this many batches of it, evenly spaced")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="train every parameter")
    parser.add_argument("--warm", type=int, default=1, help="steps that are not counted")
    parser.add_argument("--compile", nargs="?", const="default", help="use torch.compile, in this mode")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-cudnn", action="store_true", help="no attention by cuDNN, which takes long to prepare each new shape")
    parser.add_argument("--threads", type=int, help="PyTorch's own choice if not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = arguments.device
    on_gpu = torch.device(device).type == "cuda"
    torch.backends.cuda.enable_cudnn_sdp(not arguments.no_cudnn)
    torch.backends.cuda.matmul.allow_tf32 = arguments.precision == "tf32"

    model = AutoModelForSequenceClassification.from_pretrained(arguments.model, num_labels=2).to(device)
    model.train()
    trained = list(model.parameters()) if arguments.full else common.freeze_all_but_biases(model)
    # The fused step is the fastest for many parameters, on a CPU too.
    fused = True if on_gpu or arguments.full else None
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0, fused=fused)
    batches = [batch(lengths) for lengths in chosen_lengths(arguments)]
    mode = {"dynamic": arguments.batches is not None}
    if arguments.compile not in (None, "default"):
        mode["mode"] = arguments.compile
    forward = torch.compile(model, **mode) if arguments.compile else model

    def step(batch):
        start = time.perf_counter()
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        with common.precision(arguments.precision, device):
            loss = forward(**batch).loss
        common.update(loss, trained, optimizer)
        loss = loss.item()
        return time.perf_counter() - start, loss

    common.say()
    for number in range(arguments.warm):
        step(batches[number % len(batches)])
    common.say()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    taken = [step(batch) for batch in batches]
    seconds = [seconds for seconds, _ in taken]
    median = statistics.median(seconds)
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    # For equal steps, the median is robust against noise.
    whole = sum(seconds) if arguments.batches else median * len(batches)
    common.say(
        precision=arguments.precision,
        tokens=tokens,
        compiled=arguments.compile,
        trained=sum(parameter.numel() for parameter in trained),
        steps=len(batches),
        seconds=sum(seconds),
        median_s=median,
        least_s=min(seconds),
        tokens_per_s=tokens / whole,
        loss=taken[-1][1],
        peak_rss_bytes=common.peak_rss_bytes(),
        peak_gpu_bytes=torch.cuda.max_memory_allocated() if on_gpu else None,
    )


if __name__ == "__main__":
    main()
