#!/usr/bin/env python3
"""Holds the repository to its rules of form: comments and text end at column 120, words that the project has agreed not to
use do not come back, and no file of code has more than 400 lines outside tests.

    scripts/check-prose.py            every tracked file; exit status 1 and one line for each finding
"""

import re
import subprocess
import sys
from pathlib import Path

COLUMNS = 120
LINES = 400
CODE = {".rs": "//", ".cu": "//", ".cuh": "//", ".cpp": "//", ".h": "//", ".py": "#", ".sh": "#", ".toml": "#"}
# Invented words, and phrases that mean nothing alone; the right-hand side is what to say.
AVOIDED = {
    r"\breckon": "compute",
    r"\bwhoever\b": "the caller",
    r"\bnobody\b": "no one, or better the passive",
    r"\bno whole\b": "not a complete",
    r"\bis no (number|directory|file|JSON)\b": "is not a …",
    r"\bwhich the \w+ has not\b": "that the … does not have",
    r"\bThe same of\b": "a sentence that means something alone",
}


def tracked():
    names = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in names.split("\0") if name]


def prose(path, text):
    """The lines of a file that are prose, numbered from 1: comments of code; of Markdown everything but code and tables."""
    if path.suffix == ".md":
        is_code = False
        for number, line in enumerate(text.splitlines(), 1):
            if line.lstrip().startswith("```"):
                is_code = not is_code
            elif not is_code and not line.lstrip().startswith("|"):
                yield number, line
    elif path.suffix in CODE:
        mark = CODE[path.suffix]
        for number, line in enumerate(text.splitlines(), 1):
            if line.lstrip().startswith(mark):
                yield number, line


def code_lines(path, text):
    """The number of lines of a Rust or CUDA file before its unit tests; 0 for a file of tests."""
    if path.suffix not in {".rs", ".cu", ".cuh"} or "tests" in path.parts or path.stem == "tests":
        return 0
    lines = text.splitlines()
    tests = (number for number, line in enumerate(lines[:-1]) if line == "#[cfg(test)]" and lines[number + 1] == "mod tests {")
    return next(tests, len(lines))


def main():
    findings = 0
    for path in tracked():
        if path.suffix != ".md" and path.suffix not in CODE or path.parts[0] == "data":
            continue
        text = path.read_text(encoding="utf-8")
        if (lines := code_lines(path, text)) > LINES:
            print(f"{path}: {lines} lines of code")
            findings += 1
        for number, line in prose(path, text):
            # An address cannot be broken, nor a row of a table in a doc comment.
            is_whole = "://" in line or re.match(r"\s*//[/!] ?\|", line)
            wrong = [f"{len(line)} columns"] if len(line) > COLUMNS and not is_whole else []
            if path.name != "check-prose.py":
                wrong += [f"{match.group()!r}: say {better}" for word, better in AVOIDED.items() if (match := re.search(word, line))]
            for reason in wrong:
                print(f"{path}:{number}: {reason}")
                findings += 1
    return findings > 0


if __name__ == "__main__":
    sys.exit(main())
