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
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.tables import flat
from benchmarks.timing import (
    Task,
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
        network, sizes = (model, args.weights, args.device), (args.n, args.rounds, args.batch_size)
        # In a process of its own: one that keeps freed memory does so for good.
        figures[model] = in_fresh_process(throughput, network, layers.split(","), sizes)
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
    network: tuple[str, str | None, str], layers: list[str], sizes: tuple[int, int, int]
) -> dict[str, Any]:
    """Inputs per second of extraction and of the bare pass, on photographs and mirror images.

    The medians over the rounds are compared. The process keeps freed memory from then on.

    Args:
        network: its name, weights and device.
        layers: their names.
        sizes: photographs, rounds, batch size.
    """
    model, weights, device = network
    n, rounds, batch_size = sizes
    job = Extraction.prepare(model, layers, weights, device)
    inputs = 2 * n
    with tempfile.TemporaryDirectory() as folder:
        objects = write_photographs(Path(folder) / "photographs", n)
        outs = (Path(folder) / f"peaks-{k}" for k in count())
        batch = torch.rand(2 * batch_size, 3, *job.network.input.size, device=job.network.device)
        plain, last = forward_passes(job.network, inputs, batch).values()
        bare = {"forward": plain, "forward_channels_last": last}
        kept = {
            "extraction": Task(lambda: job.run(objects, next(outs), batch_size=batch_size)),
            "floor": last,
        }
        times = in_turns(bare, rounds, job.network.device, title=model)
        keep_freed_memory()
        times |= in_turns(kept, rounds, job.network.device, title=model)
        median = medians(times)
    ours, forward = median["extraction"], median["forward"]
    return {
        "model": job.model,
        "layers": list(job.settings.layers),
        "objects": n,
        "inputs": inputs,
        "device": str(job.network.device),
        **{f"{name}_inputs_per_s": inputs / value for name, value in median.items()},
        "ratio": min(forward, median["forward_channels_last"]) / ours,
        "ratio_to_floor": median["floor"] / ours,
        "ratio_to_default_layout": forward / ours,
    }


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
