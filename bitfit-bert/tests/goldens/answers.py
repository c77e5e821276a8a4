"""Goldens of SQuAD's own script: exact match and F1 of single answers, with odd ones among them.

What it writes, beside this file (or under --out DIR):

    answers.json    a list of cases: "predicted", a text; "expected", a list of texts; "exact" and "f1", from 0 to 1

Some cases are written by hand (no answer on one side or on both, articles, punctuation, blanks and letters beyond ASCII, answers
of nothing but articles); the others are drawn from a few words.

The script is evaluate-v2.0.py of https://rajpurkar.github.io/SQuAD-explorer, which is not part of this repository.

    python answers.py --script evaluate-v2.0.py
"""

import argparse
import importlib.util
import json
import pathlib
import random

HERE = pathlib.Path(__file__).resolve().parent
BY_HAND = [
    ("", []), ("x", []), ("", ["x"]), ("", [""]), ("the", []), ("the", ["the"]), ("a.", ["the!", "x"]), ("x", ["the", "X"]),
    ("The Cat", ["cat"]), ("cat the", ["a cat"]), ("theatre", ["atre"]), ("a-b", ["ab"]), ("a b", ["b"]), ("U.S.A.", ["usa"]),
    ("the_cat", ["cat"]), ("an  apple\t pie", ["apple pie"]), ("apple\u00a0pie", ["apple pie"]), ("a\u2028b", ["b"]),
    ("x\u001cy", ["x y"]), ("x\u0085y", ["x y"]), ("x\u200by", ["x y"]), ("$1,000", ["1000"]), ("10 %", ["10"]), ("5 ½", ["5 1/2"]),
    ("ÉCOLE", ["école"]), ("STRASSE", ["straße"]), ("ΟΔΟΣ", ["οδος", "οδοσ"]), ("İstanbul", ["istanbul", "i̇stanbul"]),
    ("“the” end", ["end"]), ("“the” end", ["“” end"]), ("the—cat", ["cat"]), ("the—cat", ["— cat"]), ("a’s", ["s"]),
    ("l'a", ["la"]), ("東京 the 大阪", ["東京 大阪"]), ("東京the大阪", ["東京 大阪"]), ("a东", ["东"]), ("x²a", ["x²"]), ("a̋", ["a"]),
    ("the 1990s", ["1990s", "1990"]), ("b b c", ["b c"]), ("b c", ["b b c"]), ("b b b", ["b b c"]), ("c a n", ["can", "c n"]),
    ("🏞 the 🏞", ["🏞 🏞", "🏞"]), ("a", ["b"]), ("An", ["an"]), ("tHe QUICK", ["quick the", "the slow"]), ("ª a", ["ª"]),
]
WORDS = ["the", "a", "cat", "Cat,", "dog", "dogs", "an", "1990", "(cat)", "–"]


def scores(official, predicted, expected):
    question = {"id": "q", "answers": [{"text": text} for text in expected]}
    exact, f1 = official.get_raw_scores([{"paragraphs": [{"qas": [question]}]}], {"q": predicted})
    return {"predicted": predicted, "expected": expected, "exact": exact["q"], "f1": f1["q"]}


def main():
    parser = argparse.ArgumentParser(description="Writes the goldens of SQuAD's script.")
    parser.add_argument("--script", type=pathlib.Path, required=True, help="evaluate-v2.0.py of SQuAD")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="folder to write to (default: this script's)")
    arguments = parser.parse_args()
    specification = importlib.util.spec_from_file_location("official", arguments.script)
    official = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(official)
    draw = random.Random(7)
    text = lambda: " ".join(draw.choices(WORDS, k=draw.randint(0, 5)))
    cases = BY_HAND + [(text(), [text() for _ in range(draw.randint(0, 3))]) for _ in range(60)]
    lines = ",\n".join(json.dumps(scores(official, *case), ensure_ascii=False) for case in cases)
    (arguments.out / "answers.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
