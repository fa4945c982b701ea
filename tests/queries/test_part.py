"""`explgraph part fit`, `list`, `show`, `suggest`, `remove`; bad input leaves no trace."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from builders.commands import explgraph, refused, rows
from builders.parts import IDS, located

from explgraph.errors import WorkspaceError
from explgraph.queries.part_records import part_of_nodes, read_part, to_part, to_record
from explgraph.workspace import Workspace
from explgraph_storage import Store

TABLES = ("semantic_parts", "part_annotations", "part_templates", "part_votes")


def test_what_is_stored_locates_as_what_was_fitted(fitted, scenes):
    with Workspace(fitted) as workspace:
        known, record = workspace.known_objects(), read_part(workspace, "head")
    part = to_part(record, known.traits)
    marks = [
        type("M", (), {"object_id": a.object_id, "x": a.x, "y": a.y})() for a in record.annotations
    ]
    again = to_record(part, marks, known.traits)
    assert again.templates == record.templates
    assert again.config == record.config
    assert again.annotations == record.annotations
    assert sum(record.templates[0].weight) == pytest.approx(1)


def test_list_show_and_suggest_tell_what_there_is(fitted, tmp_path):
    listed = explgraph("part", "list", fitted, "--json").json()["parts"]
    assert [(part["name"], part["annotations"]) for part in listed] == [("head", 3), ("leg", 2)]
    shown = explgraph(
        "part",
        "show",
        fitted,
        "--name",
        "head",
        "--top",
        "4",
        "--out",
        tmp_path / "head.png",
        "--json",
    ).json()
    assert [one["object"] for one in shown["annotations"]] == list(IDS)
    assert len(shown["strongest"]) == 4
    assert (tmp_path / "head.png").read_bytes().startswith(b"\x89PNG")
    suggested = explgraph(
        "part", "suggest", fitted, "--name", "head", "--top", "5", "--json"
    ).json()["suggested"]
    assert len({one["object"] for one in suggested} - set(IDS)) == 5
    assert all(0 < one["gain"] < 1 for one in suggested)
    for verb in ("list", "show", "suggest"):
        name = () if verb == "list" else ("--name", "head")
        assert "head" in explgraph("part", verb, fitted, *name).out


def test_a_part_goes_out_with_the_graph(fitted, tmp_path):
    assert (
        explgraph("export", fitted, "--format", "node-link", "--out", tmp_path / "g.json").code == 0
    )
    (head, leg) = json.loads((tmp_path / "g.json").read_text())["graph"]["semantic_parts"]
    assert (head["name"], leg["name"]) == ("head", "leg")
    nodes = {node["id"] for node in json.loads((tmp_path / "g.json").read_text())["nodes"]}
    assert set(head["templates"][0]["nodes"]) <= nodes


def test_marks_in_pixels_do_as_well_as_a_coco_file(ws, fitted, scenes, truth):
    with Workspace(ws) as workspace:
        known = workspace.known_objects()
    at = [f"{known.files[known.position[i]]}:{truth[i][1][0]},{truth[i][1][1]}" for i in IDS]
    assert (
        explgraph("part", "fit", ws, "--name", "head", *(x for a in at for x in ("--at", a))).code
        == 0
    )
    assert located(ws, scenes, "--name", "head") == located(fitted, scenes, "--name", "head")


def test_annotations_are_added_or_replaced_and_a_part_is_removed(ws, scenes):
    fit = lambda *more: explgraph("part", "fit", ws, "--name", "head", *more)
    assert fit("--annotations", scenes.coco, "--ids", "1000").code == 0
    assert fit("--annotations", scenes.coco, "--ids", "1007", "--add").code == 0
    assert rows(ws, "select object_id from part_annotations order by id") == [(1000,), (1007,)]
    other = ("--annotations", scenes.coco, "--ids", "1049")
    assert fit(*other, "--replace").code == 0
    assert rows(ws, "select object_id from part_annotations") == [(1049,)]
    assert "not allowed with" in fit(*other, "--replace", "--add").err
    assert "has no annotation" in fit("--replace").err
    assert explgraph("part", "remove", ws, "--name", "head").out == "removed head\n"
    assert all(rows(ws, f"select count(*) from {table}") == [(0,)] for table in TABLES)
    assert explgraph("part", "list", ws).out.endswith("has no parts\n")


def test_marks_are_never_dropped_in_silence(ws, scenes):
    fit = lambda *at: explgraph(
        "part", "fit", ws, "--name", "nose", *(word for one in at for word in ("--at", one))
    )
    first, second = "scene-00.png:20,30", "scene-01.png:22,31"
    assert fit(first).code == 0
    stored = rows(ws, "select * from part_annotations")
    answer = fit(second)
    assert (answer.code, answer.out) == (2, "")
    assert "'nose' has marks that these would drop (objects 1000)" in answer.err
    assert "--add keeps them, --replace drops them" in answer.err
    assert fit("scene-00.png:21,30").code == 2
    assert rows(ws, "select * from part_annotations") == stored
    # The same command again, and one with more marks, drop none.
    assert fit(first).code == 0
    assert fit(second, first).code == 0
    assert len(rows(ws, "select * from part_annotations")) == 2


def test_a_new_graph_keeps_the_annotations_and_asks_to_fit_again(ws, scenes):
    assert (
        explgraph(
            "part", "fit", ws, "--name", "head", "--annotations", scenes.coco, "--ids", "1000,1007"
        ).code
        == 0
    )
    before = located(ws, scenes, "--name", "head")
    with Store.open(ws / "graph.db", mode="write") as store:
        facings = {o.id: bool(o.mirrored) for o in store.read_objects()}
        store.save_graph(store.load_graph(), facings=facings, unit_std=store.load_unit_std())
    answer = explgraph("part", "locate", ws, "--name", "head", scenes.coco)
    assert answer.code == 1
    assert "mined anew" in answer.err
    assert "part fit" in answer.err
    assert (
        explgraph("part", "list", ws, "--json")
        .json()["parts"][0]["fitted"]
        .startswith("mined anew")
    )
    assert explgraph("part", "fit", ws, "--name", "head").code == 0
    assert located(ws, scenes, "--name", "head") == before


MISUSE = [
    (("--annotations", "COCO", "--ids", "5"), "no annotation with id 5"),
    (("--annotations", "COCO"), "--ids go together"),
    (("--ids", "1000"), "--ids go together"),
    (
        ("--annotations", "COCO", "--ids", "1000", "--landmark", "tail"),
        "no landmark 'tail'; it has head, leg",
    ),
    (("--at", "nowhere.png:5,5"), "'nowhere.png' is not in the workspace"),
    (("--at", "scene-00.png:400,5"), "lies in no object's box"),
    (("--at", "scene-00.png"), "IMAGE:x,y"),
    (("--at", "scene-00.png:a,b"), "IMAGE:x,y"),
    (("--at", "scene-00.png:nan,5"), "IMAGE:x,y"),
    ((), "has no annotation"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), MISUSE, ids=lambda x: "-".join(x) if isinstance(x, tuple) else ""
)
def test_misuse_is_one_clear_line_and_leaves_nothing_behind(ws, scenes, arguments, message):
    assert (
        explgraph(
            "part", "fit", ws, "--name", "leg", "--annotations", scenes.coco, "--ids", "1000"
        ).code
        == 0
    )
    before = [rows(ws, f"select * from {table}") for table in TABLES]
    given = [scenes.coco if a == "COCO" else a for a in arguments]
    answer = explgraph("part", "fit", ws, "--name", "head", *given)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert [rows(ws, f"select * from {table}") for table in TABLES] == before


def test_conflicting_landmarks_outside_the_box_and_unknown_objects_are_refused(
    ws, scenes, truth, tmp_path
):
    with Workspace(ws) as workspace:
        known = workspace.known_objects()
    i = IDS[0]
    (x, y, _, _), (hx, hy), _ = truth[i]
    image = known.files[known.position[i]]
    both = ("--annotations", scenes.coco, "--ids", i, "--at", f"{image}:{hx + 2},{hy}")
    assert "marked twice" in explgraph("part", "fit", ws, "--name", "head", *both).err
    same = ("--annotations", scenes.coco, "--ids", i, "--at", f"{image}:{hx},{hy}")
    assert explgraph("part", "fit", ws, "--name", "twice", *same, "--landmark", "head").code == 0
    data = json.loads(scenes.coco.read_text())
    data["annotations"][0]["keypoints"][:2] = [x - 30, y]
    data["annotations"].append({**data["annotations"][1], "id": 77})
    changed = tmp_path / scenes.coco.name
    changed.write_text(json.dumps(data))
    for picture in scenes.coco.parent.glob("*.png"):
        (tmp_path / picture.name).symlink_to(picture)
    fit = lambda ids: explgraph(
        "part", "fit", ws, "--name", "head", "--annotations", changed, "--ids", ids
    )
    assert "outside of its box" in fit(i).err
    assert "object 77 is not in the workspace" in fit(77).err
    assert rows(ws, "select name from semantic_parts") == [("twice",)]


def test_questions_about_parts_that_are_not_there_are_misuse(fitted, scenes, tmp_path):
    for command in (
        ("locate", fitted, "--name", "tail", scenes.coco),
        ("show", fitted, "--name", "tail"),
        ("suggest", fitted, "--name", "tail"),
        ("remove", fitted, "--name", "tail"),
    ):
        answer = explgraph("part", *command)
        assert answer.code == 2, command
        assert "no part 'tail'; it has head, leg" in answer.err
    assert (
        "--joint needs two"
        in explgraph("part", "locate", fitted, "--name", "head", scenes.coco, "--joint").err
    )
    for option in (("--format", "csv"), ("--image-prefix", "https://host/")):
        question = ("part", "locate", fitted, "--name", "head", scenes.coco, *option)
        assert "the file of --out" in explgraph(*question).err
    for out in ("places.txt", "nowhere/places.csv"):
        assert (
            explgraph(
                "part", "locate", fitted, "--name", "head", scenes.coco, "--out", tmp_path / out
            ).code
            == 2
        )
    assert list(tmp_path.iterdir()) == []
    assert explgraph("part", "fit", fitted, "--name", " ", "--at", "a:1,1").code == 2
    assert explgraph("part").code == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE semantic_parts SET config = '{\"speed\": 3}'", "settings as numbers above 0"),
        ("UPDATE semantic_parts SET config = '{\"reach\": -1}'", "settings as numbers above 0"),
        ("UPDATE semantic_parts SET contrast = 0", "a contrast of 0.001 to 2, got 0"),
        ("UPDATE part_annotations SET object_id = 99", "marks on objects of the workspace"),
        ("DELETE FROM part_votes WHERE rank = 2 AND annotation_id = 1", "weights that sum to 1"),
        ("DELETE FROM part_votes", "the same nodes in every template"),
        ("UPDATE part_templates SET pose = x'' WHERE annotation_id = 1", "poses of one length"),
        ("UPDATE part_votes SET weight = 2 * weight", "weights that sum to 1, got 2"),
        ("UPDATE part_votes SET d_row = 1e200", "fractions of the input as places"),
    ],
)
def test_a_damaged_part_is_refused_in_words_and_can_be_removed(fitted, tmp_path, change, said):
    folder = shutil.copytree(fitted, tmp_path / "ws")
    with closing(sqlite3.connect(folder / "graph.db", isolation_level=None)) as connection:
        key = connection.execute("SELECT min(id) FROM part_annotations").fetchone()[0]
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("DELETE FROM semantic_parts WHERE name != 'head'")
        change = change.replace("= 99", f"= 99 WHERE id = {key}")
        connection.execute(change.replace("annotation_id = 1", f"annotation_id = {key}"))
    name = ("--name", "head")
    for ask in ("show", "suggest"):
        assert said in refused(1, "part", ask, folder, *name)
    with Workspace(folder) as workspace, pytest.raises(WorkspaceError, match="fit the part again"):
        part_of_nodes(workspace)
    assert explgraph("part", "remove", folder, *name).code == 0
