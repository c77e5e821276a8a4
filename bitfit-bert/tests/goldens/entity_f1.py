"""Goldens of seqeval: the F1 of entities over sentences of tags, in and out of order.

What it writes, beside this file (or under --out DIR):

    entity_f1.json      a list of cases: "predicted" and "expected", lists of sentences of tags, and "f1"

Some cases are written by hand (no entity on one side or on both, tags without a type, an `I` after another type); the others are
drawn from the tags of IOB1, IOB2 and BIOES, in an order that no annotator would write.

    pip install seqeval
    python entity_f1.py

Written with Python 3.11.7, seqeval 1.2.2.
"""

import argparse
import json
import pathlib
import random
import warnings

from seqeval.metrics import f1_score

HERE = pathlib.Path(__file__).resolve().parent
BY_HAND = [
    ([["O", "O"]], [["O", "O"]]),
    ([["B-PER", "I-PER"]], [["O", "O"]]),
    ([["O", "O"]], [["B-PER", "I-PER"]]),
    ([["I-PER", "I-LOC"]], [["B-PER", "B-LOC"]]),
    ([["I-PER", "I-PER"], ["I-PER"]], [["B-PER", "I-PER"], ["B-PER"]]),
    ([["B", "I", "O", "B"]], [["B", "I", "O", "O"]]),
    ([["S-PER", "B-LOC", "I-LOC", "E-LOC"]], [["B-PER", "B-LOC", "I-LOC", "I-LOC"]]),
    ([["E-LOC", "E-LOC", "S-LOC"]], [["B-LOC", "E-LOC", "S-LOC"]]),
    ([["B-part-of", "I-part-of"]], [["B-part-of", "I-part"]]),
]


def main():
    parser = argparse.ArgumentParser(description="Writes the goldens of seqeval.")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="folder to write to (default: this script's)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    draw = random.Random(5)
    cases = list(BY_HAND)
    for prefixes in ("BI", "BIES"):
        tags = ["O"] + [f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC")]
        for number in range(20):
            sentences = [draw.choices(tags, k=draw.randint(1, 9)) for _ in range(1 + number % 4)]
            # Most tags right, so that some entities are.
            predicted = [[tag if draw.random() < 0.8 else draw.choice(tags) for tag in sentence] for sentence in sentences]
            cases.append((predicted, sentences))
    found = [{"predicted": p, "expected": e, "f1": float(f1_score(e, p, zero_division=0))} for p, e in cases]
    lines = ",\n".join(json.dumps(case) for case in found)
    (arguments.out / "entity_f1.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
