"""After kills, Ctrl-C, a second writer a job goes on, and ends as one never disturbed."""

import json
import shutil
import signal
import sys

import pytest
from builders.commands import TINY, contents, explgraph, files_of, killed, refused

from explgraph.progress import ProgressReport
from explgraph_storage import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


@pytest.fixture
def at(monkeypatch):
    """Give a function that has something done once, when a stage of a job has done that much."""

    def arrange(stage, count, action):
        shown, pending = ProgressReport.__call__, [action]

        def report(self, name, done, total):
            shown(self, name, done, total)
            if name == stage and done >= count and pending:
                pending.pop()()

        monkeypatch.setattr(ProgressReport, "__call__", report)

    return arrange


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """A shell starts background jobs with Ctrl-C ignored, and the tests would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def statuses(workspace):
    with Store.open(workspace / "graph.db") as store:
        return [run.status for run in store.read_runs()]


def test_a_job_that_was_killed_again_and_again_ends_as_one_that_never_was(
    workspace, mine_scenes, tmp_path
):
    command = (*mine_scenes, "--out", tmp_path / "ws")
    killed(
        [
            ("background", 1),
            ("extract", 100),
            ("extract", 130),
            ("mine features.2: mixtures", 0),
            ("locations", 1),
            ("store", 0),
        ],
        *command,
    )
    assert "has no graph yet; run the same 'explgraph mine' command again" in refused(
        1, "locate", tmp_path / "ws", mine_scenes[1]
    )
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "ws" / "peaks").iterdir()}
    report = explgraph(*command, "--json").json()
    assert (report["resumed"], report["parts"]) == (3, 3)
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    assert statuses(tmp_path / "ws") == ["failed"] * 6 + ["finished"]
    assert contents(tmp_path / "ws") == contents(workspace)
    assert files_of(tmp_path / "ws") == files_of(workspace)


@pytest.mark.parametrize(
    ("stage", "count", "resumed"),
    [("background", 1, 0), ("extract", 130, 1), ("mine features.4: mixtures", 0, 3)],
)
def test_ctrl_c_leaves_a_workspace_that_can_go_on(
    workspace, mine_scenes, tmp_path, at, stage, count, resumed
):
    at(stage, count, press_ctrl_c)
    command = (*mine_scenes, "--batch-size", 8, "--out", tmp_path / "ws")
    answer = explgraph(*command, "--quiet")
    assert (answer.code, answer.out) == (130, "")
    assert (
        answer.err
        == "explgraph: interrupted; what is finished is kept, the same command goes on from there\n"
    )
    assert statuses(tmp_path / "ws") == ["failed"]
    assert explgraph(*command, "--json").json()["resumed"] == resumed
    assert contents(tmp_path / "ws") == contents(workspace)
    assert files_of(tmp_path / "ws") == files_of(workspace)


def test_ctrl_c_while_mining_anew_leaves_the_former_graph_to_be_asked(
    workspace, mine_scenes, tmp_path, at
):
    copy = shutil.copytree(workspace, tmp_path / "ws")
    at("mine features.2: mixtures", 0, press_ctrl_c)
    assert explgraph(*mine_scenes, "--nodes", 2, "--out", copy).code == 130
    assert contents(copy) == contents(workspace)
    assert explgraph("show", copy, "--json").json()["objects"] == 138


def test_a_workspace_whose_job_is_replaced_by_an_unfinished_one_answers_nothing(
    workspace, scenes, tmp_path, at
):
    copy = shutil.copytree(workspace, tmp_path / "ws")
    command = ("mine", scenes.folder, *TINY, "--out", copy)
    at("extract", 5, press_ctrl_c)
    assert explgraph(*command, "--restart").code == 130
    for question in (
        ("show", copy),
        ("evaluate", copy, "--dataset", scenes.coco),
        ("locate", copy, scenes.folder),
    ):
        assert "is being mined anew with --restart and that job has not finished" in refused(
            1, *question
        )
    assert explgraph(*command).code == 0
    assert explgraph("show", copy, "--json").json()["objects"] == 26


def test_a_second_job_on_the_same_workspace_is_refused_and_harms_nothing(
    workspace, mine_scenes, tmp_path, at
):
    command = (*mine_scenes, "--out", tmp_path / "ws")
    seen = []
    at("extract", 60, lambda: seen.append(refused(1, *command)))
    assert explgraph(*command).code == 0
    assert len(seen) == 1
    assert "graph.db is being written by process " in seen[0]
    assert "wait until it ends or stop it" in seen[0]
    assert contents(tmp_path / "ws") == contents(workspace)


def test_a_workspace_can_be_asked_while_it_is_mined_with_other_settings(
    workspace, mine_scenes, tmp_path, at
):
    copy = shutil.copytree(workspace, tmp_path / "ws")
    seen = []
    at("mine features.2: mixtures", 0, lambda: seen.append(explgraph("show", copy, "--json")))
    assert explgraph(*mine_scenes, "--nodes", 2, "--out", copy).code == 0
    assert json.loads(seen[0].out)["nodes"] == len(contents(workspace)["nodes"])
