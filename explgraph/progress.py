"""Progress of long work: bars on a terminal and in a notebook, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task, TaskID
    from rich.text import Text


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


class ProgressReport:
    """A `Report` that shows its stages while its ``with`` statement lasts.

    On a terminal with bars on stderr; in a notebook with bars below the cell, where ipywidgets are
    installed; elsewhere a line for each quarter of a stage.

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
        self._quarter: dict[str, int] = {}
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if not self._quiet and _shows_bars(self._console):
            self._bars = _new_bars(self._console)
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a stage are done."""
        if self._bars is not None:
            self._draw(self._bars, stage, done, total)
        elif not self._quiet:
            self._print(stage, done, total)

    def _draw(self, bars: Progress, stage: str, done: int, total: int) -> None:
        for name, task in self._tasks.items():
            if name != stage and not bars.tasks[task].finished:  # the stages follow each other
                bars.update(task, total=1, completed=1, visible=bool(bars.tasks[task].completed))
        if stage not in self._tasks:
            self._tasks[stage] = bars.add_task(stage, total=total or None)
        bars.update(self._tasks[stage], completed=done, total=total or None)

    def _print(self, stage: str, done: int, total: int) -> None:
        quarter = 4 * done // total if total else -1
        if self._quarter.get(stage, -2) < quarter:
            self._quarter[stage] = quarter
            count = f" {done}/{total}" if total else ""
            elapsed = time.monotonic() - self._started
            print(f"[{elapsed:6.1f} s] {stage}{count}", file=sys.stderr, flush=True)


def _shows_bars(console: Console) -> bool:
    # In a notebook rich draws through ipywidgets, and only warns where they are not installed.
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def _new_bars(console: Console) -> Progress:
    from rich import progress
    from rich.text import Text

    class Rate(progress.TextColumn):
        """How many per second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed and task.total else "", style="dim")

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        Rate(""),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
    )
