"""Whenever a command is killed: the workspace is well, and the same command gives its result."""

import json
import os
import random
import shutil
import sys
from dataclasses import replace

import pytest
from builders.commands import contents, explgraph
from builders.kills import killed_at

from explgraph.queries import check_workspace
from explgraph_storage import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")

ALL = os.environ.get("EXPLGRAPH_FUZZ") == "all"
KILLS = 25 if ALL else 1  # of each command
RANDOM = random.Random(0)
SHARES = [(i + RANDOM.random()) / KILLS for i in range(KILLS)]
MOVED = "moved"

# {ws}: the workspace, {out}: a folder of each run. The name is that of the result.
COMMANDS = {
    "places.parquet": "locate {ws} {folder} --out {out}/places.parquet --draw {out}/d --quiet",
    "fit": "part fit {ws} --name tail --annotations {coco} --ids 1000,1021,1028 --landmark head",
    "fit again": "part fit {ws} --name head --annotations {coco} --ids 1007 --add",
    "remove": "part remove {ws} --name head",
    "head.json": (
        "part locate {ws} {coco} --limit 20 --name head --format coco --out {out}/head.json --quiet"
    ),
    "few.parquet": (
        "evaluate {ws} --dataset {coco} --few-shot {splits} --out {out}/few.parquet --json"
    ),
    "relocate": f"relocate {{ws}} --images {{out}}/{MOVED}",
    "repair": "check {ws} --repair --device cpu --quiet",
}


@pytest.fixture(scope="module")
def whole(scenes, workspace, tmp_path_factory):
    """A workspace with a semantic part, and the splits of an evaluation."""
    root = tmp_path_factory.mktemp("kills")
    folder = shutil.copytree(workspace, root / "ws")
    marks = ("--annotations", scenes.coco, "--ids", "1000,1021")
    assert explgraph("part", "fit", folder, "--name", "head", *marks).code == 0
    ids = [one["id"] for one in json.loads(scenes.coco.read_text())["annotations"]]
    splits = [{"split": 0, "part": "head", "fit": ids[:3], "test": ids[3:30]}]
    (root / "splits.json").write_text(json.dumps(splits))
    return root


def prepared(name, whole, scenes, folder):
    """A run's own workspace, folder and command."""
    folder.mkdir()
    workspace, out = shutil.copytree(whole / "ws", folder / "ws"), folder / "out"
    out.mkdir()
    if name == "relocate":
        shutil.copytree(scenes.coco.parent, out / MOVED)
    if name == "repair":
        (workspace / "locations" / "part-00000.parquet").unlink()
        (workspace / "peaks" / "part-00001.parquet").write_bytes(b"scrap")
    given = {"ws": workspace, "out": out, "folder": scenes.folder, "coco": scenes.coco}
    words = COMMANDS[name].split()
    return [word.format(**given, splits=whole / "splits.json") for word in words]


def parts(folder):
    with Store.open(folder / "ws" / "graph.db") as store:
        return [replace(part, fitted_at="") for part in store.read_semantic_parts()]


def results(folder):
    """What a run left, without the temporary files of one that was killed."""
    out = folder / "out"
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name[0] != "."]
    written = {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
    with Store.open(folder / "ws" / "graph.db") as store:
        jobs = [run.config["job"]["source"] for run in store.read_runs() if run.status != "failed"]
    places = [job.replace(str(folder), "") for job in jobs]
    return {"files": written, "parts": parts(folder), "places": places[-1:]}


@pytest.fixture(scope="module")
def runs(whole, scenes, tmp_path_factory):
    """Of each command its runs, the first of which was not killed, and how many moments it had."""
    root, groups = tmp_path_factory.mktemp("runs"), {}
    for i, name in enumerate(COMMANDS):
        folders = [root / f"{i}-{k}" for k in range(KILLS + 1)]
        groups[name] = [(folder, prepared(name, whole, scenes, folder)) for folder in folders]
    moments = killed_at(SHARES, [[command for _, command in runs] for runs in groups.values()])
    return {name: (runs, many) for (name, runs), many in zip(groups.items(), moments, strict=True)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_harms_nothing_and_can_be_given_again(name, runs, whole):
    ((finished, _), *killed), moments = runs[name]
    assert moments > 5
    before = parts(whole)
    expected, mined = results(finished), contents(whole / "ws")
    for (folder, command), share in zip(killed, SHARES, strict=True):
        left = results(folder)
        for file, content in left["files"].items():
            assert content == expected["files"][file], (share, file)
        assert left["parts"] in (before, expected["parts"]), share
        found = check_workspace(folder / "ws")
        wrong = [one for one in found.findings if one.state not in ("well", "not hashed")]
        if name != "repair":
            assert not wrong, (share, wrong)
        again = explgraph(*command)
        # What is removed already cannot be removed again.
        if not (name == "remove" and left["parts"] == expected["parts"]):
            assert again.code == 0, (share, again.err)
        assert check_workspace(folder / "ws").well, share
        if name == "fit again" and left["parts"] == expected["parts"]:
            continue  # the marks are there already, and are added to
        assert results(folder) == expected, share
        assert contents(folder / "ws") == mined, share
