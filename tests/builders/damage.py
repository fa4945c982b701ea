"""Damages a database in many ways, each chosen by a seed: what a broken disk or a script leaves."""

import json
import random
import sqlite3
from contextlib import closing

DEEP = "[" * 5000 + "]" * 5000
CELLS = (
    "text", "", "1.5", "nan", "\x00", "\x1b[31m", "é" * 300, b"", b"\xff\xfe\x00", b"\xed\xa0\x80",
    bytes(7), bytes(4096), None, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), 1.5, -0.5, 1e308,
    float("inf"), float("-inf"), "null", "{}", "[]", "3", '"text"', "{", "[1, 2", "[NaN]",
    '{"a": Infinity}', '{"a": 1e999}', r'["\ud800"]', '{"\\ud800": 1}', DEEP, "[" * 400 + "]" * 400,
    "9" * 5000,
)  # fmt: skip
LEAVES = (
    None, True, 0, -1, 1.5, 10**30, "", "text", "../..", [], {}, [[]], {"a": 1}, [None], ["a"],
    "\ud800", 1e308,
)  # fmt: skip
PARTS = ("semantic_parts", "part_annotations", "part_templates", "part_votes")
JSON = (
    ("graph_attributes", "value"), ("runs", "config"), ("runs", "versions"),
    ("objects", "landmarks"), ("semantic_parts", "config"), ("layers", "unit_std_shape"),
)  # fmt: skip


def tables_of(connection):
    """Return table -> its columns, of every table that holds a row."""
    names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    tables = [name for (name,) in connection.execute(names).fetchall()]
    return {
        name: [column for _, column, *_ in connection.execute(f"PRAGMA table_info({name})")]
        for name in sorted(tables)
        if connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
    }


def relax(connection):
    """Take away what SQLite itself would refuse: a damaged file keeps none of it."""
    for (index,) in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall():
        connection.execute(f"DROP INDEX {index}")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '')")
    connection.execute("PRAGMA writable_schema = OFF")


def damage(file, seed):
    """Damage a database file in the way that the seed chooses; say in words how."""
    how = (_cell,) * 8 + (_json,) * 6 + (_column, _rows, _edge, _edge, _schema, _bytes)
    return _damage(file, random.Random(seed), how)


def damage_parts(file, seed):
    """Damage what a database holds of semantic parts; say in words how."""
    return _damage(file, random.Random(seed), (_part_cell,) * 4 + (_part_json,) * 3 + (_part,) * 3)


def _damage(file, rng, ways):
    how = rng.choice(ways)
    if how is _bytes:
        return _bytes(file, rng)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        relax(connection)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        while True:
            try:
                return how(connection, rng)
            # A key that is there already: another cell is as good.
            except sqlite3.IntegrityError:
                continue


def _pick(connection, rng, tables=None):
    tables = tables or tables_of(connection)
    table = rng.choice(sorted(tables))
    column = rng.choice(tables[table])
    count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return table, column, rng.randrange(count)


def _key(connection, table):
    """What a row is found by: its number, or its whole key in a table that has none."""
    info = connection.execute(f"PRAGMA table_info({table})").fetchall()
    keys = [column for _, column, *_, key in info if key]
    return keys if table in ("top_places", "part_votes") else ["rowid"]


def _change(connection, table, column, row, value):
    keys = ", ".join(_key(connection, table))
    where = f"({keys}) = (SELECT {keys} FROM {table} LIMIT 1 OFFSET {row})"
    connection.execute(f'UPDATE {table} SET "{column}" = ? WHERE {where}', (value,))


def _part_cell(connection, rng):
    return _cell(connection, rng, {one: tables_of(connection)[one] for one in PARTS})


def _cell(connection, rng, tables=None):
    table, column, row = _pick(connection, rng, tables)
    value = rng.choice(CELLS)
    # Bytes as text: what is no UTF-8 cannot be read as a string.
    if isinstance(value, bytes) and rng.random() < 0.3:
        keys = ", ".join(_key(connection, table))
        where = f"({keys}) = (SELECT {keys} FROM {table} LIMIT 1 OFFSET {row})"
        connection.execute(
            f'UPDATE {table} SET "{column}" = CAST(? AS TEXT) WHERE {where}', (value,)
        )
    else:
        _change(connection, table, column, row, value)
    return f"{table}.{column}[{row}] = {str(value)[:30]!r}"


def _column(connection, rng):
    table, column, _ = _pick(connection, rng)
    value = rng.choice(CELLS)
    connection.execute(f'UPDATE {table} SET "{column}" = ?', (value,))
    return f"{table}.{column} = {str(value)[:30]!r}"


def _part_json(connection, rng):
    return _json(connection, rng, (("semantic_parts", "config"),))


