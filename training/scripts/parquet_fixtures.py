"""Writes the Parquet files of training/tests/parquet.rs as pandas and pyarrow write them. Needs pandas and pyarrow.

    python3 training/scripts/parquet_fixtures.py training/tests/fixtures/parquet
"""

import sys
from decimal import Decimal
from pathlib import Path

import pandas
import pyarrow
from pyarrow import parquet

OUT = Path(sys.argv[1])


def write(name, table, **options):
    parquet.write_table(table, OUT / f"{name}.parquet", store_schema=False, **options)


def labelled():
    """What pandas writes by itself, once with each codec; `label` is a category, so that it is a dictionary."""
    frame = pandas.DataFrame(
        {
            "patient": [7, 8, 7],
            "text": ["deaf \"left\"", "blind, r\u00e9tine", "deaf\nright"],
            "label": pandas.Categorical(["ear", "eye", "ear"]),
            "weight": [0.5, 1.5, 2.5],
        }
    )
    for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
        frame.to_parquet(OUT / f"{codec}.parquet", compression=None if codec == "none" else codec, index=False)


def prompts():
    """Required columns, integers of all signs, several groups and pages, the second version of pages."""
    kind = pyarrow.schema(
        [
            pyarrow.field("prompt", pyarrow.large_string(), nullable=False),
            pyarrow.field("completion", pyarrow.int32(), nullable=False),
            pyarrow.field("who", pyarrow.uint64(), nullable=False),
        ]
    )
    count = 700
    columns = [
        [f"question {i}" for i in range(count)],
        [-i for i in range(count)],
        [2**64 - 1 - i // 2 for i in range(count)],
    ]
    table = pyarrow.table(columns, schema=kind)
    write("prompts", table, row_group_size=300, data_page_version="2.0", data_page_size=512, use_dictionary=False, compression="zstd")


MESSAGE = pyarrow.struct([("content", pyarrow.string()), ("role", pyarrow.string())])


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def messages():
    good = [
        said(("user", "ear"), ("assistant", "H66")),
        said(("system", "Be short."), ("user", "eye"), ("assistant", "H10"), ("user", "hand"), ("assistant", "S62")),
        said(("user", "heart"), ("assistant", "I21")),
    ]
    write("messages", pyarrow.table({"messages": pyarrow.array(good, pyarrow.list_(MESSAGE))}), row_group_size=2)
    bad = [
        said(("user", "ear"), ("assistant", "H66")),
        None,
        [],
        [None, {"role": "assistant", "content": "H66"}],
        said(("user", "ear"), ("assistant", None)),
        said(("user", "ear"), ("tool", "otoscope"), ("assistant", "H66")),
        said(("user", "ear")),
        said(("user", " "), ("assistant", "H66")),
        said(("system", "ear"), ("assistant", "H66")),
        said(("user", "eye"), ("assistant", "H10")),
    ]
    write("bad_messages", pyarrow.table({"messages": pyarrow.array(bad, pyarrow.list_(MESSAGE))}))
    more = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string()), ("name", pyarrow.string())])
    rows = [[{"role": "user", "content": "ear", "name": "Ann"}, {"role": "assistant", "content": "H66", "name": None}]]
    write("more_messages", pyarrow.table({"messages": pyarrow.array(rows, pyarrow.list_(more))}))


def faults():
    nulls = {"text": ["a", None, "b", "c", " ", "d\0"], "label": ["eye", "eye", None, "eye", "nose", "eye"], "patient": [1, 2, 3, None, 5, 6]}
    write("nulls", pyarrow.table({name: pyarrow.array(column) for name, column in nulls.items()}))
    types = {
        "label": pyarrow.array(["eye"]),
        "binary": pyarrow.array([b"text as bytes"]),
        "latin1": pyarrow.array([b"r\xe9tine"]),
        "decimal": pyarrow.array([Decimal("1.50")]),
        "date": pyarrow.array([0], pyarrow.date32()),
        "time": pyarrow.array([0], pyarrow.timestamp("us")),
        "real": pyarrow.array([1.0]),
        "truth": pyarrow.array([True]),
        "list": pyarrow.array([["text"]]),
    }
    write("types", pyarrow.table(types), compression="none")
    write("twice", pyarrow.table([["a"], ["b"], ["eye"]], names=["text", "text", "label"]), compression="none")
    write("empty", pyarrow.table({"text": pyarrow.array([], pyarrow.string()), "label": pyarrow.array([], pyarrow.string())}))


OUT.mkdir(parents=True, exist_ok=True)
labelled()
prompts()
messages()
faults()
