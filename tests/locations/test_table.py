"""The locations table as files: Parquet, CSV and JSON say the same, whole or not at all."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from builders.graphs import make_graph

from explgraph.errors import UsageError, WorkspaceError
from explgraph.images import Frame
from explgraph.locations.locator import NodeLocations
from explgraph.locations.table import SCHEMA, LocationWriter, location_table, read_locations

NODES = ("top:0:0", "top:2:1", "low.a:5:0")
FRAMES = (Frame((10, 20, 64, 48), 48, 64), Frame((0, 0, 32, 96), 48, 64, "letterbox"))


def some_locations():
    rng = np.random.default_rng(0)
    place = rng.random((2, 3, 2), dtype=np.float32)
    return NodeLocations(
        NODES, place, np.array([[1, 3, 2], [0, 5, 9]], np.float32), np.array([True, False])
    )


def some_table(top=None):
    return location_table(
        some_locations(), ids=[7, 4], images=["a.png", "b/ä.png"], frames=FRAMES, top=top
    )


def read(path):
    if path.suffix == ".json":
        return json.loads(path.read_text())
    table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    return table.to_pylist()


def test_rows_stand_object_by_object_in_the_order_of_the_nodes():
    rows = some_table().to_pylist()
    assert [(r["annotation_id"], r["image"], r["node"]) for r in rows] == [
        *((7, "a.png", node) for node in NODES),
        *((4, "b/ä.png", node) for node in NODES),
    ]
    assert [r["layer"] for r in rows] == ["top", "top", "low.a"] * 2
    assert [r["mirrored"] for r in rows] == [True] * 3 + [False] * 3


def test_x_and_y_are_pixels_of_the_image():
    rows, found = some_table().to_pylist(), some_locations()
    for i, (frame, row) in enumerate(zip(np.repeat(FRAMES, 3), rows, strict=True)):
        assert [row["x"], row["y"]] == pytest.approx(
            frame.to_image(found.place[i // 3, i % 3]).tolist(), abs=1e-4
        )
    row, column = found.place[0, 1]
    assert (rows[1]["x"], rows[1]["y"]) == pytest.approx(
        (10 + 64 * column, 20 + 48 * row), abs=1e-4
    )


def test_top_keeps_the_best_nodes_best_first():
    rows = some_table(top=2).to_pylist()
    assert [r["node"] for r in rows] == ["top:2:1", "low.a:5:0", "low.a:5:0", "top:2:1"]
    assert [r["score"] for r in rows] == [3, 2, 9, 5]
    assert some_table(top=99).num_rows == 6


def test_no_object_gives_an_empty_table():
    none = NodeLocations(
        NODES, np.zeros((0, 3, 2), np.float32), np.zeros((0, 3), np.float32), np.zeros(0, bool)
    )
    assert location_table(none, ids=[], images=[], frames=[]).schema == SCHEMA


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".JSON"])
def test_every_format_gives_back_what_was_written_in_pieces(tmp_path, suffix):
    path = tmp_path / f"places{suffix}"
    with LocationWriter(path) as writer:
        writer.write(some_table())
        writer.write(some_table(top=1))
        assert not path.exists()
    assert writer.n_rows == 8
    path = path.rename(path.with_suffix(suffix.lower()))
    expected = some_table().to_pylist() + some_table(top=1).to_pylist()
    for got, wanted in zip(read(path), expected, strict=True):
        assert list(got) == SCHEMA.names
        assert got == pytest.approx(wanted)


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path):
    names = ['=HYPERLINK("http://x").png', "b/=1.png"]
    table = location_table(some_locations(), ids=[7, 4], images=names, frames=FRAMES)
    for suffix, first in ((".csv", "'" + names[0]), (".parquet", names[0]), (".json", names[0])):
        with LocationWriter(tmp_path / f"p{suffix}") as writer:
            writer.write(table)
        rows = read(writer.path)
        assert {row["image"] for row in rows} == {first, names[1]}
        assert [row["x"] for row in rows] == pytest.approx(table["x"].to_pylist())


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_a_file_without_rows_can_be_read(tmp_path, suffix):
    with LocationWriter(tmp_path / f"none{suffix}"):
        pass
    assert read(tmp_path / f"none{suffix}") == []


def write_rows_and_fail(writer):
    writer.write(some_table())
    pa.array(["no number"]).cast(pa.float32())


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_after_an_error_the_former_file_is_there_and_no_other(tmp_path, suffix):
    path = tmp_path / f"places{suffix}"
    path.write_text("former")
    with pytest.raises(pa.ArrowInvalid), LocationWriter(path) as writer:
        write_rows_and_fail(writer)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "former"


def test_places_that_cannot_be_files_are_refused_before_anything_is_made(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for path, words in (
        (tmp_path / "places.xlsx", r"must end in .parquet or .csv or .json, got '.xlsx'"),
        (tmp_path / "missing" / "places.csv", "missing does not exist; create it"),
        (tmp_path / "folder.csv", "is a folder; name a file"),
    ):
        with pytest.raises(UsageError, match=words):
            LocationWriter(path)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.csv"]


def test_a_photograph_of_several_objects_is_named_once_in_a_parquet_file(tmp_path):
    found = some_locations()
    for path in (tmp_path / "1.parquet", tmp_path / "2.parquet"):
        with LocationWriter(path) as writer:
            writer.write(location_table(found, ids=[1, 2], images=["same.png"] * 2, frames=FRAMES))
    assert pq.read_table(tmp_path / "1.parquet")["image"].chunk(0).dictionary.to_pylist() == [
        "same.png"
    ]
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


# Those of a workspace, read back

WHOLE = Frame((0, 0, 64, 48), 48, 64)


@pytest.fixture
def mined():
    """A graph, and where its nodes are on the objects 7, 4 and 5."""
    graph, rng = make_graph(), np.random.default_rng(0)
    nodes = graph.ordered_nodes()
    place, score = rng.random((3, len(nodes), 2)), rng.random((3, len(nodes)))
    mirrored = np.array([True, False, True])
    return graph, NodeLocations(nodes, place.astype("f4"), score.astype("f4"), mirrored)


def write_in_two_files(folder, found, *, ids=(7, 4, 5)):
    for number, here in enumerate((slice(0, 2), slice(2, 3))):
        some = NodeLocations(
            found.nodes, found.place[here], found.score[here], found.mirrored[here]
        )
        names = [f"{one}.png" for one in ids[here]]
        frames = [WHOLE] * len(names)
        with LocationWriter(folder / f"part-{number:05d}.parquet") as writer:
            writer.write(location_table(some, ids=ids[here], images=names, frames=frames))


def test_locations_come_back_in_the_order_that_is_asked_for(tmp_path, mined):
    graph, found = mined
    write_in_two_files(tmp_path, found)
    read = read_locations(tmp_path, graph, [4, 5, 7])
    order = [1, 2, 0]
    pixels = found.place[order][..., ::-1] * (64, 48)
    assert read.points == pytest.approx(pixels, abs=1e-4)
    np.testing.assert_array_equal(read.score, found.score[order])
    assert read.mirrored.tolist() == [False, True, True]
    assert (read.points.dtype, read.score.dtype) == (np.float64, np.float64)


def test_the_sureness_of_a_facing_comes_back_and_older_files_know_none(tmp_path, mined):
    graph, found = mined
    told = replace(found, sureness=np.array([0.5, 1, np.nan], np.float32))
    table = location_table(told, ids=[7, 4, 5], images=["a", "b", "c"], frames=[WHOLE] * 3)
    n = len(found.nodes)
    assert table["facing_sureness"].to_pylist()[::n] == [0.5, 1, None]
    pq.write_table(table, tmp_path / "part-00000.parquet")
    read = read_locations(tmp_path, graph, [7, 4, 5])
    np.testing.assert_array_equal(read.sureness, [0.5, 1, np.nan])
    pq.write_table(table.drop_columns("facing_sureness"), tmp_path / "part-00000.parquet")
    older = read_locations(tmp_path, graph, [7, 4, 5])
    assert np.isnan(older.sureness).all()
    np.testing.assert_array_equal(older.points, read.points)


def test_a_graph_without_objects_has_no_locations(tmp_path, mined):
    graph, _ = mined
    assert read_locations(tmp_path, graph, []).points.shape == (0, 36, 2)


@pytest.mark.parametrize(
    ("ids", "nodes", "words"),
    [
        ((7, 4, 6), lambda nodes: nodes, "holds places on other objects"),
        ((7, 4, 4), lambda nodes: nodes, "holds places on other objects"),
        ((7, 4, 5), lambda nodes: nodes[1:], "holds 105 places, expected 3 objects x 36 nodes"),
        ((7, 4, 5), lambda nodes: nodes[::-1], "holds places of other nodes"),
        ((7, 4, 5), lambda nodes: (*nodes[:-1], "top:9:9"), "holds places of other nodes"),
    ],
)
def test_locations_of_other_objects_or_nodes_are_refused(tmp_path, mined, ids, nodes, words):
    graph, found = mined
    names = nodes(found.nodes)
    n = len(names)
    other = NodeLocations(names, found.place[:, :n], found.score[:, :n], found.mirrored)
    write_in_two_files(tmp_path, other, ids=ids)
    with pytest.raises(WorkspaceError, match=f"{words}.*; run the same 'explgraph mine'"):
        read_locations(tmp_path, graph, [7, 4, 5])