def _json(connection, rng, columns=JSON):
    """Another value somewhere within a JSON document."""
    found = [
        (table, column, row, json.loads(str(text)))
        for table, column in columns
        for row, (text,) in enumerate(
            connection.execute(f"SELECT {column} FROM {table} LIMIT 8").fetchall()
        )
        if text is not None
    ]  # fmt: skip
    table, column, row, value = rng.choice(found)
    leaf, path = rng.choice(LEAVES), []
    here = value
    while isinstance(here, dict | list) and here and (not path or rng.random() < 0.75):
        key = rng.choice(sorted(here)) if isinstance(here, dict) else rng.randrange(len(here))
        path.append(key)
        parent, here = here, here[key]
    if not path:
        value = leaf
    elif rng.random() < 0.2:
        del parent[path[-1]]
    else:
        parent[path[-1]] = leaf
    _change(connection, table, column, row, json.dumps(value))
    return f"{table}.{column}[{row}] {path} = {str(leaf)[:30]!r}"


def _rows(connection, rng):
    tables = tables_of(connection)
    table = rng.choice(sorted(tables))
    keys = ", ".join(_key(connection, table))
    some = rng.choice(("1 = 1", "random() % 2 = 0", "1 = 1 LIMIT 1", "1 = 1 LIMIT 1 OFFSET 1"))
    connection.execute(
        f"DELETE FROM {table} WHERE ({keys}) IN (SELECT {keys} FROM {table} WHERE {some})"
    )
    return f"rows of {table} deleted where {some}"


def _part(connection, rng):
    change = rng.choice((
        "DELETE FROM part_votes WHERE rank = 2 AND annotation_id = 1",
        "DELETE FROM part_votes WHERE annotation_id = 1", "DELETE FROM part_votes",
        "UPDATE part_votes SET rank = 1000 - rank WHERE annotation_id = 1",
        "UPDATE part_votes SET node_id = 1", "UPDATE part_votes SET node_id = 1 WHERE rank = 3",
        "UPDATE part_votes SET node_id = 10000000 WHERE rank = 2",
        "UPDATE part_votes SET weight = 0", "UPDATE part_votes SET weight = -weight",
        "UPDATE part_votes SET weight = 1e300", "UPDATE part_votes SET d_row = 1e200",
        "UPDATE part_votes SET presence = -1e300",
        "UPDATE part_templates SET pose = x''", "UPDATE part_templates SET pose = zeroblob(8)",
        "UPDATE part_templates SET pose = zeroblob(800) WHERE annotation_id = 1",
        "UPDATE part_templates SET correction_row = 1e300", "DELETE FROM part_templates",
        "DELETE FROM part_templates WHERE annotation_id = 2",
        "UPDATE part_templates SET annotation_id = annotation_id + 100",
        "UPDATE part_annotations SET object_id = 10000000 WHERE id = 1",
        "UPDATE part_annotations SET object_id = 1007", "DELETE FROM part_annotations",
        "UPDATE part_annotations SET part_id = 77 WHERE id = 1",
        "UPDATE part_annotations SET x = 1e300", "UPDATE part_annotations SET y = -5",
        "UPDATE semantic_parts SET contrast = 0", "UPDATE semantic_parts SET contrast = -1",
        "UPDATE semantic_parts SET contrast = 1e-300", "UPDATE semantic_parts SET name = ''",
        "UPDATE semantic_parts SET id = 9", "UPDATE semantic_parts SET fitted_at = 'soon'",
        "INSERT INTO semantic_parts SELECT 5, name, config, contrast, '' FROM semantic_parts",
    ))  # fmt: skip
    connection.execute(change)
    return change


def _edge(connection, rng):
    change = rng.choice((
        "upper_id = lower_id", "upper_id = lower_id, lower_id = upper_id", "lower_id = 10000000",
        "upper_id = 0", "upper_id = -1", "lower_id = 1", "weight = -1e999", "id = id + 10000000",
        "upper_id = (SELECT max(id) FROM nodes)",
    ))  # fmt: skip
    which = rng.choice(("id = 1", "id % 7 = 3", "id = (SELECT max(id) FROM edges)"))
    connection.execute(f"UPDATE edges SET {change} WHERE {which}")
    return f"edges: {change} where {which}"


def _schema(connection, rng):
    tables = tables_of(connection)
    table, column, _ = _pick(connection, rng, tables)
    change = rng.choice((
        f"DROP TABLE {table}", f"ALTER TABLE {table} RENAME TO lost",
        f'ALTER TABLE {table} RENAME COLUMN "{column}" TO lost',
        "PRAGMA application_id = 7", "UPDATE schema_version SET version = 'three'",
        "UPDATE schema_version SET version = 1.5", f"UPDATE schema_version SET version = {2**62}",
    ))  # fmt: skip
    connection.execute("DROP VIEW IF EXISTS node_edges")
    connection.execute(change)
    return change


def _bytes(file, rng):
    content = bytearray(file.read_bytes())
    how = rng.choice(("flip", "zeros", "truncate", "longer", "swap", "header"))
    page = 4096 * rng.randrange(len(content) // 4096)
    if how == "flip":
        for _ in range(rng.randrange(1, 200)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == "zeros":
        content[page : page + 4096] = bytes(4096)
    elif how == "truncate":
        del content[rng.randrange(len(content)) :]
    elif how == "longer":
        content += rng.randbytes(5000)
    elif how == "swap":
        content[4096:8192], content[page : page + 4096] = (
            content[page : page + 4096],
            content[4096:8192],
        )
    else:
        content[rng.randrange(100)] = rng.randrange(256)
    file.write_bytes(content)
    return f"bytes of the file: {how}, page {page // 4096}"
