"""PyTorch's own weight files of a tiny random BERT, in both formats of torch.save, beside the same weights as safetensors.

What it writes, to the folder pytorch/ beside this file (or to --out DIR):

    config.json                          H 8, one layer, 2 heads, F 12, V 11
    f32, f16, bf16 .safetensors          the encoder's weights in each type
    zip-f32, zip-f16, zip-bf16 .bin      the state dict of a BertForPreTraining: with a head whose matrix is tied to the word
                                         embeddings, and with the buffer position_ids, which is I64
    legacy-f32, legacy-f16, legacy-bf16 .bin    the same in the legacy format
    zip-views.bin, legacy-views.bin      F32: every tensor a view of one storage, a part of which is the encoder's
    zip-parameters.bin, legacy-parameters.bin   F32: tensors that train, wrapped as torch.nn.Parameter; the names gamma and beta
                                         that early conversions used
    pytorch_model.bin.index.json, pytorch_model-0000N-of-00002.bin    F32: two shards, one of either format

Whatever is read from a file must have the fingerprint of the safetensors of its type.

How to run:

    pip install torch transformers safetensors
    python pytorch_files.py              writes the files again
    python pytorch_files.py --check      computes all again and compares the tensors; 1 where they differ

The keys of storages in the legacy format are addresses, so that only the tensors are the same each time, not the bytes.

Written with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.24.0, safetensors 0.8.0.
"""

import argparse
import collections
import json
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForPreTraining

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = {
    "model_type": "bert",
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 7,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def build_model():
    """A model with random weights, F32, whose decoder is tied to the word embeddings."""
    model = BertForPreTraining(BertConfig(**{key: value for key, value in CONFIG.items() if key != "model_type"}))
    generator = torch.Generator().manual_seed(30)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def state_dict(model, dtype):
    """The state dict, as early versions of transformers saved it: with the buffer position_ids."""
    state = model.to(dtype).state_dict()
    state["bert.embeddings.position_ids"] = torch.arange(CONFIG["max_position_embeddings"]).unsqueeze(0)
    assert state["cls.predictions.decoder.weight"].data_ptr() == state["bert.embeddings.word_embeddings.weight"].data_ptr()
    return state


def views(state):
    """The F32 tensors of a state dict as views of one storage, behind a gap."""
    floats = {name: tensor for name, tensor in state.items() if tensor.dtype == torch.float32}
    storage = torch.cat([torch.full((5,), 9.0)] + [tensor.flatten() for tensor in floats.values()])
    viewed, offset = collections.OrderedDict(), 5
    for name, tensor in floats.items():
        viewed[name] = storage[offset : offset + tensor.numel()].view(tensor.shape)
        offset += tensor.numel()
    return viewed


def parameters(state):
    """The encoder's tensors as parameters, in a plain dict and under early names."""
    names = {name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta") for name in state}
    return {
        names[name]: torch.nn.Parameter(tensor.clone(), requires_grad=name.endswith("bias"))
        for name, tensor in state.items()
        if tensor.dtype == torch.float32
    }


def write(out):
    """Writes all files."""
    out.mkdir(exist_ok=True)
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")

    def save(state, name, is_zip):
        torch.save(state, out / name, _use_new_zipfile_serialization=is_zip)

    for name, dtype in TYPES.items():
        state = state_dict(build_model(), dtype)
        encoder = {key: tensor.clone() for key, tensor in state.items() if key.startswith("bert.") and tensor.dtype == dtype}
        save_file(encoder, out / f"{name}.safetensors")
        save(state, f"zip-{name}.bin", True)
        save(state, f"legacy-{name}.bin", False)
    state = state_dict(build_model(), torch.float32)
    for kind, is_zip in [("zip", True), ("legacy", False)]:
        save(views(state), f"{kind}-views.bin", is_zip)
        save(parameters(state), f"{kind}-parameters.bin", is_zip)
    weight_map = {}
    for number, is_zip in [(1, True), (2, False)]:
        shard = f"pytorch_model-0000{number}-of-00002.bin"
        part = {name: tensor for place, (name, tensor) in enumerate(state.items()) if place % 2 == number - 1}
        save(part, shard, is_zip)
        weight_map |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": dict(sorted(weight_map.items()))}
    (out / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def read(path):
    """What a file holds, to be compared."""
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


def same(one, other):
    """Whether two files hold the same."""
    if one.keys() != other.keys():
        return False
    pairs = [(one[key], other[key]) for key in one]
    return all(torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "pytorch")
    parser.add_argument("--check", action="store_true", help="compare with the files that are there instead of writing")
    arguments = parser.parse_args()
    if not arguments.check:
        write(arguments.out)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = pathlib.Path(folder)
        write(fresh)
        names = {path.name for path in fresh.iterdir()} | {path.name for path in arguments.out.iterdir()}
        wrong = [
            name
            for name in sorted(names)
            if not all((place / name).exists() for place in (fresh, arguments.out))
            or not same(read(fresh / name), read(arguments.out / name))
        ]
    for name in wrong:
        print(f"{name} differs")
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main())
