"""Photographs, COCO file and weights that moved are found again, if they are what was mined."""

import shutil

import pytest
import torch
from builders.commands import explgraph, refused
from builders.databases import ask
from builders.tiny_network import make, seeded

from explgraph.queries import check_workspace, draw_nodes, relocate_workspace
from explgraph.workspace import Workspace


@pytest.fixture
def photos(scenes, tmp_path):
    """The photographs with their COCO file, at a place of their own."""
    return shutil.copytree(scenes.coco.parent, tmp_path / "photos")


@pytest.fixture
def command(photos, mine_scenes, scenes, tmp_path):
    """What mined the workspace, with weights from a file."""
    torch.save(make().state_dict(), tmp_path / "weights.pth")
    given = [photos / scenes.coco.name if one == scenes.coco else one for one in mine_scenes]
    return [*given, "--weights", tmp_path / "weights.pth", "--out", tmp_path / "ws"]


@pytest.fixture
def mined(command, tmp_path):
    assert explgraph(*command).code == 0
    return tmp_path / "ws"


@pytest.fixture
def moved(mined, photos, tmp_path):
    """Where all that was mined has moved."""
    (tmp_path / "weights.pth").rename(tmp_path / "other.pth")
    return photos.rename(tmp_path / "elsewhere")


def draws(workspace, out):
    with Workspace(workspace) as opened:
        draw_nodes(opened, list(opened.graph)[:1], out / "a.png")
        opened.network()
    return True


def test_what_has_moved_is_read_from_there(mined, moved, scenes, tmp_path):
    line = refused(1, "show", mined, "--out", tmp_path / "a.png")
    assert f"explgraph relocate {mined} --images FOLDER" in line
    assert not check_workspace(mined).well
    answer = explgraph(
        "relocate", mined, "--images", moved, "--weights", tmp_path / "other.pth", "--json"
    ).json()
    assert answer["photographs"] == 46
    assert answer["hashed"]
    assert answer["moved"] == {
        "source": str(moved / scenes.coco.name), "weights": str(tmp_path / "other.pth"),
    }  # fmt: skip
    assert draws(mined, tmp_path)
    assert check_workspace(mined).well
    with Workspace(mined) as opened:
        assert opened.known_objects().root == moved


def test_mining_at_the_new_place_says_what_to_do(mined, moved, command, scenes, tmp_path):
    other = {"weights.pth": tmp_path / "other.pth", scenes.coco.name: moved / scenes.coco.name}
    there = [other.get(getattr(one, "name", None), one) for one in command]
    answer = explgraph(*there)
    assert answer.code == 0
    assert "complete already" not in answer.out
    line = f"explgraph relocate {mined} --source {moved / scenes.coco.name} --weights "
    assert line in answer.out
    (advised,) = [one for one in answer.out.splitlines() if "explgraph relocate" in one]
    assert explgraph(*advised.split()[1:]).code == 0
    assert "is complete already" in explgraph(*there).out
    assert draws(mined, tmp_path)


def change(photos):
    path = sorted(photos.glob("*.png"))[3]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    return path.name


def remove(photos):
    path = sorted(photos.glob("*.png"))[3]
    path.unlink()
    return path.name


def relabel(photos):
    (path,) = photos.glob("*.json")
    path.write_text(path.read_text() + "\n")
    return path.name


@pytest.mark.parametrize("damage", [change, remove, relabel])
def test_what_differs_is_refused_by_name_and_nothing_is_changed(mined, moved, damage):
    name = damage(moved)
    line = refused(1, "relocate", mined, "--images", moved)
    assert f"does not hold what {mined} was mined from" in line
    assert name in line
    with Workspace(mined) as opened:
        assert opened.job.root != moved
        assert len(opened.store.read_runs()) == 1


def test_without_hashes_names_sizes_and_boxes_decide(mined, moved):
    ask(mined / "graph.db", "DELETE FROM files")
    assert not relocate_workspace(mined, images=moved).hashed
    ask(mined / "graph.db", "DELETE FROM files")
    path = sorted(moved.glob("*.png"))[3]
    path.write_bytes(path.read_bytes() + b" ")
    assert "has other objects, or files of other sizes" in refused(
        1, "relocate", mined, "--images", moved
    )


def test_one_photograph_more_is_refused(folder_workspace, scenes, tmp_path):
    copy = shutil.copytree(folder_workspace, tmp_path / "ws")
    there = shutil.copytree(scenes.folder, tmp_path / "photos")
    assert relocate_workspace(copy, images=there).moved == {"source": str(there)}
    shutil.copy(there / "04.png", there / "000.png")
    assert "000.png was not mined" in refused(1, "relocate", copy, "--images", there)


def test_other_weights_are_refused_and_another_format_is_not(mined, tmp_path):
    from safetensors.torch import save_file

    torch.save(seeded(8).state_dict(), tmp_path / "wrong.pth")
    assert "holds other weights" in refused(
        1, "relocate", mined, "--weights", tmp_path / "wrong.pth"
    )
    save_file(make().state_dict(), tmp_path / "same.safetensors")
    there = tmp_path / "same.safetensors"
    assert relocate_workspace(mined, weights=there).moved == {"weights": str(there)}
    assert check_workspace(mined).well


def test_it_must_be_said_what_has_moved(mined):
    assert "say what has moved" in refused(2, "relocate", mined)
