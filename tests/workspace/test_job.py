"""What mining leaves in a workspace, and what a command makes of one that is there."""

import json
import shutil
import sqlite3
from importlib.metadata import version

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from builders.commands import TINY, contents, explgraph, files_of, refused, rows
from builders.databases import VERSION_4, ask, run_script
from builders.tiny_network import MIDDLE, TOP, seeded

from explgraph_storage import Store


@pytest.fixture
def copy(workspace, tmp_path):
    """A copy of the mined workspace, to be changed."""
    return shutil.copytree(workspace, tmp_path / "ws")


def locations(workspace):
    return pa.concat_tables(
        [pq.read_table(p) for p in sorted((workspace / "locations").glob("*.parquet"))],
        promote_options="permissive",
    )


# What is in it


def test_a_workspace_holds_a_database_peaks_and_locations_and_nothing_else(workspace):
    names = {name for name in files_of(workspace) if "unit-std" not in name}
    assert names == {
        "graph.db",
        "graph.db.lock",  # empty, see the store
        "locations/part-00000.parquet",
        *(f"peaks/part-0000{i}.parquet" for i in range(3)),
    }
    assert (workspace / "graph.db.lock").stat().st_size == 0


def test_the_tables_can_be_read_with_any_sqlite(workspace):
    assert rows(workspace, "select count(*) from images") == [(46,)]
    assert rows(workspace, "select count(*), count(mirrored) from objects") == [(138, 138)]
    assert rows(workspace, "select command, status, error from runs") == [
        ("mine", "finished", None)
    ]
    assert rows(workspace, "select sum(n_objects) from parts") == [(138,)]
    with Store.open(workspace / "graph.db") as store:
        graph = store.load_graph()
    assert rows(workspace, "select count(*) from nodes") == [(graph.number_of_nodes(),)]
    assert rows(workspace, "select count(*) from edges") == [(graph.number_of_edges(),)]


def test_the_run_keeps_its_configuration_and_what_it_ran_with(workspace, scenes):
    with Store.open(workspace / "graph.db") as store:
        (run,) = store.read_runs()
    job = run.config["job"]
    assert (job["source"], job["background"]) == (str(scenes.coco), str(scenes.background))
    assert (job["model"], job["mining"]["nodes"], run.seed) == ("builders.tiny_network:make", 4, 0)
    assert run.versions["torch"] == version("torch")
    assert len(run.weights_sha256) == 64


def test_of_two_layers_with_maps_of_equal_size_the_later_one_is_on_top(workspace):
    with Store.open(workspace / "graph.db") as store:
        top, below = store.load_graph().layers
    assert (top.name, below.name) == (TOP, MIDDLE)
    assert (top.height, top.width) == (below.height, below.width) == (12, 16)


