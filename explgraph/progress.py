"""Progress of long work: bars on a terminal and in a notebook, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from datetime import timedelta
from importlib.util import find_spec
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from explgraph.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task, TaskID
    from rich.table import Table

SILENCE = 10.0  # seconds without a line at most, where there are no bars
WINDOW = 30.0  # seconds that rate and remaining time go by
_SETTLED = 1.0  # seconds before there is a rate to speak of
_READABLE = 16  # letters of a stage's name that tell it from others


@runtime_checkable
class Report(Protocol):
    """Is told how far a stage of long work is.

    >>> def show(stage, done, total):
    ...     print(stage, done, "of", total)
    >>> isinstance(show, Report)
    True
    """

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that ``done`` of ``total`` are done; 0 of 0: the stage has no count."""


def silent(stage: str, done: int, total: int) -> None:
    """Report to nobody.

    >>> silent("extract", 3, 10)
    """


class Pace:
    """How fast one stage goes now: over its last `WINDOW` seconds, or its last step if longer.

    What was done when the stage began (a resumed job) is no part of it.

    Args:
        now: seconds on any clock.
        done: so far.

    >>> pace = Pace(0.0, 100)
    >>> pace.add(10.0, 120)
    >>> pace.rate(10.0), pace.left(10.0, 200), pace.rate(20.0)
    (2.0, 40.0, 1.0)
    """

    def __init__(self, now: float, done: int) -> None:
        self._samples = deque([(now, done)])

    def add(self, now: float, done: int) -> None:
        """Take note of what is done by now."""
        samples = self._samples
        # One in 0.1 s is enough; else a fast stage would fill the window with thousands.
        if len(samples) > 1 and now - samples[-2][0] < 0.1:
            samples.pop()
        samples.append((now, done))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW:
            samples.popleft()

    def rate(self, now: float) -> float | None:
        """Per second; it falls while nothing comes. None if nothing was done yet."""
        (start, before), (_, done) = self._samples[0], self._samples[-1]
        passed = now - start
        return (done - before) / passed if done > before and passed >= _SETTLED else None

    def left(self, now: float, total: int) -> float | None:
        """Seconds until ``total`` are done at this rate; None if there is no rate."""
        rate = self.rate(now)
        return (total - self._samples[-1][1]) / rate if rate else None

    def said(self, now: float, total: int) -> tuple[str, str]:
        """Rate and remaining time in words, empty where there are none."""
        rate, left = self.rate(now), self.left(now, total)
        if rate is None or left is None:
            return "", ""
        each = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        return each, str(timedelta(seconds=round(left)))


