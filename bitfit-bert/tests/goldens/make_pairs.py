"""Builds a small sentence-pair regression set out of a labelled TSV, for the regression trajectory of trajectories.py.

    python make_pairs.py TRAIN_TSV PAIRS_TSV            (columns text and label in, sentence1, sentence2 and score out)

Row k of the output takes row k of the input as its first sentence. Its second is row k+1 where k is even, and where k is odd
the next row with the same label, counting round the end. The score is 5 where the labels are equal; else three times the
share of words the two have in common (of the shorter one's distinct words), so between 0 and 3. It is no measure of meaning:
it only has to be a target that depends on both sentences. Deterministic; 480 rows, which is 30 batches of 16.
"""

import pathlib
import re
import sys

from batches import read_columns

ROWS = 480


def partner(labels, k):
    """The row that is paired with row k."""
    count = len(labels)
    if k % 2 == 0:
        return (k + 1) % count
    return next(i % count for i in range(k + 1, k + count + 1) if labels[i % count] == labels[k])


def score(texts, labels, a, b):
    if labels[a] == labels[b]:
        return 5.0
    words = [set(re.findall(r"\w+", texts[i].lower())) for i in (a, b)]
    return 3.0 * len(words[0] & words[1]) / max(1, min(len(words[0]), len(words[1])))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = sys.argv[1:]
    texts, labels = read_columns(source, ["text", "label"])
    assert len(texts) >= ROWS, f"{source} has {len(texts)} rows, {ROWS} are needed"
    lines = ["sentence1\tsentence2\tscore"]
    for a in range(ROWS):
        b = partner(labels, a)
        lines.append(f"{texts[a]}\t{texts[b]}\t{score(texts, labels, a, b):.3f}")
    pathlib.Path(target).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
