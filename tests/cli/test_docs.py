"""docs/cli.md says what the command line does."""

import runpy
from pathlib import Path

import pytest
from builders.commands import explgraph
from builders.real import ROOT

SCRIPT = ROOT / "scripts" / "write_cli_docs.py"


@pytest.fixture(scope="module")
def docs():
    return runpy.run_path(str(SCRIPT))["cli_docs"]()


def test_the_page_is_up_to_date(docs):
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == docs, "docs/cli.md is out of date; run python scripts/write_cli_docs.py"


def test_every_command_has_a_section_with_its_options_and_an_example(docs):
    for name in (
        "demo",
        "layers",
        "mine",
        "show",
        "locate",
        "saliency",
        "gradcam",
        "evaluate",
        "export",
        "part fit",
        "part locate",
    ):
        section = docs.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert f"    explgraph {name} " in section.split("Examples:")[1]
        offered = {
            word.strip("[],")
            for word in explgraph(*name.split(), "--help").out.split()
            if word.strip("[],").startswith("--")
        }
        assert all(f"`{option}" in section for option in offered - {"--help"})


def test_every_argument_is_explained(docs):
    rows = [line for line in docs.splitlines() if line.startswith("- `")]
    assert len(rows) > 60
    assert all(row.partition("`: ")[2].strip() for row in rows)


def test_lines_are_at_most_100_columns(docs):
    assert max(map(len, docs.splitlines())) <= 100


def test_the_script_writes_the_page_it_is_asked_for(docs, tmp_path, monkeypatch):
    names = runpy.run_path(str(SCRIPT))
    monkeypatch.setitem(names["main"].__globals__, "PATH", tmp_path / "cli.md")
    monkeypatch.setattr("sys.argv", ["write_cli_docs.py", "--check"])
    assert names["main"]() == 1
    monkeypatch.setattr("sys.argv", ["write_cli_docs.py"])
    assert names["main"]() == 0
    assert Path(tmp_path / "cli.md").read_text(encoding="utf-8") == docs
