"""Rows of a TSV file to padded batches, for the scripts beside this one (trajectories.py, check_task_file.py, make_pairs.py)."""

import torch


def read_columns(path, columns):
    """The named columns of a TSV with a header, each a list of strings. No quoting: a quote is a character like others."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = [line.rstrip("\r") for line in file.read().split("\n")]
    header, *rows = [line.split("\t") for line in lines if line]
    places = [header.index(name) for name in columns]
    return [[row[place] for row in rows] for place in places]


def encode(tokenizer, parts, max_length):
    """(token ids, token types) of each row, special tokens included, no padding. `parts`: one or two lists of texts."""
    encoded = tokenizer(*parts, truncation=True, max_length=max_length, padding=False)
    return list(zip(encoded["input_ids"], encoded["token_type_ids"]))


def collate(rows):
    """What the model takes, padded to the longest of the rows; [B, longest] each."""
    longest = max(len(ids) for ids, _ in rows)
    fill = lambda values: values + [0] * (longest - len(values))
    return {
        "input_ids": torch.tensor([fill(ids) for ids, _ in rows]),
        "token_type_ids": torch.tensor([fill(types) for _, types in rows]),
        "attention_mask": torch.tensor([fill([1] * len(ids)) for ids, _ in rows]),
    }
