"""docs/storage.md and the schema name the same tables and columns, and its queries run."""

import re
import sqlite3

import pytest
from builders.graphs import IMAGES, OBJECTS, make_graph, make_places
from builders.real import ROOT
from sqlalchemy.dialects import sqlite

from explgraph_storage import Store
from explgraph_storage.engine import BUSY_SECONDS
from explgraph_storage.migrations import APPLICATION_ID
from explgraph_storage.schema import METADATA

TEXT = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def connection(tmp_path):
    graph = make_graph(layers=("features.28", "features.26"), nodes=60)
    with Store.open(tmp_path / "graph.db", mode="create") as store:
        store.write_source(IMAGES, OBJECTS)
        store.save_graph(graph, top_places=make_places(graph))
    connection = sqlite3.connect(tmp_path / "graph.db")
    yield connection
    connection.close()


def test_the_picture_shows_the_tables_and_columns_of_the_schema():
    picture = re.search(r"erDiagram(.*?)```", TEXT, re.DOTALL).group(1)
    drawn = {
        table: [tuple(line.split()[:2]) for line in body.strip().splitlines()]
        for table, body in re.findall(
            r"^    (\w+) \{\n(.*?)\n    \}", picture, re.DOTALL | re.MULTILINE
        )
    }
    declared = {
        table.name: [
            (column.type.compile(dialect=sqlite.dialect()), column.name) for column in table.c
        ]
        for table in METADATA.tables.values()
    }
    assert drawn == declared


def test_the_picture_shows_the_keys_and_relations_of_the_schema():
    for table in METADATA.tables.values():
        body = re.search(
            rf"^    {table.name} \{{\n(.*?)\n    \}}", TEXT, re.DOTALL | re.MULTILINE
        ).group(1)
        marks = {
            line.split()[1]: set(re.findall(r"\b(PK|FK|UK)\b", line.split('"')[0]))
            for line in body.splitlines()
        }
        unique = {
            next(iter(c.columns)).name
            for c in table.constraints
            if type(c).__name__ == "UniqueConstraint"
        }
        for column in table.c:
            expected = {
                "PK": column.primary_key,
                "FK": bool(column.foreign_keys),
                "UK": column.name in unique,
            }
            assert marks[column.name] == {mark for mark, holds in expected.items() if holds}, column
        for key in table.foreign_keys:
            assert re.search(
                rf"^    {key.column.table.name} \|\|--o\{{ {table.name} :", TEXT, re.MULTILINE
            )


def test_the_view_has_the_columns_that_are_named(connection):
    named = re.search(r"names of their ends: (.*?)\.\n", TEXT, re.DOTALL).group(1)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(node_edges)")]
    assert re.findall(r"`(\w+)`", named) == columns


@pytest.mark.parametrize("query", QUERIES)
def test_the_queries_find_something(connection, query):
    values = {
        "features.28:12:3": "features.28:2:3",
        "features.26:7:1": "features.26:3:1",
        "channel = 12": "channel = 2",
    }
    for documented, here in values.items():
        query = query.replace(documented, here)
    assert connection.execute(query).fetchall()


def test_there_are_three_queries():
    assert len(QUERIES) == 3


def test_the_figures_are_those_of_the_code():
    assert f"0x{APPLICATION_ID:X}" in TEXT
    assert APPLICATION_ID.to_bytes(4, "big") == b"EXGR"
    assert f"| busy timeout | {BUSY_SECONDS:g} s |" in TEXT


def test_a_node_is_found_through_indexes(connection):
    for condition in (
        "edges.lower_id = 5",
        "edges.upper_id = 5",
        "top_places.node_id = 5",
        "nodes.name = 'x'",
        "objects.image_id = 1",
    ):
        table = condition.split(".")[0]
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {condition}"
        ).fetchall()
        assert plan[0][-1].startswith(f"SEARCH {table} USING"), plan
