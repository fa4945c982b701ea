"""Disks that are full or read-only, and files that are there already."""

import json
import subprocess

import pytest
from builders.commands import TINY, explgraph

FULL, READ_ONLY = "make room", "Read-only file system; "
NETWORK = ("--model", "builders.tiny_network:make")

COMMANDS = [
    ("mine", "{folder}", *TINY, "--out", "{disk}/ws"),
    ("locate", "{workspace}", "{folder}", "--out", "{disk}/a.csv"),
    ("locate", "{workspace}", "{folder}", "--out", "{disk}/a.parquet"),
    ("locate", "{workspace}", "{folder}", "--out", "{disk}/a.json"),
    ("locate", "{workspace}", "{folder}", "--draw", "{disk}/pictures"),
    ("export", "{workspace}", "--format", "node-link", "--out", "{disk}/a.json"),
    ("export", "{workspace}", "--format", "parquet", "--out", "{disk}/a.parquet"),
    ("show", "{workspace}", "--out", "{disk}/a.png"),
    ("saliency", "{photo}", *NETWORK, "--out", "{disk}/maps"),
    ("explain", "{photo}", "--workspace", "{workspace}", "--nodes", "2", "--out", "{disk}/why"),
]


@pytest.fixture
def disk(tmp_path):
    """A file system of its own; call it with a number of bytes, or None for a read-only one."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size):
        options = "ro" if size is None else f"size={size}"
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True
        )
        if made.returncode:
            pytest.skip("needs the right to mount")
        return place

    yield mount
    # Lazily: a database that could not be made may still be held open.
    subprocess.run(["umount", "-l", place], capture_output=True)


@pytest.mark.parametrize("size", [12288, None], ids=["full", "read-only"])
@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: f"{line[0]} {line[-1]}")
def test_a_disk_that_takes_nothing_is_named_with_a_remedy(line, size, disk, workspace, scenes):
    place = disk(size)
    names = {"workspace": workspace, "folder": scenes.folder, "photo": scenes.folder / "04.png"}
    answer = explgraph(*(word.format(**names, disk=place) for word in line))
    error = answer.err.splitlines()[-1]
    assert answer.code == 1, answer
    assert error.startswith("explgraph: error: ")
    assert str(place) in error
    assert (FULL if size else READ_ONLY) in error
    if line[0] != "mine":  # whose finished steps are kept
        assert not [one for one in place.rglob("*") if one.is_file()]


def test_files_that_are_replaced_are_named(workspace, scenes, tmp_path):
    locate = ("locate", workspace, scenes.folder, "--quiet", "--out", tmp_path / "a.csv")
    said = f"replaced {tmp_path / 'a.csv'}\n"
    assert "replaced" not in explgraph(*locate).err
    assert explgraph(*locate).err.endswith(said)
    maps = ("saliency", scenes.folder / "04.png", *NETWORK, "--quiet", "--out", tmp_path / "maps")
    assert explgraph(*maps).err == ""
    again = explgraph(*maps, "--json")
    first = tmp_path / "maps" / "04.saliency.png"
    assert again.err == f"replaced {first} and 2 more files\n"
    assert json.loads(again.out)["results"]
