"""Seconds and memory: in turns, so that a busy machine is busy for all that is compared."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import progress
from explgraph.network import Network

LAYOUTS = {"default layout": torch.contiguous_format, "channels-last": torch.channels_last}
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """What is timed, and a context that is entered before the clock starts."""

    run: Callable[[], object]
    around: Callable[[], AbstractContextManager[object]] = nullcontext


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """The wall-clock seconds of one call."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def in_turns(
    tasks: Mapping[str, Task], rounds: int, device: torch.device, *, title: str = "round"
) -> dict[str, list[float]]:
    """The seconds of each task in each round; all run in turn, and a first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            with task.around():
                elapsed = seconds(task.run, device)
            if number:
                times[name].append(elapsed)
        progress(title, number, rounds)
    return times


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
