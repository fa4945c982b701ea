"""Seconds and memory: in turns, so that a busy machine is busy for all that is compared."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import progress
from explgraph.memory import keep_freed_memory
from explgraph.network import Network

LAYOUTS = {"default layout": torch.contiguous_format, "channels-last": torch.channels_last}
T = TypeVar("T")


Timer = Callable[[], float]  # runs something and says how many seconds it took
_timers: dict[str, Timer] = {}  # of a process of its own


@dataclass(frozen=True)
class Task:
    """What is timed, and a context that is entered before the clock starts."""

    run: Callable[[], object]
    around: Callable[[], AbstractContextManager[object]] = nullcontext

    def timer(self, device: torch.device) -> Timer:
        def timed() -> float:
            with self.around():
                return seconds(self.run, device)

        return timed


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """The wall-clock seconds of one call."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def in_turns(
    timers: Mapping[str, Timer], rounds: int, *, title: str = "round"
) -> dict[str, list[float]]:
    """The seconds of each timer in each round; all run in turn, and a first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(rounds + 1):
        for name, timer in timers.items():
            elapsed = timer()
            if number:
                times[name].append(elapsed)
        progress(title, number, rounds)
    return times


class Process:
    """A process of its own, with timers that are prepared in it.

    A process keeps freed memory for good or not at all. So what is timed with it and what is timed
    without it run in two processes, and still in turn.

    Args:
        prepare: gives the timers; a function of a module.
        arguments: of ``prepare``.
        keep_memory: whether the process keeps the memory that it frees.
    """

    def __init__(
        self, prepare: Callable[..., dict[str, Timer]], *arguments: object, keep_memory: bool
    ) -> None:
        self._pool = ProcessPoolExecutor(
            1, get_context("spawn"), _prepare, (prepare, arguments, keep_memory)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def timers(self) -> dict[str, Timer]:
        """The timers by name, to be called here."""
        names = self._pool.submit(_names).result()
        return {name: partial(self._time, name) for name in names}

    def _time(self, name: str) -> float:
        return self._pool.submit(_time, name).result()


def _prepare(
    prepare: Callable[..., dict[str, Timer]], arguments: tuple[object, ...], keep_memory: bool
) -> None:
    if keep_memory:
        keep_freed_memory()
    _timers.update(prepare(*arguments))


def _names() -> list[str]:
    return list(_timers)


def _time(name: str) -> float:
    return _timers[name]()


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each task's seconds."""
    return {name: float(np.median(values)) for name, values in times.items()}


@contextmanager
def in_layout(model: nn.Module, layout: torch.memory_format) -> Iterator[None]:
    """Have a model's weights in ``layout`` for a while."""
    model.to(memory_format=layout)
    try:
        yield
    finally:
        model.to(memory_format=torch.contiguous_format)


def forward_passes(network: Network, n: int, batch: Tensor) -> dict[str, Task]:
    """The bare model over ``n`` inputs as one would write it, in both memory layouts."""

    def run(inputs: Tensor) -> None:
        with torch.inference_mode():
            for start in range(0, n, len(inputs)):
                network.model(inputs[: n - start])

    tasks = {}
    for name, layout in LAYOUTS.items():
        inputs = batch.contiguous(memory_format=layout)
        tasks[name] = Task(
            lambda inputs=inputs: run(inputs),
            lambda layout=layout: in_layout(network.model, layout),
        )
    return tasks


def in_fresh_process(function: Callable[..., T], *arguments: object) -> T:
    """What a function gives in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory() -> float:
    """The peak memory of this process, MiB."""
    # A child's ru_maxrss starts at what its parent had; /proc has the child's own.
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
