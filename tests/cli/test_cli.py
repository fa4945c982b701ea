"""The command line as a whole: streams and exit codes."""

import json

import pytest
from builders.commands import TINY, explgraph, refused

from explgraph import __version__


def test_without_a_command_there_is_help_and_exit_code_2():
    answer = explgraph()
    assert answer.code == 2
    assert "explgraph demo" in answer.out


def test_help_and_version_are_results():
    assert explgraph("--version").out == f"explgraph {__version__}\n"
    answer = explgraph("mine", "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "explgraph mine photos/ --out ws --model resnet50" in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mien",), "invalid choice: 'mien'"),
        (("mine", "photos"), "required: --out, --model"),
        (
            ("mine", "photos", *TINY, "--out", "ws", "--batch-size", "0"),
            "must be a whole number of at least 1, got '0'",
        ),
        (
            ("mine", "photos", *TINY, "--out", "ws", "--nodes", "many"),
            "must be a whole number of at least 1, got 'many'",
        ),
        (("mine", "photos", *TINY, "--out", "ws", "--input-size", "12x"), "12x"),
        (("show", "ws", "--node", "a:1:1", "--channel", "a:1"), "not allowed with"),
        (("export", "ws", "--format", "pdf", "--out", "x"), "invalid choice: 'pdf'"),
    ],
)
def test_misuse_that_the_parser_sees_ends_with_2(arguments, words):
    answer = explgraph(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_progress_goes_to_stderr_in_plain_lines_and_results_to_stdout(folder_workspace, scenes):
    answer = explgraph("locate", folder_workspace, scenes.folder, "--json")
    assert json.loads(answer.out)["objects"] == 26
    lines = answer.err.splitlines()
    assert lines[-1].endswith("] locate 26/26")
    assert all(line.startswith("[") and line.count("\x1b") == 0 for line in lines)
    assert len(lines) <= 6


def test_quiet_prints_no_progress(folder_workspace, scenes):
    assert explgraph("locate", folder_workspace, scenes.folder, "--quiet").err == ""


def test_on_a_terminal_there_are_bars_and_stdout_stays_clean(folder_workspace, scenes, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal then
    answer = explgraph("locate", folder_workspace, scenes.folder, "--json")
    assert json.loads(answer.out)["objects"] == 26
    assert "26/26" in answer.err
    assert "\x1b[" in answer.err


def test_no_workspace_is_said_with_a_remedy(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "missing", tmp_path / "empty"):
        for question in (
            ("show",),
            ("locate", "photos"),
            ("evaluate", "--dataset", "x.json"),
            ("export", "--format", "dot", "--out", "x"),
        ):
            line = refused(
                1,
                question[0],
                folder,
                *(tmp_path if part == "photos" else part for part in question[1:]),
            )
            assert (
                "no image in" in line
                or f"{folder} is not a workspace (no graph.db in it); 'explgraph mine SOURCE --out"
                in line
            )
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


@pytest.mark.parametrize(
    ("code", "kind", "arguments"),
    [
        (1, "WorkspaceError", ("show", "{folder}/none")),
        (1, "SourceError", ("mine", "{folder}/none", *TINY, "--out", "{folder}/ws", "--quiet")),
        (2, "UsageError", ("show", "{folder}", "--channel", "a")),
        (2, "UsageError", ("show", "{folder}", "--top", "many")),
        (2, "UsageError", ("mien",)),
        (2, "UsageError", ("export", "ws", "--format", "pdf", "--out", "x")),
    ],
)
def test_errors_under_json_are_one_json_object_on_stdout(workspace, code, kind, arguments):
    folder = workspace if "--channel" in arguments else workspace.parent
    answer = explgraph(*(word.format(folder=folder) for word in arguments), "--json")
    assert answer.code == code
    error = json.loads(answer.out)["error"]
    assert (error["type"], error["exit_code"]) == (kind, code)
    # People who look at stderr see the same.
    assert answer.err.splitlines()[-1] == f"explgraph: error: {error['message']}"


def test_an_interrupt_under_json_is_json_too(workspace, monkeypatch):
    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("explgraph.workspace.Workspace.__enter__", interrupted)
    answer = explgraph("show", workspace, "--json")
    assert answer.code == 130
    error = json.loads(answer.out)["error"]
    assert (error["type"], error["exit_code"]) == ("KeyboardInterrupt", 130)
    assert error["message"].startswith("interrupted; what is finished is kept")
