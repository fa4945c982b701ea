"""What a check finds wrong, what it advises, and what it makes whole again."""

import random
import shutil

import pytest
from builders.commands import contents, explgraph, refused, rows
from builders.databases import ask

from explgraph.queries import check_workspace

NET = ("--device", "cpu", "--quiet")


@pytest.fixture
def copy(workspace, tmp_path):
    """A copy of the mined workspace, to be changed."""
    return shutil.copytree(workspace, tmp_path / "ws")


def wrong(folder):
    return {
        one.what: one.state
        for one in check_workspace(folder).findings
        if one.state not in ("well", "not hashed")
    }


def flip(path, seed=0):
    content = bytearray(path.read_bytes())
    content[random.Random(seed).randrange(len(content))] ^= 4
    path.write_bytes(content)


def test_a_mined_workspace_is_well(workspace):
    answer = explgraph("check", workspace)
    assert answer.code == 0, answer.out
    assert answer.out.endswith(f"{workspace} is well\n")
    assert "photographs" in answer.out
    found = explgraph("check", workspace, "--json").json()
    assert found["well"]
    assert {one["state"] for one in found["findings"]} == {"well"}
    # A network that is made by a factory has no file of weights.
    assert [one["what"] for one in found["findings"]] == [
        "database", "runs", "objects", "hashes", "graph", "best places", "semantic parts", "peaks",
        "deviations", "locations", "photographs", "annotations",
    ]  # fmt: skip


def gone(pattern):
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def flipped(pattern):
    return lambda folder: [flip(path) for path in folder.glob(pattern)]


def said(statement):
    return lambda folder: ask(folder / "graph.db", statement)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (gone("locations/*"), {"locations": "missing"}),
        (flipped("locations/*"), {"locations": "damaged"}),
        (flipped("peaks/unit-std-*"), {"deviations": "damaged"}),
        (gone("peaks/unit-std-*"), {"deviations": "missing"}),
        (flipped("peaks/part-00002*"), {"peaks": "damaged"}),
        (gone("peaks/part-*"), {"peaks": "missing"}),
        (said("DELETE FROM top_places WHERE rank = 1"), {"best places": "damaged"}),
        (said("UPDATE nodes SET std = 'wide' WHERE id = 3"), {"graph": "damaged"}),
        (said("UPDATE nodes SET std = std * 2 WHERE id = 3"), {"graph": "damaged"}),
        (said("DROP TABLE skipped"), {"objects": "damaged"}),
        (said("UPDATE files SET sha256 = x'00'"), {"hashes": "damaged"}),
    ],
)
def test_damage_is_found_and_repaired(copy, workspace, damage, expected):
    damage(copy)
    if expected.keys() != {"hashes"}:
        assert expected.items() <= wrong(copy).items()
    answer = explgraph("check", copy)
    assert answer.code == 1
    assert f"remedy: explgraph check {copy} --repair" in answer.out
    assert answer.out.endswith("is not well\n")
    found = explgraph("check", copy, "--repair", *NET, "--json").json()
    assert found["well"]
    assert expected.keys() <= set(found["repaired"])
    assert contents(copy) == contents(workspace)


def test_a_database_that_cannot_be_read_is_set_aside(copy, workspace, mine_scenes):
    (copy / "graph.db").write_bytes(b"scrap" * 1000)
    assert wrong(copy) == {"database": "damaged"}
    line = refused(1, "check", copy, "--repair", "--quiet")
    assert "run the same 'explgraph mine' command again" in line
    assert (copy / "graph.db.damaged").read_bytes() == b"scrap" * 1000
    assert explgraph(*mine_scenes, "--out", copy).code == 0
    assert contents(copy) == contents(workspace)
    assert wrong(copy) == {}


def test_a_damaged_page_is_found_where_questions_pass_it_by(copy):
    content = bytearray((copy / "graph.db").read_bytes())
    root = rows(copy, "SELECT rootpage FROM sqlite_master WHERE name = 'edges_by_upper'")[0][0]
    content[(root - 1) * 4096 : root * 4096] = bytes(4096)
    (copy / "graph.db").write_bytes(content)
    assert wrong(copy)["database"] == "damaged"
    found = explgraph("check", copy, "--repair", *NET, "--json").json()
    assert found["well"], found
    assert (copy / "graph.db.damaged").exists()


def test_changed_and_missing_photographs_are_named(scenes, mine_scenes, tmp_path):
    photos = shutil.copytree(scenes.coco.parent, tmp_path / "photos")
    coco = photos / scenes.coco.name
    command = [coco if one == scenes.coco else one for one in mine_scenes]
    assert explgraph(*command, "--out", tmp_path / "ws").code == 0
    first, second = sorted(photos.glob("*.png"))[:2]
    flip(first)
    second.unlink()
    (one,) = [one for one in check_workspace(tmp_path / "ws").findings if one.remedy]
    assert (one.what, one.state) == ("photographs", "changed")
    assert first.name in one.said
    assert f"{second.name} is missing" in one.said
    assert "explgraph relocate" in one.remedy
    coco.write_text(coco.read_text() + " ")
    assert set(wrong(tmp_path / "ws")) == {"photographs", "annotations"}


def test_a_workspace_without_hashes_is_well_and_says_so(copy):
    ask(copy / "graph.db", "DELETE FROM files")
    states = {one.what: one.state for one in check_workspace(copy).findings}
    assert {what for what, state in states.items() if state == "not hashed"} == {
        "graph", "deviations", "locations", "photographs",
    }  # fmt: skip
    assert explgraph("check", copy).code == 0


def test_a_folder_that_is_no_workspace_is_an_error(tmp_path):
    assert "is not a workspace" in refused(1, "check", tmp_path)


def test_a_job_that_was_broken_off_is_mined_on(copy, workspace):
    ask(copy / "graph.db", "UPDATE runs SET status = 'failed'")
    assert wrong(copy) == {"mining": "missing"}
    assert explgraph("check", copy, "--repair", *NET, "--json").json()["repaired"] == ["mining"]
    assert contents(copy) == contents(workspace)
