#!/usr/bin/env python3
"""Compares the ids of `examples/tokenize.rs` with those of transformers, on the lines of text files.

    cargo build --release -p bitfit-bert --example tokenize
    python compare_tokenizers.py --example target/release/examples/tokenize --text FILE [--text FILE …] DIR[=TYPE] …

A DIR is a model directory, or one of vocabulary files alone, to which `=TYPE` gives a config.json of that model type.
Every line is compared as a single text, and with the line behind it as a pair, at each of the lengths; and its words, where
they fit into the greatest length, as a text that is given by words, with the first token of each. Each line is also a question
whose context is the ten lines behind it, in windows, with what each token stands for. What is not there is skipped, and said to be. The exit status is 1 where any line differs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

# This folder has a script that is called like a library.
sys.path = [path for path in sys.path if os.path.realpath(path or ".") != os.path.dirname(os.path.realpath(__file__))]
os.environ["HF_HUB_OFFLINE"] = "1"

FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"]
FILES += ["vocab.json", "merges.txt", "config.json"]


def rows(path, limit):
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = [line.rstrip("\n") for line in file][:limit]
    return lines + list(zip(lines, lines[1:]))


def ours(example, directory, texts, length):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    command = [example, directory, str(length)]
    run = subprocess.run(command, input=lines.encode(), capture_output=True, check=False)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}: {run.stderr.decode().strip()}")
    return [[[int(id) for id in part.split()] for part in line.split("|")] for line in run.stdout.decode().splitlines()]


def theirs(tokenizer, texts, length):
    found = []
    for kind in (str, tuple):
        some = [text for text in texts if isinstance(text, kind)]
        for start in range(0, len(some), 500):
            part = some[start : start + 500]
            first = part if kind is str else [text[0] for text in part]
            second = None if kind is str else [text[1] for text in part]
            both = tokenizer(first, second, truncation=True, max_length=length, return_token_type_ids=True)
            found += [list(ids) for ids in zip(both["input_ids"], both["token_type_ids"])]
    return found


def differing_words(example, directory, kind, lines, length):
    """The lists of words whose tokens, or whose words' first tokens, are not those of transformers, and the number of lists."""
    import transformers

    # transformers refuses words for a tokenizer that distinguishes those behind a space, unless all of them are.
    is_bytes = kind == "roberta" or os.path.exists(os.path.join(directory, "merges.txt"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, **({"add_prefix_space": True} if is_bytes else {}))
    lists, expected = [], []
    for words in (line.split() for line in lines):
        encoding = tokenizer(words, is_split_into_words=True)
        numbers = encoding.word_ids()
        first = [i for i, word in enumerate(numbers) if word is not None and word != numbers[i - 1]]
        if first and len(numbers) <= length:
            lists.append(words)
            expected.append([encoding["input_ids"], first])
    found = ours(example, directory, [{"words": words} for words in lists], length)
    return [words for words, a, b in zip(lists, expected, found, strict=True) if a != b], len(lists)


def differing_windows(example, directory, lines, length, stride=16):
    """The questions whose windows over their context are not those of transformers, and the number of questions."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    rows, expected = [], []
    for place in range(0, len(lines) - 11, 11):
        question, context = lines[place], " ".join(lines[place + 1 : place + 11])
        # Half of the room for the context is more than the stride, as transformers asks for.
        if len(tokenizer(question)["input_ids"]) + 2 * stride + 4 > length:
            continue
        encoding = tokenizer(
            question, context, truncation="only_second", max_length=length, stride=stride,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )
        windows = []
        for window, ids in enumerate(encoding["input_ids"]):
            part = encoding.sequence_ids(window)
            first = part.index(1)
            at = [
                len(context[:character].encode())
                for offset, of in zip(encoding["offset_mapping"][window], part) if of == 1 for character in offset
            ]
            windows.append([ids, [first, *at]])
        rows.append({"question": question, "context": context, "stride": stride})
        expected.append(windows)
    found = iter(ours(example, directory, rows, length))
    differ = [row["question"] for row, windows in zip(rows, expected) if [next(found, None) for _ in windows] != windows]
    assert next(found, None) is None or differ, "more windows than expected"
    return differ, len(rows)


def report(what, different, count):
    """Prints how many of so many differ, with the first of them; returns their number."""
    print(f"{what.format(count)}, {len(different)} differ")
    for text in different[:3]:
        print(f"    {text!r}")
    return len(different)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--example", required=True, help="the built example")
    parser.add_argument("--text", action="append", required=True, help="a file of texts, one a line")
    parser.add_argument("--lines", type=int, default=2000, help="lines of each file (default 2000)")
    parser.add_argument("--lengths", default="512,32", help="maximum lengths (default 512,32)")
    parser.add_argument("directories", nargs="+", metavar="DIR[=TYPE]")
    arguments = parser.parse_args()
    for path in [arguments.example, *arguments.text]:
        if not os.path.exists(path):
            print(f"skipped: {path} is not there")
            return 0

    import transformers

    transformers.logging.set_verbosity_error()
    texts = [row for path in arguments.text for row in rows(path, arguments.lines)]
    total = 0
    for directory in arguments.directories:
        directory, _, kind = directory.partition("=")
        if not os.path.isdir(directory):
            print(f"skipped: {directory} is not there")
            continue
        with tempfile.TemporaryDirectory() as copy:
            for name in FILES:
                if os.path.exists(os.path.join(directory, name)):
                    shutil.copyfile(os.path.join(directory, name), os.path.join(copy, name))
            if kind:
                with open(os.path.join(copy, "config.json"), "w", encoding="utf-8") as file:
                    json.dump({"model_type": kind}, file)
            tokenizer = transformers.AutoTokenizer.from_pretrained(copy)
            for length in map(int, arguments.lengths.split(",")):
                expected = theirs(tokenizer, texts, length)
                found = ours(arguments.example, copy, texts, length)
                # A pair has its place behind all single texts there.
                order = [i for kind in (str, tuple) for i, text in enumerate(texts) if isinstance(text, kind)]
                different = [i for i, ids in zip(order, expected) if found[i] != ids]
                total += len(different) + abs(len(found) - len(expected))
                singles = sum(isinstance(text, str) for text in texts)
                print(
                    f"{directory} ({type(tokenizer).__name__}), length {length}: {singles} texts and "
                    f"{len(texts) - singles} pairs, {len(different)} differ"
                )
                for i in different[:3]:
                    print(f"    {texts[i]!r}")
            longest = max(map(int, arguments.lengths.split(",")))
            lines = [text for text in texts if isinstance(text, str)]
            total += report(f"{directory}: {{}} texts by words", *differing_words(arguments.example, copy, kind, lines, longest))
            for length in map(int, arguments.lengths.split(",")):
                different = differing_windows(arguments.example, copy, lines, length)
                total += report(f"{directory}, length {length}: {{}} questions in windows", *different)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
