#!/usr/bin/env python3
"""Writes parquet/*.parquet, the files of the tests of `data/parquet/`: 300 rows, with each codec that pandas and Hugging
Face's data sets write, and columns of types that are read and that are not; 700 rows in each encoding, in three groups
of several pages; one with checksums; and a million equal rows.

    python bitfit-bert/tests/goldens/parquet_files.py

The committed files were made with pyarrow 26.0.1.
"""

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = range(300)


def main():
    folder = Path(__file__).parent / "parquet"
    folder.mkdir(exist_ok=True)
    table = pa.table({
        "text": [f"text {row}, \"é\"\n" for row in ROWS],
        "label": [["neg", "pos"][row % 2] for row in ROWS],
    })
    more = {
        "integer": pa.array(row % 3 for row in ROWS),
        "float": pa.array(row % 3 / 10 for row in ROWS),
        "single": pa.array([row % 3 / 10 for row in ROWS], pa.float32()),
        "boolean": pa.array(row % 2 == 0 for row in ROWS),
        "gap": pa.array(None if row == 1 else "x" for row in ROWS),
        "bytes": pa.array(b"\xff" for _ in ROWS),
        "list": pa.array(["a", "b"] for _ in ROWS),
        "time": pa.array(datetime(2026, 1, 1) + timedelta(days=row) for row in ROWS),
    }
    for codec in ["snappy", "zstd", "gzip"]:
        rows = table
        if codec == "snappy":
            for name, values in more.items():
                rows = rows.append_column(name, values)
        pq.write_table(rows, folder / f"{codec}.parquet", compression=codec)
    pq.write_table(table, folder / "checksums.parquet", compression="none", write_page_checksum=True)
    write_encodings(folder)
    rows = pa.table({"text": ["the same text"] * 1_000_000, "label": ["same"] * 1_000_000})
    pq.write_table(rows, folder / "constant.parquet", compression="zstd")


def write_encodings(folder):
    rows = range(700)
    table = pa.table({
        "group": pa.array({"a": row, "b": [row, row]} for row in rows),
        "text": [f"text {row:04}, \"é\"\n" * (row % 5) for row in rows],
        "length": [f"text {row:04}, \"é\"\n" * (row % 5) for row in rows],
        "dictionary": [f"text {row % 41}" for row in rows],
        "plain": [f"text {row}" for row in rows],
        "delta": pa.array((row * 7919 % 1000 - 500) * 10 ** (row % 14) for row in rows),
        "delta32": pa.array([2 ** 31 - 1 if row % 3 else -2 ** 31 for row in rows], pa.int32()),
        "unsigned": pa.array([2 ** 32 - 1 - row for row in rows], pa.uint32()),
        "unsigned64": pa.array([2 ** 64 - 1 - row for row in rows], pa.uint64()),
        "split": pa.array(row / 8 for row in rows),
        "split32": pa.array([row / 8 for row in rows], pa.float32()),
        "boolean": pa.array(row % 50 < 25 or row % 2 == 0 for row in rows),
        "gaps": pa.array(None if row % 7 == 3 else f"label {row % 3}" for row in rows),
        "required": pa.array([row % 2 for row in rows], pa.int8()),
    })
    field = table.schema.get_field_index("required")
    schema = table.schema.set(field, table.schema.field(field).with_nullable(False))
    encodings = {
        "text": "DELTA_BYTE_ARRAY",
        "length": "DELTA_LENGTH_BYTE_ARRAY",
        "plain": "PLAIN",
        "delta": "DELTA_BINARY_PACKED",
        "delta32": "DELTA_BINARY_PACKED",
        "split": "BYTE_STREAM_SPLIT",
        "split32": "BYTE_STREAM_SPLIT",
        "boolean": "RLE",
    }
    for version in ["1.0", "2.0"]:
        pq.write_table(
            table.cast(schema), folder / f"encodings-{version[0]}.parquet", compression="snappy", row_group_size=300,
            data_page_size=1_000, write_batch_size=100, data_page_version=version,
            use_dictionary=["dictionary", "gaps", "unsigned", "unsigned64"], column_encoding=encodings,
        )


if __name__ == "__main__":
    main()
