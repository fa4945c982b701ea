"""Damaged files are refused in words, and the remedy that the words name makes them anew."""

import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders.commands import contents, explgraph, rows
from builders.databases import VERSION_4, ask, run_script

from explgraph.errors import WorkspaceError
from explgraph.workspace import Workspace
from explgraph_storage import Store

REMEDY = "run the same 'explgraph mine' command again"


@pytest.fixture
def copy(workspace, tmp_path):
    """A copy of the mined workspace, to be changed."""
    return shutil.copytree(workspace, tmp_path / "ws")


@pytest.fixture
def places(copy):
    return copy / "locations" / "part-00000.parquet"


@pytest.fixture
def deviations(copy):
    (path,) = copy.glob("peaks/unit-std-*.npz")
    return path


def flip(path, seed):
    content = bytearray(path.read_bytes())
    rng = random.Random(seed)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def rewrite(path, **columns):
    table = pq.read_table(path)
    for name, values in columns.items():
        i = table.column_names.index(name)
        table = table.set_column(i, table.field(i), pa.array(values(table[name].to_numpy())))
    pq.write_table(table, path)


def with_nan(values):
    values = values.copy()
    values[3] = np.nan
    return values


def ask_locations(folder):
    with Workspace(folder) as opened:
        return opened.known_objects()


def as_mined(copy, workspace, mine_scenes, unchanged=False, lacking=None):
    """The same command makes it what it was, and says afterwards that nothing is left to do.

    An older version's edges are ``lacking`` an attribute, and still do where the graph stays.
    """
    done = explgraph(*mine_scenes, "--out", copy, "--quiet", "--json").json()
    assert done["unchanged"] == unchanged
    expected = contents(workspace)
    for *_, edge in expected["edges"] if lacking else ():
        del edge[lacking]
    assert contents(copy) == expected
    assert [path.read_bytes() for path in sorted(copy.glob("peaks/*"))] == [
        path.read_bytes() for path in sorted(workspace.glob("peaks/*"))
    ]
    assert explgraph(*mine_scenes, "--out", copy, "--json").json()["unchanged"]


LOCATION_DAMAGES = {
    "gone": lambda path: path.unlink(),
    "folder gone": lambda path: shutil.rmtree(path.parent),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "no parquet": lambda path: path.write_text("no parquet"),
    "NaN": lambda path: rewrite(path, x=with_nan),
    "other scores": lambda path: rewrite(path, score=lambda score: score / 2),
    **{f"bit {seed}": lambda path, seed=seed: flip(path, seed) for seed in range(12)},
}


@pytest.mark.parametrize("how", LOCATION_DAMAGES)
def test_damaged_locations_are_refused_with_a_remedy(copy, places, how):
    LOCATION_DAMAGES[how](places)
    with pytest.raises(WorkspaceError, match=REMEDY):
        ask_locations(copy)


@pytest.mark.parametrize("how", ["gone", "folder gone", "NaN", "bit 1"])
def test_the_same_command_locates_again_and_keeps_graph_and_parts(
    copy, places, workspace, mine_scenes, scenes, how
):
    marks = ("--annotations", scenes.coco, "--ids", "1000,1021")
    assert explgraph("part", "fit", copy, "--name", "head", *marks).code == 0
    with Store.open(copy / "graph.db") as store:
        parts = store.read_semantic_parts()
    LOCATION_DAMAGES[how](places)
    as_mined(copy, workspace, mine_scenes)
    with Store.open(copy / "graph.db") as store:
        assert store.read_semantic_parts() == parts
    assert len(rows(copy, "SELECT * FROM runs")) == 1
    ask_locations(copy)


def doubled(path):
    with np.load(path) as stored:
        arrays = dict(stored)
    next(iter(arrays.values()))[0] *= 2
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "damage", [doubled, lambda path: path.write_bytes(b"PK"), lambda path: path.unlink()]
)
def test_damaged_deviations_are_measured_anew(copy, deviations, workspace, mine_scenes, damage):
    damage(deviations)
    as_mined(copy, workspace, mine_scenes)
    damage(deviations)
    for shard in copy.glob("peaks/part-*.parquet"):
        shard.unlink()
    as_mined(copy, workspace, mine_scenes)


def test_a_shard_of_another_workspace_is_refused_by_readers(
    copy, workspace, folder_workspace, mine_scenes
):
    shard = copy / "peaks" / "part-00000.parquet"
    shutil.copy(folder_workspace / "peaks" / shard.name, shard)
    with pytest.raises(WorkspaceError, match=f"is of another job.*{REMEDY}"):
        ask_locations(copy)
    as_mined(copy, workspace, mine_scenes)
    shutil.copy(copy / "peaks" / "part-00001.parquet", shard)
    with pytest.raises(WorkspaceError, match=f"is of another job.*{REMEDY}"):
        ask_locations(copy)
    as_mined(copy, workspace, mine_scenes)


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_of_a_shard_is_seen_by_who_reads_its_peaks(copy, seed):
    flip(copy / "peaks" / "part-00001.parquet", seed)
    with Workspace(copy) as opened, pytest.raises(WorkspaceError, match=REMEDY):
        opened.peak_files()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM top_places WHERE rank = 2",
        "UPDATE top_places SET score = 7 WHERE rank = 3",
        "UPDATE nodes SET std = std * 2 WHERE id = 2",
        "UPDATE edges SET weight = weight / 2 WHERE weight > 0",
        "DELETE FROM edges WHERE id = (SELECT max(id) FROM edges)",
        "UPDATE top_places SET x = x + 1 WHERE rank = 2",
        "UPDATE layers SET unit_std = NULL",
        "UPDATE layers SET unit_std = zeroblob(length(unit_std))",
        "UPDATE objects SET x = x + 1 WHERE id = 1000",
        "UPDATE objects SET mirrored = NULL WHERE id = 1000",
        "UPDATE nodes SET weight = 'heavy' WHERE id = 1",
        "DELETE FROM parts WHERE number = 1",
        "DELETE FROM files",
    ],
)
def test_a_damaged_database_is_mined_anew(copy, workspace, mine_scenes, statement):
    ask(copy / "graph.db", statement)
    as_mined(copy, workspace, mine_scenes, unchanged="files" in statement)
    assert rows(copy, "SELECT role, count(*) FROM files GROUP BY role") == [
        ("annotations", 1), ("deviations", 1), ("graph", 1), ("locations", 1), ("photograph", 46),
    ]  # fmt: skip


def test_a_workspace_of_version_3_is_read_and_then_hashed(copy, workspace, mine_scenes):
    script = "DROP TABLE files; UPDATE schema_version SET version = 3;"
    run_script(copy / "graph.db", VERSION_4 + script)
    before = (copy / "graph.db").read_bytes()
    ask_locations(copy)
    with Workspace(copy) as opened:
        assert opened.store.read_files("locations") == ()
    assert (copy / "graph.db").read_bytes() == before
    as_mined(copy, workspace, mine_scenes, unchanged=True, lacking="co_firing")
    assert len(rows(copy, "SELECT * FROM files")) == 50


def test_locations_without_hashes_are_checked_for_what_can_be_told(copy, places):
    ask(copy / "graph.db", "DELETE FROM files")
    rewrite(places, y=with_nan)
    with pytest.raises(WorkspaceError, match=f"no numbers; {REMEDY}"):
        ask_locations(copy)