class ProgressReport:
    """A `Report` that shows its stages while its ``with`` statement lasts.

    On a terminal with bars on stderr; in a notebook with bars below the cell, where ipywidgets are
    installed; elsewhere a line for each quarter of a stage, and one every 10 seconds at least.

    Args:
        quiet: show nothing.

    >>> with ProgressReport(quiet=True) as report:
    ...     report("extract", 3, 10)
    """

    def __init__(self, *, quiet: bool = False) -> None:
        from rich.console import Console  # a fifth of the time that --help takes

        self._quiet = quiet
        self._console = Console(stderr=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._paces: dict[str, tuple[Pace, int, int]] = {}  # of each stage, with done and total
        self._quarter: dict[str, int] = {}
        self._started = self._spoken = time.monotonic()
        self._now: str | None = None  # the stage that was reported last
        self._lock, self._ended = RLock(), Event()
        self._speaker = Thread(target=self._break_silence, daemon=True)

    def __enter__(self) -> Self:
        if self._quiet:
            return self
        if _shows_bars(self._console):
            self._bars = _new_bars(self._console)
            self._bars.start()
        else:
            self._speaker.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._ended.set()
        if self._speaker.is_alive():
            self._speaker.join()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a stage are done."""
        if self._quiet:
            return
        with self._lock:
            pace = self._pace(stage, done, total)
            if self._bars is not None:
                self._draw(self._bars, stage, done, total, pace)
                return
            quarter = 4 * done // total if total else -1
            late = time.monotonic() - self._spoken >= SILENCE
            if self._quarter.get(stage, -2) < quarter or late:
                self._quarter[stage] = quarter
                self._print()

    def _pace(self, stage: str, done: int, total: int) -> Pace:
        now, known = time.monotonic(), self._paces.get(stage)
        # Another number of steps, or fewer done: the stage began anew, for another image.
        if known is None or known[2] != total or done < known[1]:
            pace = Pace(now, done)
        else:
            pace = known[0]
            pace.add(now, done)
        self._paces[stage], self._now = (pace, done, total), stage
        return pace

    def _draw(self, bars: Progress, stage: str, done: int, total: int, pace: Pace) -> None:
        for name, task in self._tasks.items():
            if name != stage and not bars.tasks[task].finished:  # the stages follow each other
                bars.update(task, total=1, completed=1, visible=bool(bars.tasks[task].completed))
        if stage not in self._tasks:
            self._tasks[stage] = bars.add_task(stage, total=total or None)
        bars.update(self._tasks[stage], completed=done, total=total or None, pace=pace)

    def _print(self) -> None:
        assert self._now is not None
        stage, now = self._now, time.monotonic()
        pace, done, total = self._paces[stage]
        words = [f"{stage} {done}/{total}" if total else stage]
        if done < total:
            rate, left = pace.said(now, total)
            words += [rate, f"{left} left"] if rate else []
        line = f"[{now - self._started:6.1f} s] {', '.join(words)}"
        print(one_line(line), file=sys.stderr, flush=True)
        self._spoken = now

    def _break_silence(self) -> None:
        """Print again where things stand, when nothing has been printed for `SILENCE`."""
        while not self._ended.wait(max(self._spoken + SILENCE - time.monotonic(), SILENCE / 100)):
            with self._lock:
                if self._now is not None and time.monotonic() - self._spoken >= SILENCE:
                    self._print()


def _shows_bars(console: Console) -> bool:
    # In a notebook rich draws through ipywidgets, and only warns where they are not installed.
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def _new_bars(console: Console) -> Progress:
    from rich import progress
    from rich.table import Column
    from rich.text import Text

    class Words(progress.ProgressColumn):
        """A word of a stage, never wider than its column."""

        def __init__(self, kind: str, width: int) -> None:
            super().__init__(Column(width=width, no_wrap=True))
            self.kind, self.width = kind, width

        def render(self, task: Task) -> Text:
            text = Text(_words(task)[self.kind], style="" if self.kind == "stage" else "dim")
            text.truncate(self.width, overflow="ellipsis")
            return text

    class Bars(progress.Progress):
        """Chooses its columns anew for the terminal's width."""

        def make_tasks_table(self, tasks: Sequence[Task]) -> Table:  # type: ignore[override]
            widths = _fitting(console.width, [_words(task) for task in tasks])
            columns: list[ProgressColumn] = []
            for kind, width in widths.items():
                bar = kind == "bar"
                columns.append(progress.BarColumn(width) if bar else Words(kind, width))
            self.columns = tuple(columns)
            return super().make_tasks_table(tasks)

    return Bars(console=console)


def _words(task: Task) -> dict[str, str]:
    """What is said of a stage: its name, how much is done, rate, time, time that is left."""
    pace, total = task.fields.get("pace"), task.total
    rate, left = "", ""
    if pace is not None and total and not task.finished:
        rate, left = pace.said(time.monotonic(), int(total))
    return {
        "stage": one_line(task.description),
        "count": f"{task.completed:.0f}/{total:.0f}" if total else "",
        "rate": rate,
        "time": str(timedelta(seconds=int(task.elapsed or 0))),
        "left": left and f"{left} left",
    }


def _fitting(width: int, rows: Sequence[dict[str, str]]) -> dict[str, int]:
    """The columns that fit into a terminal's width, in their order, and how wide each is.

    The name of the stage, what is done and what is left stay longest; the name is shortened last.

    >>> row = {"stage": "extract", "count": "8/99", "rate": "2.0/s", "time": "0:00:04"}
    >>> _fitting(80, [row]), _fitting(24, [row])
    ({'stage': 7, 'bar': 40, 'count': 4, 'rate': 5, 'time': 7}, {'stage': 7, 'count': 4, 'rate': 5})
    """
    widest = {kind: max(len(row[kind]) for row in rows) for kind in (rows[0] if rows else ())}
    name = widest.pop("stage", 1)
    widths = {kind: wide for kind, wide in widest.items() if wide}
    # For the name: a space is between the columns, and the terminal's last column is left free.
    room = lambda: width - 1 - sum(wide + 1 for wide in widths.values())
    for kind in ("time", "rate", "count", "left"):
        if room() < (name if kind in ("time", "rate") else min(name, _READABLE)):
            widths.pop(kind, None)
    name = max(min(name, room()), 1)
    bar = min(room() - name - 1, 40)
    return {"stage": name} | ({"bar": bar} if bar >= 8 else {}) | widths
