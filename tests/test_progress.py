"""Progress shows where it can be seen."""

import itertools
import re
import time
from io import StringIO

import pytest
from rich.console import Console

from explgraph import progress
from explgraph.progress import Pace, ProgressReport


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


@pytest.mark.parametrize(("stage", "total"), [("network", 0), ("extract", 100)])
def test_elsewhere_a_stage_that_says_nothing_is_told_again(capsys, monkeypatch, stage, total):
    monkeypatch.setattr(progress, "SILENCE", 0.05)
    with ProgressReport() as report:
        report(stage, 0, total)
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 10
    assert all(re.fullmatch(rf"\[ *[\d.]+ s\] {stage}( 0/100)?", line) for line in lines)


def test_a_line_says_the_rate_and_the_remaining_time(capsys, monkeypatch):
    now = {"it": 0.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: now["it"])
    report = ProgressReport()
    for done in range(0, 101, 10):
        report("extract", done, 100)
        now["it"] += 5.0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[   0.0 s] extract 0/100"
    assert "[  10.0 s] extract 20/100, 2.0/s, 0:00:40 left" in lines
    assert lines[-1] == "[  50.0 s] extract 100/100"
    times = [float(line[1:8]) for line in lines]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 10.0


def test_the_remaining_time_follows_the_rate():
    pace = Pace(0.0, 0)
    for second in range(1, 101):  # 10 a second
        pace.add(float(second), 10 * second)
    assert pace.left(100.0, 2000) == pytest.approx(100.0)
    for second in range(101, 201):  # 1 a second from here on
        pace.add(float(second), 1000 + second - 100)
    assert pace.rate(200.0) == pytest.approx(1.0)
    assert pace.left(200.0, 2000) == pytest.approx(900.0)
    # Nothing comes any more: it takes longer and longer.
    assert pace.left(260.0, 2000) > 2 * 900


def test_what_an_earlier_run_did_is_no_part_of_the_rate():
    pace = Pace(0.0, 900)
    pace.add(10.0, 910)
    assert pace.left(10.0, 1000) == 90.0


def test_steps_that_take_longer_than_the_window_have_a_rate_too():
    pace = Pace(0.0, 0)
    for step in range(1, 5):
        pace.add(100.0 * step, 16 * step)
    assert pace.left(400.0, 160) == pytest.approx(600.0)
    assert pace.said(400.0, 160) == ("6.2 s each", "0:10:00")


def test_a_fast_stage_does_not_fill_the_memory():
    pace = Pace(0.0, 0)
    for k in range(100_000):
        pace.add(k / 1000, k)
    assert len(pace._samples) < 1000
    assert pace.rate(100.0) == pytest.approx(1000.0, rel=0.01)


@pytest.mark.parametrize("width", [10, 24, 40, 60, 80, 120, 200])
def test_bars_fit_the_terminal_and_keep_the_name_and_what_is_left(width):
    file = StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    bars = progress._new_bars(console)
    pace = Pace(time.monotonic() - 100, 0)
    pace.add(time.monotonic(), 50_000)
    task = bars.add_task("integrated gradients", total=200_000)
    bars.update(task, completed=50_000, pace=pace)
    bars.add_task("bring graph.db from schema 2 up to date", total=None)
    console.print(bars.get_renderable())
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert len(lines) == 2, lines  # nothing is wrapped
    assert all(len(line) < width for line in lines)
    assert lines[0][:3] == "int"[: len(lines[0][:3])]
    if width >= 40:
        assert re.search(r"0:0[45]:\d\d left", lines[0])
    if width >= 60:
        assert "50000/200000" in lines[0]
        assert lines[1].startswith("bring graph.db ")
    if width >= 120:
        assert "bring graph.db from schema 2 up to date" in lines[1]
        assert re.search(r"50000/200000 +\d+\.\d/s +0:00:00 0:0[45]", lines[0])


def test_a_stage_that_begins_anew_has_a_rate_of_its_own(capsys, monkeypatch):
    now = {"it": 0.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: now["it"])
    report = ProgressReport()
    report("occlusion", 0, 100)
    now["it"] = 10.0
    report("occlusion", 100, 100)
    now["it"] = 20.0
    report("occlusion", 0, 400)  # the next image
    now["it"] = 30.0
    report("occlusion", 10, 400)
    assert capsys.readouterr().err.splitlines()[-1].endswith("10/400, 1.0/s, 0:06:30 left")
