"""The locations table as files: Parquet, CSV and JSON say the same, whole or not at all."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from explgraph.errors import UsageError
from explgraph.images import Frame
from explgraph.locations.locator import NodeLocations
from explgraph.locations.table import SCHEMA, LocationWriter, location_table

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
        (tmp_path / "places.xlsx", r"ends in \.parquet, \.csv, \.json, got 'places\.xlsx'"),
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
