"""What a damaged database holds is refused in words, and never read as something else."""

import math
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from builders.damage import relax
from builders.databases import run_script
from builders.graphs import IMAGES, OBJECTS, make_graph, make_places, sway

from explgraph.errors import GraphError, StoreError
from explgraph_storage import Store
from explgraph_storage.checks import is_plain

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def whole(place):
    """A database with objects, a graph whose nodes sway, its places and deviations."""
    graph = sway(make_graph(3))
    layer = graph.layers[0]
    std = np.ones((layer.channels, layer.height, layer.width), np.float32)
    with Store.open(place, mode="create") as store:
        store.write_source(IMAGES, OBJECTS)
        store.save_graph(graph, top_places=make_places(graph), unit_std={layer.name: std})
    return place


def change(file, statement, *values):
    """Change a database past every constraint."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        relax(connection)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(statement, values).rowcount != 0


def refused(file, read, *given):
    with Store.open(file) as store, pytest.raises(StoreError) as caught:
        getattr(store, read)(*given)
    text = str(caught.value)
    assert "expected" in text
    assert "got" in text
    assert "restore it from a copy or run 'explgraph check" in text
    return text


EDGES = {
    "dangling": "lower_id = 1000000",
    "from nothing": "upper_id = 0",
    "to itself": "lower_id = upper_id",
    "reversed": "upper_id = lower_id, lower_id = upper_id",
    "past a layer": "upper_id = (SELECT n.id FROM nodes n WHERE n.layer = 'top'), "
    "lower_id = (SELECT n.id FROM nodes n WHERE n.layer = 'b:c')",
    "heavy without end": "weight = 1e999",
    "light without end": "d_row = -1e999",
    "no number": "weight = 'heavy'",
    "a blob": "std = x'00ff'",
    "nothing": "d_col = NULL",
    "no whole number": "upper_id = 1.5",
    "of another number": "id = 1000000",
}


@pytest.mark.parametrize("how", EDGES)
def test_an_edge_that_mining_never_writes_is_refused(whole, how):
    change(whole, f"UPDATE edges SET {EDGES[how]} WHERE id = 5")
    assert "edges" in refused(whole, "load_graph")


def test_an_edge_that_stands_twice_is_refused(whole):
    change(
        whole,
        "UPDATE edges SET (upper_id, lower_id) = "
        "(SELECT e.upper_id, e.lower_id FROM edges e WHERE e.id = 6) WHERE id = 5",
    )
    assert "different pairs" in refused(whole, "load_graph")


@pytest.mark.parametrize("table", ["nodes", "edges", "layers"])
def test_a_row_that_is_gone_is_missed(whole, table):
    key = "position = 1" if table == "layers" else "id = 5"
    change(whole, f"DELETE FROM {table} WHERE {key}")
    refused(whole, "load_graph")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("score", "high"), ("score", math.inf), ("score", -math.inf), ("score", None),
        ("row", b"12"), ("channel", "3"), ("channel", 4), ("channel", -1), ("channel", 2**63 - 1),
        ("channel", 0.5), ("index", 77), ("kind", "blob"), ("kind", 3), ("kind", None),
        ("layer", "nowhere"), ("name", "top:0:99"), ("name", b"top"), ("loadings", b"123"),
        ("loadings", bytes(8)), ("loadings", b"\xff" * 16), ("loadings", "text"),
    ],
)  # fmt: skip
def test_a_node_with_another_value_is_refused_whole_and_alone(whole, column, value):
    with Store.open(whole) as store:
        name = list(store.load_graph())[4]
    change(whole, f'UPDATE nodes SET "{column}" = ? WHERE id = 5', value)
    # Channel "3" is stored as 3, as the column wants; then the name differs.
    refused(whole, "load_graph")
    if column != "name":
        refused(whole, "read_node", name)


@pytest.mark.parametrize(
    ("change_to", "read"),
    [
        ("layers SET channels = 'many' WHERE position = 0", "load_graph"),
        ("layers SET height = 0 WHERE position = 0", "load_graph"),
        ("layers SET stride_row = 1e999 WHERE position = 0", "load_graph"),
        ("layers SET fallback = 'perhaps'", "load_graph"),
        ("layers SET unit_std = x'0011' WHERE position = 0", "load_unit_std"),
        ("layers SET unit_std = zeroblob(16) WHERE position = 0", "load_unit_std"),
        ("layers SET unit_std_shape = '[4]' WHERE position = 0", "load_unit_std"),
        ("layers SET unit_std_shape = '[4, 5' WHERE position = 0", "load_unit_std"),
        ("graph_attributes SET name = 'layers' WHERE name = 'note'", "load_graph"),
        ("graph_attributes SET value = '\"many\"' WHERE name = 'n_images'", "load_graph"),
        ("graph_attributes SET value = 1e999 WHERE name = 'note'", "load_graph"),
        ("graph_attributes SET value = '[1, NaN]' WHERE name = 'note'", "load_graph"),
        ("graph_attributes SET value = '[\"\\ud800\"]' WHERE name = 'note'", "load_graph"),
        ("graph_attributes SET value = x'fffe00' WHERE name = 'note'", "load_graph"),
        ("graph_attributes SET value = '{' WHERE name = 'config'", "load_graph"),
        (f"graph_attributes SET value = '{DEEP}' WHERE name = 'config'", "load_graph"),
        ("graph_attributes SET name = 'facing', value = '{}' WHERE name = 'note'", "load_graph"),
        ("graph_attributes SET name = 'explained', value = '[]' WHERE name = 'note'", "load_graph"),
        ("images SET width = 'wide'", "read_images"),
        ("objects SET landmarks = '[1]'", "read_objects"),
        ("objects SET landmarks = '{\"head\": [1]}'", "read_objects"),
        ("objects SET mirrored = 'yes'", "read_objects"),
        ("objects SET x = x'00'", "read_objects"),
        ("objects SET image_id = 999", "read_objects"),
    ],
)
def test_every_reader_refuses_what_is_not_of_its_kind(whole, change_to, read):
    change(whole, f"UPDATE {change_to}")
    refused(whole, read)


@pytest.mark.parametrize("how", ["dangling", "to itself", "reversed", "no number"])
def test_one_node_is_refused_with_its_edges(whole, how):
    with Store.open(whole) as store:
        graph = store.load_graph()
        upper = next(upper for upper in graph if graph.out_degree(upper))
    number = list(graph).index(upper) + 1
    which = f"(SELECT min(e.id) FROM edges e WHERE e.upper_id = {number})"
    change(whole, f"UPDATE edges SET {EDGES[how]} WHERE id = {which}")
    refused(whole, "read_node", upper)


def test_bytes_that_are_no_text_are_refused(whole):
    change(whole, "UPDATE images SET path = CAST(x'ff00fe' AS TEXT) WHERE id = 3")
    with Store.open(whole) as store, pytest.raises(StoreError, match="damaged: restore it"):
        store.read_images()


@pytest.mark.parametrize("version", ["'three'", "1.5", "-1", "x'03'"])
def test_a_version_that_is_no_number_is_refused(whole, version):
    # The key of the table as it was made takes whole numbers only.
    run_script(
        whole,
        "DROP TABLE schema_version; CREATE TABLE schema_version (version, applied_at TEXT); "
        f"INSERT INTO schema_version VALUES ({version}, '')",
    )
    with pytest.raises(StoreError, match=r"schema_version is (without|empty)"):
        Store.open(whole)


def test_what_could_not_be_read_again_is_not_saved(store):
    no_unit = {"flipped": False, "weight": {}, "unit": {"top": [0.0]}, "views": {}}
    for key, value in (
        ("n_images", "many"),
        ("facing", {}),
        ("facing", no_unit),
        ("note", chr(0xD800)),
    ):
        graph = make_graph()
        graph.graph[key] = value
        with pytest.raises(GraphError):
            store.save_graph(graph)
    for key, value in (("kind", "blob"), ("channel", 4)):
        graph = make_graph()
        graph.nodes[next(iter(graph))][key] = value
        with pytest.raises(GraphError):
            store.save_graph(graph)


def test_plain_json_goes_so_deep_and_no_deeper():
    value = 1.5
    for _ in range(49):
        value = [value]
    assert is_plain(value)
    assert not is_plain([value])
