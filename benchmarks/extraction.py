"""Extraction (decoding, mirror images, peaks, writing) beside the bare forward pass.

The bare pass is timed on ready inputs, as one would write it: in the model's default memory layout
and in channels-last; `ratio` is against the faster of the two. Extraction is timed as the command
line runs it, in a process that keeps freed memory. The floor is what it can reach on a CPU: the
bare pass in channels-last in such a process (`ratio_to_floor`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.tables import flat
from benchmarks.timing import (
    Process,
    Task,
    Timer,
    forward_passes,
    in_fresh_process,
    in_turns,
    medians,
    peak_memory,
)
from explgraph.images import ImageObject, read_source
from explgraph.memory import keep_freed_memory
from explgraph.network import load_network, measure_geometry
from explgraph.peaks import PeakSettings, extract

MODELS = {"squeezenet1_0": "features.10,features.12", "resnet50": "layer3,layer4"}
MEMORY_SIZES = (200, 2000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="default: squeezenet1_0 and resnet50")
    parser.add_argument("--weights")
    parser.add_argument("--layers", help="dotted names, comma-separated")
    parser.add_argument("--n", type=int, default=128, help="photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")


def run(args: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {"threads": torch.get_num_threads(), "cores": os.cpu_count()}
    models = {args.model: args.layers} if args.model else MODELS
    for model, layers in models.items():
        job = (model, layers.split(","), args.weights, args.device)
        figures[model] = throughput(job, args.n, args.rounds, args.batch_size)
    if not args.no_memory:
        sizes = MEMORY_SIZES
        figures["peak_memory_mib"] = {str(n): in_fresh_process(memory, n) for n in sizes}
    return figures


text = flat


@dataclass(frozen=True, eq=False)
class Extraction:
    """A network and all that extraction is told besides the objects."""

    model: str
    network: Any
    settings: PeakSettings
    geometry: dict[str, Any]
    unit_std: dict[str, torch.Tensor]

    @classmethod
    def prepare(
        cls, model: str, layers: list[str], weights: str | None = None, device: str = "auto"
    ) -> Extraction:
        network = load_network(model, weights=weights or "none", device=device)
        geometry = measure_geometry(network, layers)
        shapes = {name: (g.channels, g.height, g.width) for name, g in geometry.items()}
        unit_std = {name: torch.ones(shape) for name, shape in shapes.items()}
        return cls(model, network, PeakSettings(tuple(layers)), geometry, unit_std)

    def run(self, objects: list[ImageObject], out: Path, *, batch_size: int = 16) -> None:
        out.mkdir()
        extract(
            self.network,
            objects,
            out,
            geometry=self.geometry,
            unit_std=self.unit_std,
            settings=self.settings,
            fingerprint="-",
            batch_size=batch_size,
        )


def throughput(
    job: tuple[str, list[str], str | None, str], n: int, rounds: int, batch_size: int
) -> dict[str, Any]:
    """Inputs per second of extraction and of the bare pass, of ``n`` photographs and mirror images.

    All run in turn, ``rounds`` times; the medians are compared.
    """
    model, layers, _, device = job
    found = str(load_network(model, weights="none", device=device).device)
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder) / "photographs", n)
        start = partial(Process, timers, job, Path(folder), batch_size)
        with start(keep_memory=False) as usual, start(keep_memory=True) as keeping:
            bare, kept = usual.timers(), keeping.timers()
            chosen = {
                "extraction": kept["extraction"],
                "forward": bare["default layout"],
                "forward_channels_last": bare["channels-last"],
                "floor": kept["channels-last"],
            }
            median = medians(in_turns(chosen, rounds, title=model))
    ours, forward = median["extraction"], median["forward"]
    return {
        "model": model,
        "layers": layers,
        "objects": n,
        "inputs": 2 * n,
        "device": found,
        **{f"{name}_inputs_per_s": 2 * n / value for name, value in median.items()},
        "ratio": min(forward, median["forward_channels_last"]) / ours,
        "ratio_to_floor": median["floor"] / ours,
        "ratio_to_default_layout": forward / ours,
    }


def timers(
    job: tuple[str, list[str], str | None, str], folder: Path, batch_size: int
) -> dict[str, Timer]:
    """Extraction of the photographs in a folder, and bare passes on as many inputs."""
    extraction = Extraction.prepare(*job)
    network = extraction.network
    objects = list(read_source(folder / "photographs").objects)
    outs = (folder / f"peaks-{os.getpid()}-{k}" for k in count())
    ours = Task(lambda: extraction.run(objects, next(outs), batch_size=batch_size))
    batch = torch.rand(2 * batch_size, 3, *network.input.size, device=network.device)
    tasks = {"extraction": ours, **forward_passes(network, 2 * len(objects), batch)}
    return {name: task.timer(network.device) for name, task in tasks.items()}


def memory(n: int) -> float:
    """Peak memory of this process after extraction of ``n`` photographs by SqueezeNet, MiB."""
    keep_freed_memory()
    job = Extraction.prepare("squeezenet1_0", MODELS["squeezenet1_0"].split(","))
    with tempfile.TemporaryDirectory() as folder:
        objects = write_photographs(Path(folder) / "photographs", min(n, 200))
        repeated = [objects[i % len(objects)] for i in range(n)]
        job.run(repeated, Path(folder) / "peaks")
    return peak_memory()


def write_photographs(folder: Path, n: int) -> list[ImageObject]:
    """The objects of ``n`` JPEG files of 500 x 375 pixels: smooth noise on several scales."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        scales = []
        for scale in (4, 16, 64):
            noise = rng.integers(0, 256, (375 // scale, 500 // scale, 3), np.uint8)
            scales.append(Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC))
        picture = np.mean([np.asarray(one) for one in scales], 0).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i:05d}.jpg", quality=90)
    return list(read_source(folder).objects)
