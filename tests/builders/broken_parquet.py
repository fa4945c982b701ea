"""Parquet files of a workspace that are damaged, each in a way that its seed chooses."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def damage_parquet(file, seed):
    """Damage a Parquet file, in its bytes or in what it holds; say in words how."""
    rng = random.Random(f"parquet {seed}")
    how = rng.choice((_flip, _flip, _cut, _splice, _value, _value, _value, _column, _rows, _meta))
    how(file, rng)
    return f"{seed}: {file.name}: {how.__name__[1:]}"


def _flip(file, rng):
    content = bytearray(file.read_bytes())
    # Half of them in the footer, which says where everything is.
    first = rng.choice((0, max(len(content) - 3000, 0)))
    for _ in range(rng.choice((1, 4, 40))):
        content[rng.randrange(first, len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def _cut(file, rng):
    content = file.read_bytes()
    file.write_bytes(
        content[: rng.choice((0, 4, 8, len(content) - 8, rng.randrange(len(content))))]
    )


def _splice(file, rng):
    content = file.read_bytes()
    at, end = rng.randrange(len(content)), rng.randrange(len(content))
    file.write_bytes(content[:at] + content[end:])


def _value(file, rng):
    """Other numbers in a column: one of them, or all."""
    table = pq.read_table(file)
    plain = [i for i, one in enumerate(table.schema) if not pa.types.is_nested(one.type)]
    index = rng.choice(plain)
    name = table.column_names[index]
    column = table[name].combine_chunks()
    if pa.types.is_dictionary(column.type):
        values = column.cast(pa.string()).to_pylist()
        odd = ("", "features.9:1:0", "\x1b[31m", "é" * 200)
    else:
        values = column.to_pylist()
        is_real = pa.types.is_floating(column.type)
        odd = (float("nan"), float("inf"), -1.0, 1e30, 0.5) if is_real else (-1, 0, 1, 100, 127)
        odd = (True, False) if pa.types.is_boolean(column.type) else odd
    many = rng.random() < 0.3
    for i in range(len(values)) if many else [rng.randrange(max(len(values), 1))]:
        values[i] = rng.choice((*odd, None)) if not many else odd[0]
    try:
        changed = pa.array(values, pa.string() if isinstance(odd[0], str) else column.type)
    except (pa.ArrowException, OverflowError):
        changed = pa.array([None] * len(values), column.type)
    _write(table.set_column(index, name, changed), file, table.schema.metadata)


def _column(file, rng):
    """A column is gone, has another name or another type."""
    table = pq.read_table(file)
    index = rng.randrange(table.num_columns)
    name = table.column_names[index]
    other = pa.array(np.arange(table.num_rows, dtype=rng.choice((np.int8, np.float64, np.int64))))
    changed = rng.choice((
        lambda: table.remove_column(index),
        lambda: table.rename_columns(["other" if n == name else n for n in table.column_names]),
        lambda: table.set_column(index, name, other),
        lambda: table.append_column("more", other),
    ))()  # fmt: skip
    _write(changed, file, table.schema.metadata)


def _rows(file, rng):
    """Rows are gone, come twice or in another order."""
    table = pq.read_table(file)
    n = table.num_rows
    order = rng.choice((
        list(range(n // 2)), [], [*range(n), 0], list(range(n))[::-1],
        rng.sample(range(n), n), [0] * n,
    ))  # fmt: skip
    _write(table.take(pa.array(order, pa.int64())), file, table.schema.metadata)


def _meta(file, rng):
    table = pq.read_table(file)
    meta = dict(table.schema.metadata or {})
    for key in [key for key in meta if key != b"ARROW:schema"]:
        meta[key] = rng.choice((
            b"", b"{}", b"null", b"[" * 5000, b"\xff\xfe", meta[key].replace(b"1", b"2"),
            meta[key].replace(b"0", b"-1"), meta[key].replace(b'"', b"", 2), meta[key][:50],
            meta[key].replace(b"[", b"{", 1),
        ))  # fmt: skip
    _write(table, file, meta)


def _write(table, file, meta):
    pq.write_table(table.replace_schema_metadata(meta), file)