def test_the_locations_table_has_the_columns_of_the_contract(workspace):
    table = locations(workspace)
    assert table.column_names == [
        "annotation_id",
        "image",
        "node",
        "layer",
        "x",
        "y",
        "score",
        "mirrored",
        "facing_sureness",
    ]
    plain = [
        str(f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema
    ]
    kinds = ["int64", "string", "string", "string", "float", "float", "float", "bool", "float"]
    assert plain == kinds


def test_every_node_is_located_on_every_object_inside_its_box(workspace, scenes):
    table = locations(workspace)
    with Store.open(workspace / "graph.db") as store:
        nodes = list(store.load_graph())
    boxes = {a["id"]: a["bbox"] for a in json.loads(scenes.coco.read_text())["annotations"]}
    assert sorted(set(table["annotation_id"].to_pylist())) == sorted(boxes)
    assert table.num_rows == len(boxes) * len(nodes)
    for row in table.to_pylist():
        left, top, width, height = boxes[row["annotation_id"]]
        assert left - 1e-3 <= row["x"] <= left + width + 1e-3
        assert top - 1e-3 <= row["y"] <= top + height + 1e-3


def test_the_flags_of_locations_and_objects_agree(workspace):
    table = locations(workspace)
    flagged = set(table.filter(pc.field("mirrored"))["annotation_id"].to_pylist())
    with Store.open(workspace / "graph.db") as store:
        assert flagged == {o.id for o in store.read_objects() if o.mirrored}
    assert 30 < len(flagged) <= 69


def test_objects_of_both_facings_are_told_apart(workspace, scenes):
    table = locations(workspace)
    flagged = set(table.filter(pc.field("mirrored"))["annotation_id"].to_pylist())
    marks = {a["id"]: a["keypoints"] for a in json.loads(scenes.coco.read_text())["annotations"]}
    head_is_right = {key for key, (head, _, _, leg, _, _) in marks.items() if head > leg}
    assert len(flagged ^ head_is_right) in (0, len(marks))


# The same command again


def test_the_same_command_again_says_so_and_changes_nothing(copy, mine_scenes):
    before, files = (
        contents(copy),
        {
            name: (copy / name).read_bytes()
            for name in files_of(copy)
            if name.startswith(("peaks", "loc"))
        },
    )
    answer = explgraph(*mine_scenes, "--out", copy)
    assert answer.code == 0
    assert answer.out.startswith(f"{copy} is complete already, nothing to do\n")
    assert contents(copy) == before
    assert {name: (copy / name).read_bytes() for name in files} == files
    assert len(rows(copy, "select * from runs")) == 1


def test_neither_batches_nor_workers_nor_the_order_of_layers_make_another_job(copy, mine_scenes):
    again = explgraph(
        *mine_scenes,
        "--layers",
        f"{TOP},{MIDDLE}",
        "--batch-size",
        5,
        "--workers",
        1,
        "--out",
        copy,
        "--json",
    ).json()
    assert again["unchanged"]
    assert list(again["nodes"]) == [TOP, MIDDLE]


@pytest.mark.parametrize("setting", [("--nodes", 2), ("--seed", 3)])
def test_other_settings_of_mining_mine_anew_from_the_same_peaks(copy, mine_scenes, setting):
    before = contents(copy)
    peaks = {
        name: (copy / name).stat().st_mtime_ns
        for name in files_of(copy)
        if name.startswith("peaks")
    }
    report = explgraph(*mine_scenes, *setting, "--out", copy, "--json").json()
    assert (report["unchanged"], report["resumed"], report["parts"]) == (False, 3, 3)
    assert {name: (copy / name).stat().st_mtime_ns for name in peaks} == peaks
    assert contents(copy)["nodes"] != before["nodes"]
    assert explgraph(*mine_scenes, "--out", copy).code == 0
    assert contents(copy) == before


def test_a_run_that_was_killed_after_it_replaced_the_graph_does_not_pass_for_the_former_one(
    copy, mine_scenes
):
    before = contents(copy)
    assert explgraph(*mine_scenes, "--nodes", 2, "--out", copy).code == 0
    connection = sqlite3.connect(
        copy / "graph.db"
    )  # what a kill right after saving the graph leaves
    connection.execute("update runs set status = 'running', finished_at = null where id = 2")
    connection.commit()
    connection.close()
    assert not explgraph(*mine_scenes, "--out", copy, "--json").json()["unchanged"]
    assert contents(copy) == before


@pytest.mark.parametrize("harm", ["delete", "cut", "delete locations"])
def test_lost_and_damaged_files_are_made_again(copy, mine_scenes, harm):
    before, part = contents(copy), copy / "peaks" / "part-00002.parquet"
    if harm == "delete":
        part.unlink()
    elif harm == "cut":
        part.write_bytes(part.read_bytes()[:-50])
    else:
        shutil.rmtree(copy / "locations")
    report = explgraph(*mine_scenes, "--out", copy, "--json").json()
    assert report["resumed"] == (3 if harm == "delete locations" else 2)
    assert contents(copy) == before


# Another job


def test_another_job_is_refused_and_told_what_differs(copy, scenes, mine_scenes, tmp_path):
    torch.save(seeded(8).state_dict(), tmp_path / "other.pth")
    before = contents(copy)
    for changes, named in (
        (("--weights", tmp_path / "other.pth"), "weights"),
        (("--layers", TOP), "layers"),
        (("--fit", "letterbox"), "fit"),
        (("--no-mirror",), "mirror"),
        (("--limit", 50), "images"),
        (("--input-size", "40x64"), "input"),
        (("--background", scenes.folder), "background"),
    ):
        line = refused(1, *mine_scenes, *changes, "--out", copy)
        assert (
            f"holds peaks of another job: {named} differ; choose another --out, or --restart"
            in line
        )
    line = refused(1, "mine", scenes.folder, *TINY, "--out", copy)
    assert "images, background differ" in line
    assert contents(copy) == before


def test_restart_throws_the_former_job_away(copy, scenes):
    report = explgraph(
        "mine", scenes.folder, *TINY, "--no-mirror", "--restart", "--out", copy, "--json"
    ).json()
    assert (report["objects"], report["mirrored"], report["parts"]) == (26, 0, 1)
    assert [name for name in files_of(copy) if "part" in name] == [
        "locations/part-00000.parquet",
        "peaks/part-00000.parquet",
    ]
    assert rows(copy, "select count(*) from objects") == [(26,)]
    assert explgraph("show", copy, "--json").json()["objects"] == 26


def test_one_layer_some_objects_and_no_mirror_images(scenes, tmp_path):
    command = (
        "mine",
        scenes.coco,
        *TINY[:2],
        "--layers",
        "features.0",
        "--limit",
        20,
        "--no-mirror",
        "--out",
        tmp_path / "ws",
    )
    report = explgraph(*command, "--json").json()
    assert (report["objects"], report["edges"], report["mirrored"]) == (20, 0, 0)
    assert list(report["nodes"]) == ["features.0"]
    assert report["nodes"]["features.0"] > 0


def test_a_seed_changes_nothing_about_peaks_where_every_object_stands_in_for_the_background(
    folder_workspace, scenes, tmp_path
):
    copy = shutil.copytree(folder_workspace, tmp_path / "ws")
    report = explgraph("mine", scenes.folder, *TINY, "--seed", 5, "--out", copy, "--json").json()
    assert (report["unchanged"], report["resumed"]) == (False, 1)


def test_photographs_of_a_folder_are_numbered_and_taken_whole(folder_workspace, scenes):
    with Store.open(folder_workspace / "graph.db") as store:
        images, objects = store.read_images(), store.read_objects()
    assert [i.path for i in images] == [f"{n:02d}.png" for n in range(26)]
    assert [o.id for o in objects] == list(range(1, 27))
    assert all(o.box == (0, 0, i.width, i.height) for o, i in zip(objects, images, strict=True))


# A workspace of an older version


def test_an_older_database_is_refused_until_the_same_command_brought_it_up_to_date(
    copy, mine_scenes
):
    before = contents(copy)
    run_script(copy / "graph.db", VERSION_4)
    tables = ("files", "part_votes", "part_templates", "part_annotations", "semantic_parts")
    for table in tables:
        ask(copy / "graph.db", f"DROP TABLE {table}")
    ask(copy / "graph.db", "UPDATE schema_version SET version = 2")
    line = refused(1, "show", copy)
    assert "has schema version 2, this explgraph reads 5; run the same 'explgraph mine'" in line
    answer = explgraph(*mine_scenes, "--out", copy)
    assert answer.out.startswith(f"{copy} is complete already, nothing to do\n")
    assert "bring graph.db from schema 2 up to date" in answer.err
    assert explgraph("show", copy).code == 0
    for *_, edge in before["edges"]:
        del edge["co_firing"]  # which version 2 did not know
    assert contents(copy) == before
