"""Scores of several labels a row by scikit-learn, with zero_division=0, on cases in which a formula is 0/0 and others.

Writes multi_label_metrics.json beside this file: for each case the matrices `expected` and `predicted`, [rows][labels] of 0
and 1, and its micro-f1, macro-f1 and subset-accuracy.

    pip install scikit-learn numpy
    python multi_label_metrics.py              writes the file again
    python multi_label_metrics.py --check      computes all again and compares with the file; 1 where they differ

Written with Python 3.11.7, scikit-learn 1.9.1, numpy 2.4.6.
"""

import json
import pathlib
import sys

import numpy
from sklearn.metrics import accuracy_score, f1_score

FILE = pathlib.Path(__file__).resolve().parent / "multi_label_metrics.json"


def cases():
    generator = numpy.random.default_rng(7)
    drawn = lambda rows, labels, share: (generator.random((rows, labels)) < share).astype(int)
    zeros, ones = numpy.zeros((3, 2), int), numpy.ones((3, 2), int)
    yield "no labels on either side", zeros, zeros
    yield "no true labels", zeros, ones
    yield "no predicted labels", ones, zeros
    yield "all right", ones, ones
    yield "a label that never occurs", numpy.array([[1, 0, 0], [0, 1, 0]]), numpy.array([[1, 0, 0], [1, 1, 0]])
    yield "a label that is predicted and never true", numpy.array([[1, 0], [1, 0]]), numpy.array([[1, 1], [1, 0]])
    yield "a label that is true and never predicted", numpy.array([[1, 1], [1, 0]]), numpy.array([[1, 0], [1, 0]])
    yield "a row without labels that is right", numpy.array([[0, 0], [1, 0]]), numpy.array([[0, 0], [0, 1]])
    yield "one row", numpy.array([[1, 0, 1]]), numpy.array([[1, 1, 0]])
    for rows, labels, share in [(40, 5, 0.3), (100, 28, 0.05), (17, 3, 0.9)]:
        yield f"drawn, {rows} rows of {labels} labels", drawn(rows, labels, share), drawn(rows, labels, share)


def computed():
    scored = lambda expected, predicted: {
        "micro-f1": float(f1_score(expected, predicted, average="micro", zero_division=0)),
        "macro-f1": float(f1_score(expected, predicted, average="macro", zero_division=0)),
        "subset-accuracy": float(accuracy_score(expected, predicted)),
    }
    return {
        "cases": [
            {"name": name, "expected": expected.tolist(), "predicted": predicted.tolist(), **scored(expected, predicted)}
            for name, expected, predicted in cases()
        ]
    }


def main():
    text = json.dumps(computed()).replace('{"name"', '\n{"name"') + "\n"
    if "--check" in sys.argv[1:]:
        same = FILE.read_text() == text
        print(f"{FILE.name}: {'as computed' if same else 'differs'}")
        sys.exit(0 if same else 1)
    FILE.write_text(text)


if __name__ == "__main__":
    main()
