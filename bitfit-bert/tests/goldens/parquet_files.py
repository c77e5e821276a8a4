#!/usr/bin/env python3
"""Writes parquet/*.parquet, the files of the tests of `data/parquet.rs`: 300 rows, with each codec that pandas and Hugging
Face's data sets write, and columns of types that are read and that are not.

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


if __name__ == "__main__":
    main()
