"""BitFit training steps of a BERT on random tokens in PyTorch: the counterpart of `benches/src/bin/step.rs`.

    python torch_step.py MODEL f32|bf16 SEQUENCES TOKENS [--steps N] [--compile] [--threads N]

MODEL is a directory with config.json and model.safetensors; `step` of the benches writes such ones with random weights to
`target/bench-*`. All sequences have the same length, so that nothing is padded. Dropout is on. Prints an empty JSON object
before the first step and when it is done, and the result as another: the median and the least of the steps after it, and the
peak of resident memory. Needs torch and transformers.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoModelForSequenceClassification

import common


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("precision", choices=["f32", "bf16"])
    parser.add_argument("sequences", type=int)
    parser.add_argument("tokens", type=int)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--threads", type=int, help="PyTorch's own choice if not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    model = AutoModelForSequenceClassification.from_pretrained(arguments.model, num_labels=2)
    model.train()
    trained = common.freeze_all_but_biases(model)
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    shape = (arguments.sequences, arguments.tokens)
    batch = {
        "input_ids": torch.randint(1000, 30000, shape),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "labels": torch.randint(0, 2, shape[:1]),
    }
    forward = torch.compile(model) if arguments.compile else model

    def step():
        start = time.perf_counter()
        with common.precision(arguments.precision):
            loss = forward(**batch).loss
        common.update(loss, trained, optimizer)
        return time.perf_counter() - start, loss.item()

    common.say()
    step()
    common.say()
    taken = [step() for _ in range(arguments.steps)]
    seconds = [seconds for seconds, _ in taken]
    median = statistics.median(seconds)
    common.say(
        precision=arguments.precision,
        sequences=arguments.sequences,
        tokens=arguments.tokens,
        compiled=arguments.compile,
        trained=sum(parameter.numel() for parameter in trained),
        steps=arguments.steps,
        median_s=median,
        least_s=min(seconds),
        tokens_per_s=arguments.sequences * arguments.tokens / median,
        loss=taken[-1][1],
        peak_rss_bytes=common.peak_rss_bytes(),
    )


if __name__ == "__main__":
    main()
