"""Progress shows where it can be seen."""

import pytest

from explgraph import progress
from explgraph.progress import ProgressReport


class Notebook:
    is_terminal, is_jupyter = False, True


@pytest.mark.parametrize("installed", [True, False])
def test_a_notebook_has_bars_where_ipywidgets_draws_them(monkeypatch, installed):
    monkeypatch.setattr(progress, "find_spec", lambda name: object() if installed else None)
    assert progress._shows_bars(Notebook()) == installed


def test_elsewhere_each_quarter_of_a_stage_is_a_line(capsys):
    with ProgressReport() as report:
        for done in range(101):
            report("extract", done, 100)
        report("store", 0, 0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("] ")[1] for line in lines] == [
        "extract 0/100",
        "extract 25/100",
        "extract 50/100",
        "extract 75/100",
        "extract 100/100",
        "store",
    ]


def test_quiet_is_quiet(capsys):
    with ProgressReport(quiet=True) as report:
        report("extract", 1, 2)
    assert capsys.readouterr().err == ""
