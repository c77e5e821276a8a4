"""The measurements of `compare.py --device cuda`: whole training steps on a GPU, beside every mode of PyTorch."""

# The names of the models in `step`, and in the directories that it writes.
DIRECTORIES = {"minilm": "minilm", "base": "bert-base", "large": "bert-large"}
MODES = {
    "eager": [],
    "compiled": ["--compile"],
    "compiled, as CUDA graphs": ["--compile", "reduce-overhead"],
}
# On batches of mixed lengths, attention by cuDNN, which is PyTorch's default, takes 150 ms to prepare each new shape.
# CUDA graphs need batches of one shape.
MIXED_MODES = {
    "eager": ["--no-cudnn"],
    "compiled for any length": ["--no-cudnn", "--compile"],
}


class Gpu:
    """Runs both sides on one device."""

    def __init__(self, bench, device, batches):
        self.bench, self.device, self.batches = bench, device, batches
        self.steps = 4 if bench.arguments.quick else 40

    def ours(self, model, *words):
        return self.bench.run([self.bench.binaries / "step", model, *words, "--device", self.device]).result

    def theirs(self, model, *words):
        directory = self.bench.models / f"bench-{DIRECTORIES[model]}"
        return self.bench.torch("torch_step.py", directory, *words, "--device", self.device).result

    def alike(self, model, precision, sequences, tokens, modes):
        """A step on one shape: ours, and PyTorch's in each mode."""
        shape = (precision, sequences, tokens)
        ours = self.ours(model, *shape, self.steps)
        theirs = {
            mode: self.theirs(model, *shape, "--steps", self.steps, "--warm", 6, *words) for mode, words in modes.items()
        }
        return ours, theirs

    def mixed(self, model, precision, warm, modes):
        """An epoch of batches of mixed lengths, after `warm` steps."""
        words = (precision, "--batches", self.batches, "--warm", warm)
        ours = self.ours(model, *words)
        return ours, {mode: self.theirs(model, *words, *more) for mode, more in modes.items()}


def milliseconds(result):
    return result["median_s"] * 1e3


def rows(gpu, quick):
    """The rows of the table: what, PyTorch in which mode, bitfit, and how many times better bitfit is."""
    for model, name, sequences, tokens in [("base", "BERT-base", 32, 128), ("large", "BERT-large", 32, 128), ("minilm", "MiniLM", 16, 66)]:
        modes = {"eager": MODES["eager"]} if quick else MODES
        ours, theirs = gpu.alike(model, "bf16", sequences, tokens, modes)
        what = f"{name} step, {sequences} × {tokens}"
        for mode, result in theirs.items():
            a, b = milliseconds(result), milliseconds(ours)
            yield f"| {what}, bf16 | {mode} | {a:.2f} ms | {b:.2f} ms | {a / b:.2f} |"
        for mode, result in theirs.items():
            a, b = result["peak_gpu_bytes"] / 1e9, ours["peak_gpu_bytes"] / 1e9
            yield f"| the same, peak of the GPU's memory | {mode} | {a:.2f} GB | {b:.2f} GB | {a / b:.2f} |"
    if not gpu.batches:
        return
    count = sum(1 for _ in open(gpu.batches, encoding="ascii"))
    for warm, which in [(count, "a later epoch"), (1, "the first epoch")]:
        modes = {"eager": MIXED_MODES["eager"]} if quick or warm == 1 else MIXED_MODES
        ours, theirs = gpu.mixed("minilm", "bf16", warm, modes)
        for mode, result in theirs.items():
            a, b = result["seconds"], ours["seconds"]
            yield f"| MiniLM, {count} batches of mixed lengths, {which}, bf16 | {mode} | {a:.3f} s | {b:.3f} s | {a / b:.2f} |"


def ceilings(gpu):
    """What the device can do, and which share of it a step of BERT-large reaches."""
    found = gpu.bench.torch_alone("torch_ceilings.py", "--device", gpu.device).result
    yield (
        f"{found['device']}: {found['flop_per_s'] / 1e12:.0f} TFLOP/s for a product of 8192³ in bfloat16,"
        f" {found['bytes_per_s'] / 1e12:.2f} TB/s for a copy."
    )
