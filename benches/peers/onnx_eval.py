"""An evaluation of a task of text pairs by ONNX Runtime, which a user would pick to serve a model: the counterpart of
`bitfit-cli eval`.

    python onnx_eval.py MERGED DATA f32|int8 [--batch-size N] [--threads N]

MERGED is what `bitfit-cli merge` writes, a directory of transformers, DATA as for torch_epoch.py. The model is exported by PyTorch
and fused by ONNX Runtime's optimizer for transformers; int8 is its dynamic quantization, with a scale for each channel of a
weight. Rows are sorted by length and padded to the longest of a batch; tokenising is counted, exporting is not. Prints a
JSON object. Needs torch, transformers, onnx and onnxruntime.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import common
from torch_epoch import pad, read, tokenise


def session(merged, precision, threads, scratch):
    """A session of ONNX Runtime over the exported, fused and, if it is to be, quantized model."""
    model = AutoModelForSequenceClassification.from_pretrained(merged, attn_implementation="eager").eval()
    config = model.config
    exported, fused, quantized = (str(Path(scratch) / f"{name}.onnx") for name in ("exported", "fused", "quantized"))
    names = ["input_ids", "token_type_ids", "attention_mask"]
    example = pad([([101, 102, 103], [0, 0, 1])] * 2, 4)
    torch.onnx.export(
        model, tuple(example[name] for name in names), exported, input_names=names, output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in names}, opset_version=17, dynamo=False,
    )
    optimized = optimize_model(exported, "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size)
    optimized.save_model_to_file(fused)
    fusions = optimized.get_fused_operator_statistics()
    if precision == "int8":
        more = {"DefaultTensorType": onnx.TensorProto.FLOAT}
        quantize_dynamic(fused, quantized, per_channel=True, weight_type=QuantType.QInt8, extra_options=more)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    path = quantized if precision == "int8" else fused
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), fusions, config


def evaluate(run, tokenizer, rows, labels, batch_size):
    """Accuracy and real tokens."""
    encodings = tokenise(tokenizer, rows)
    order = sorted(range(len(rows)), key=lambda row: len(encodings[row][0]))
    right = 0
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = pad([encodings[row] for row in chosen], max(len(encodings[row][0]) for row in chosen))
        (logits,) = run(["logits"], {name: values.numpy() for name, values in batch.items()})
        right += int((logits.argmax(1) == numpy.array([labels[rows[row][2]] for row in chosen])).sum())
    return right / len(rows), sum(len(ids) for ids, _ in encodings)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("merged")
    parser.add_argument("data")
    parser.add_argument("precision", choices=["f32", "int8"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, help="ONNX Runtime's own choice if not given")
    arguments = parser.parse_args()
    rows = read(f"{arguments.data}/dev.tsv")
    tokenizer = AutoTokenizer.from_pretrained(arguments.merged)
    with tempfile.TemporaryDirectory(prefix="bitfit-onnx-") as scratch:
        one, fusions, config = session(arguments.merged, arguments.precision, arguments.threads, scratch)
    evaluate(one.run, tokenizer, rows[:64], config.label2id, arguments.batch_size)
    start = time.perf_counter()
    accuracy, tokens = evaluate(one.run, tokenizer, rows, config.label2id, arguments.batch_size)
    seconds = time.perf_counter() - start
    common.say(
        precision=arguments.precision,
        fused={name: count for name, count in fusions.items() if count},
        accuracy=accuracy,
        eval_tokens_per_s=tokens / seconds,
        peak_rss_bytes=common.peak_rss_bytes(),
    )


if __name__ == "__main__":
    main()
