#!/usr/bin/env python3
"""Lists the public interface of bitfit-core, from the pages that `cargo doc` has written, and compares it with the committed
list, so that a change of the interface is seen in review.

    cargo doc --workspace --all-features --no-deps
    scripts/public-api.py            exit status 1 and a diff if bitfit-core/public-api.txt is not the list
    scripts/public-api.py --write    writes the list

Rustdoc decides what is public: private modules, hidden items and implementations for private types have no page. Listed are
modules, re-exports, the declaration of each item (of a trait with its functions), methods and constants of types, and which
traits a type implements; automatic and blanket implementations are not. The pages are those of the toolchain that the
workspace names: another one may print a declaration differently.
"""

import difflib
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "bitfit-core" / "public-api.txt"
KINDS = {"struct", "enum", "trait", "fn", "type", "constant", "static", "macro", "union", "traitalias"}
# Parts of a page with what every type has, or what is elsewhere.
SKIPPED = {"synthetic-implementations-list", "blanket-implementations-list", "implementors-list", "synthetic-implementors-list"}
VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}


class Page(HTMLParser):
    """The declaration of an item, and the headers of its implementations and their functions."""

    def __init__(self, text):
        super().__init__()
        self.open = []  # (tag, what it starts)
        self.lines = []
        self.words = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in VOID:
            return
        given = dict(attributes)
        classes, name = (given.get("class") or "").split(), given.get("id") or ""
        starts = None
        if name in SKIPPED or tag == "summary" and "hideme" in classes or "src" in classes or "anchor" in classes or "notable-traits" in classes:
            starts = "skip"
        elif name == "trait-implementations-list":
            starts = "traits"
        elif tag == "pre" and "item-decl" in classes:
            starts = "declaration"
        elif tag == "h3" and "code-header" in classes:
            starts = "implementation"
        elif tag == "h4" and "code-header" in classes:
            starts = "function"
        elif tag == "dt" and name.startswith("reexport."):
            starts = "re-export"
        self.open.append((tag, starts))
        # Of an implementation of a trait only the header counts, of a trait's page only the declaration.
        is_listed = starts in {"declaration", "implementation", "re-export"} or starts == "function" and not self.inside("traits")
        if is_listed and not self.inside("skip") and self.words is None:
            self.words = []

    def handle_endtag(self, tag):
        while self.open:
            last, starts = self.open.pop()
            if starts in {"declaration", "implementation", "function", "re-export"} and self.words is not None:
                line = re.sub(r"\s+", " ", "".join(self.words)).strip()
                self.lines.append((starts, line))
                self.words = None
            if last == tag:
                return

    def handle_data(self, text):
        if self.words is not None and not self.inside("skip"):
            self.words.append(text)

    def inside(self, what):
        return any(starts == what for _, starts in self.open)


def listing(pages):
    """The lines of the list, sorted by path."""
    lines = []
    for path in pages.rglob("*.html"):
        if path.name == "all.html":
            continue
        module = "::".join(("bitfit_core",) + path.relative_to(pages).parts[:-1])
        page = Page(path.read_text(encoding="utf-8"))
        if path.name == "index.html":
            lines.append(f"mod {module}")
            lines += [f"{module}: {line}" for starts, line in page.lines if starts == "re-export"]
            continue
        kind, _, name = path.stem.partition(".")
        if kind not in KINDS:
            continue
        item, around = f"{module}::{name}", ""
        for starts, line in page.lines:
            if starts == "declaration":
                lines.append(f"{item}: {line}")
            elif starts == "implementation":
                around = line
                if kind != "trait" and " for " in line:
                    lines.append(f"{item}: {line}")
            elif kind != "trait":
                lines.append(f"{item}: {around} {{ {line} }}")
    return sorted(set(lines))


def main():
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    pages = target / "doc" / "bitfit_core"
    if not (pages / "index.html").exists():
        sys.exit(f"{pages} is missing: run cargo doc --workspace --all-features --no-deps first")
    found = "".join(f"{line}\n" for line in listing(pages))
    if sys.argv[1:] == ["--write"]:
        LIST.write_text(found, encoding="utf-8")
        return
    committed = LIST.read_text(encoding="utf-8") if LIST.exists() else ""
    if found != committed:
        sys.stdout.writelines(difflib.unified_diff(committed.splitlines(True), found.splitlines(True), "committed", "found", n=0))
        sys.exit(f"the public interface has changed: scripts/public-api.py --write, and see CONTRIBUTING.md, Versions")


if __name__ == "__main__":
    main()
