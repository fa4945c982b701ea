"""Photographs may be called anything: names neither forge lines nor end a command."""

import re
import shutil
import unicodedata

import pytest
from builders.commands import TINY, explgraph
from builders.real import ROOT

FORGED = "explgraph: error: disk full"
NAMES = (
    f"a\n{FORGED}.png",
    "b\x1b[2J\x1b[31mred.png",
    "c\u202egnp.exe.png",
    "d\r[ 99.0 s] done.png",
    "e\x85\u2028f.png",
    "größer 斑馬\u3000.png",
)
STEERING = ("Cc", "Cf", "Zl", "Zp", "Cs")


@pytest.fixture(scope="module")
def odd(scenes, tmp_path_factory):
    """A folder of photographs with such names, and of files that are none."""
    folder = tmp_path_factory.mktemp("odd")
    photos = sorted(scenes.folder.iterdir())
    for number in range(14):
        name = NAMES[number] if number < len(NAMES) else f"{number}.png"
        shutil.copy(photos[number], folder / name)
    (folder / f"x\n{FORGED}.png").write_text("no image")
    (folder / "y\x1b[2J.txt").write_text("no image")
    return folder


def check(answer):
    assert answer.code == 0, answer.err
    lines = (answer.out + answer.err).split("\n")
    assert not any(unicodedata.category(one) in STEERING for line in lines for one in line), lines
    assert not any(line.startswith(FORGED) for line in lines)
    return answer.out


def test_names_neither_forge_lines_nor_steer_the_terminal(odd, folder_workspace, tmp_path):
    out = check(explgraph("mine", odd, *TINY, "--out", tmp_path / "ws", "--nodes", 1))
    assert r"x\nexplgraph: error: disk full.png" in out
    found = check(explgraph("locate", folder_workspace, odd, "--top", 1, "--draw", tmp_path / "d"))
    assert {line.split("  ")[0] for line in found.splitlines()} >= {
        r"b\x1b[2J\x1b[31mred.png",
        r"c\u202egnp.exe.png",
        "größer 斑馬\u3000.png",
    }
    check(explgraph("show", tmp_path / "ws"))
    images = [odd / name for name in NAMES]
    model = ("--model", "builders.tiny_network:make", "--out", tmp_path / "maps")
    check(explgraph("saliency", *images, odd / f"x\n{FORGED}.png", *model))
    check(explgraph("explain", *images, "--workspace", folder_workspace, "--nodes", 1))


def test_json_has_the_true_names(odd, folder_workspace):
    answer = explgraph("locate", folder_workspace, odd, "--top", 1, "--json").json()
    assert {row["image"] for row in answer["locations"]} >= set(NAMES)


def test_an_error_that_names_such_a_file_is_one_line(tmp_path):
    answer = explgraph("show", tmp_path / f"a\n{FORGED}", "--channel", "a:1")
    assert answer.code == 1
    assert answer.err.count("\n") == 1


def test_all_that_commands_print_passes_one_function():
    for path in (ROOT / "explgraph" / "cli").glob("*.py"):
        printed = re.findall(r"(?<![\w.])print\(", path.read_text(encoding="utf-8"))
        assert len(printed) == (2 if path.name == "printing.py" else 0), path


def test_names_near_the_longest_that_a_disk_takes_end_no_command(
    scenes, folder_workspace, tmp_path
):
    folder = tmp_path / "long"
    folder.mkdir()
    names = ("z" * 251, "z" * 250 + "y", "斑" * 83)
    photos = [shutil.copy(scenes.folder / "04.png", folder / f"{name}.png") for name in names]
    out = tmp_path / "out"
    located = explgraph("locate", folder_workspace, folder, "--draw", out, "--json").json()
    assert len({*located["pictures"]}) == len(names)
    model = ("--model", "builders.tiny_network:make", "--out", out)
    maps = explgraph("integrated-gradients", *photos, *model, "--steps", 2, "--json").json()
    assert len({one["overlay"] for one in maps["results"]}) == len(names)
    why = ("--workspace", folder_workspace, "--nodes", 1, "--out", out)
    assert len(explgraph("explain", *photos, *why, "--json").json()["results"]) == len(names)
    assert len(list(out.iterdir())) == len(names) * (1 + 3 + 2)
