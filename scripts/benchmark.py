#!/usr/bin/env python3
"""Measure explgraph: extraction against the bare forward pass, mining, the store.

    scripts/benchmark.py extraction [--model squeezenet1_0 --layers features.10,features.12] [--n 128] [--device cpu] [--json]
    scripts/benchmark.py mining --maps FILE.npz [--json]
    scripts/benchmark.py scaling [--sizes 500x4,1000x4] [--json]
    scripts/benchmark.py store [--json]
    scripts/benchmark.py attribution [--models vgg16,resnet50] [--n 16] [--device cpu] [--json]
    scripts/benchmark.py localisation --workspaces DIR [--shared DIR] [--images N] [--removal-images 30] [--json]
    scripts/benchmark.py explain --workspaces DIR [--shared DIR] [--images 30] [--json]

Ratios within one run are what counts: absolute times depend on the machine. docs/benchmarks.md holds the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))


# Extraction


def benchmark_extraction(
    model: str,
    layers: tuple[str, ...],
    *,
    weights: str | None,
    n: int,
    rounds: int,
    batch_size: int,
    device: str,
) -> dict[str, Any]:
    """Time extraction of ``n`` JPEG files (decoding, mirror images, peaks, writing) against the forward pass on 2 n ready inputs.

    All run in turn, ``rounds`` times; the medians are compared. The bare forward pass is measured as one would write it, in the model's
    default memory layout and in channels-last (``ratio`` is against the faster of the two), and as the floor: channels-last with an
    allocator that keeps its memory, as extraction runs it on a CPU (``ratio_to_floor``).
    """
    from explgraph.images import read_source
    from explgraph.network import load_network, measure_geometry
    from explgraph.network.memory import reuse_memory
    from explgraph.peaks import PeakSettings, extract

    network = load_network(model, weights=weights or "none", device=device)
    geometry = measure_geometry(network, layers)
    unit_std = {name: torch.ones(g.channels, g.height, g.width) for name, g in geometry.items()}
    height, width = network.input.size
    times: dict[str, list[float]] = {
        "extraction": [],
        "forward": [],
        "forward_channels_last": [],
        "floor": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        photographs = Path(folder) / "photographs"
        write_photographs(photographs, n)
        objects = read_source(photographs).objects
        plain = torch.rand(batch_size * 2, 3, height, width, device=network.device)
        last = plain.contiguous(memory_format=torch.channels_last)
        for round_ in range(rounds + 1):
            peaks = Path(folder) / f"peaks-{round_}"
            peaks.mkdir()
            run = lambda out=peaks: extract(
                network, objects, out, geometry=geometry, unit_std=unit_std, settings=PeakSettings(layers), fingerprint="-",
                batch_size=batch_size,
            )  # fmt: skip
            measured = {"extraction": seconds(run, network.device)}
            for name, x, layout in (
                ("forward", plain, torch.contiguous_format),
                ("forward_channels_last", last, torch.channels_last),
            ):
                network.model.to(memory_format=layout)
                measured[name] = seconds(
                    lambda x=x: forward(network.model, x, 2 * n), network.device
                )
            with reuse_memory():
                measured["floor"] = seconds(
                    lambda: forward(network.model, last, 2 * n), network.device
                )
            if round_:  # the first round warms up
                for name, value in measured.items():
                    times[name].append(value)
    median = {name: float(np.median(values)) for name, values in times.items()}
    fastest = min(median["forward"], median["forward_channels_last"])
    return {
        "model": model,
        "layers": list(layers),
        "objects": n,
        "inputs": 2 * n,
        "device": str(network.device),
        "extraction_inputs_per_s": 2 * n / median["extraction"],
        "forward_inputs_per_s": 2 * n / median["forward"],
        "forward_channels_last_inputs_per_s": 2 * n / median["forward_channels_last"],
        "floor_inputs_per_s": 2 * n / median["floor"],
        "ratio": fastest / median["extraction"],
        "ratio_to_floor": median["floor"] / median["extraction"],
        "ratio_to_default_layout": median["forward"] / median["extraction"],
    }


def write_photographs(folder: Path, n: int) -> None:
    """Write ``n`` JPEG files of 500 x 375 pixels with photograph-like content (smooth noise on several scales)."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        noise = [
            Image.fromarray(rng.integers(0, 256, (375 // s, 500 // s, 3), np.uint8))
            for s in (4, 16, 64)
        ]
        layers = [np.asarray(one.resize((500, 375), Image.Resampling.BICUBIC)) for one in noise]
        Image.fromarray(np.mean(layers, 0).astype(np.uint8)).save(
            folder / f"{i:05d}.jpg", quality=90
        )


def forward(model: torch.nn.Module, batch: torch.Tensor, n: int) -> None:
    """Run the bare model over ``n`` inputs."""
    with torch.inference_mode():
        for start in range(0, n, len(batch)):
            model(batch[: min(len(batch), n - start)])


def seconds(run: Any, device: torch.device) -> float:
    """Return the wall-clock seconds of one call."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def peak_memory(n: int) -> float:
    """Return the peak memory of a fresh process that extracts ``n`` photographs, MiB."""
    command = [
        sys.executable,
        __file__,
        "extraction",
        "--n",
        str(n),
        "--rounds",
        "0",
        "--memory-child",
    ]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory_child(n: int) -> None:
    """Extract ``n`` photographs with SqueezeNet and print the peak memory of this process, MiB."""
    from explgraph.images import read_source
    from explgraph.network import load_network, measure_geometry
    from explgraph.peaks import PeakSettings, extract

    layers = ("features.10", "features.12")
    network = load_network("squeezenet1_0", weights="none")
    geometry = measure_geometry(network, layers)
    unit_std = {name: torch.ones(g.channels, g.height, g.width) for name, g in geometry.items()}
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder) / "photographs", 200)
        objects = read_source(Path(folder) / "photographs").objects
        objects = [objects[i % len(objects)] for i in range(n)]
        extract(
            network,
            objects,
            Path(folder),
            geometry=geometry,
            unit_std=unit_std,
            settings=PeakSettings(layers),
            fingerprint="-",
        )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


# Mining


def benchmark_mining(file: Path, *, n_peaks: int = 4) -> dict[str, Any]:
    """Time mining of normalised, rectified maps and score its nodes and the raw filters against the landmarks in the file.

    FILE.npz: LAYER (n, channel, row, column) per layer; stride_px and first_centre_px (one entry per layer, lower layer first);
    every other array of shape (n, 2) is a landmark as (row, column) fractions of the 224 x 224 frame.
    """
    from explgraph.evaluation import facing_accuracy, score_layer
    from explgraph.graph import Layer
    from explgraph.mining import mine
    from explgraph.peaks import COLUMNS, LayerPeaks, column_profiles, find_peaks

    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored}
    names = [name for name, a in arrays.items() if a.ndim == 4]
    marks = np.stack(
        [a[:, ::-1] for a in arrays.values() if a.ndim == 2 and a.shape[1] == 2], 1
    ).astype(float)
    start = time.perf_counter()
    layers, raw = [], {}
    for i, name in enumerate(names):
        maps = torch.from_numpy(arrays[name]).float()
        stride, first = float(arrays["stride_px"][i]), float(arrays["first_centre_px"][i])
        value, row, col = find_peaks(maps, n_peaks=n_peaks)
        row, col = (row * stride + first) / 224, (col * stride + first) / 224
        layer = Layer(
            name, *maps.shape[1:], (stride, stride), (first, first), (float("nan"), float("nan"))
        )
        profile = column_profiles(maps, n_columns=COLUMNS)
        layers.append(
            LayerPeaks(
                layer, *(t.permute(1, 2, 0)[None].contiguous() for t in (value, row, col, profile))
            )
        )
        raw[name] = (
            torch.stack([col[..., 0], row[..., 0]], -1).numpy().astype(float),
            value[..., 0].numpy().astype(float),
        )
    mined = mine(layers[::-1])  # the file lists the lower layer first
    elapsed = time.perf_counter() - start
    unmirrored, images = np.zeros(len(marks), bool), np.arange(len(marks))
    mirrored = mined.mirrored.numpy()
    result: dict[str, Any] = {"seconds": elapsed, "facing": facing_accuracy(marks, mirrored)}
    result |= {
        key: {}
        for key in ("layers", "layers_without_flags", "raw_filters", "raw_filters_as_photographed")
    }
    for one, kept in zip(mined.layers, mined.kept, strict=True):
        name = one.peaks.layer.name
        place = (
            torch.stack([one.places.col[kept], one.places.row[kept]], -1)
            .transpose(0, 1)
            .numpy()
            .astype(float)
        )
        place[mirrored, :, 0] = 1 - place[mirrored, :, 0]
        score = one.score[kept].T.numpy().astype(float)
        result["layers"][name] = score_layer(place, score, marks, mirrored, images).to_dict()
        result["layers_without_flags"][name] = score_layer(
            place, score, marks, unmirrored, images
        ).to_dict()
        result["raw_filters"][name] = score_layer(*raw[name], marks, mirrored, images).to_dict()
        result["raw_filters_as_photographed"][name] = score_layer(
            *raw[name], marks, unmirrored, images
        ).to_dict()
    return result


# Printing


def print_flat(value: dict[str, Any], indent: str = "") -> None:
    """Print nested figures, one per line."""
    for key, item in value.items():
        if isinstance(item, dict):
            print(f"{indent}{key}")
            print_flat(item, indent + "  ")
        else:
            print(
                f"{indent}{key:36s} {item:.4g}"
                if isinstance(item, float)
                else f"{indent}{key:36s} {item}"
            )


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(dest="what", required=True)
    extraction = what.add_parser(
        "extraction",
        help="throughput against the bare forward pass; peak memory at 200 and 2,000 images",
    )
    extraction.add_argument("--model", help="default: squeezenet1_0 and resnet50")
    extraction.add_argument("--weights")
    extraction.add_argument("--layers", help="dotted names, comma-separated")
    extraction.add_argument("--n", type=int, default=128, help="photographs")
    extraction.add_argument("--rounds", type=int, default=3)
    extraction.add_argument("--batch-size", type=int, default=16)
    extraction.add_argument("--device", default="auto")
    extraction.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    extraction.add_argument("--memory-child", action="store_true", help=argparse.SUPPRESS)
    mining = what.add_parser("mining", help="mine ready-made maps")
    mining.add_argument("--maps", type=Path, required=True, metavar="FILE.npz")
    scaling = what.add_parser("scaling", help="time and memory of mining against images and nodes")
    scaling.add_argument(
        "--sizes",
        default="250x4,500x4,1000x4,2000x4,500x5,500x10,500x20,500x40,2000x40",
        metavar="IMAGESxNODES,..",
    )
    store = what.add_parser("store", help="save and load a graph of VGG-16 size")
    store.add_argument("--nodes", type=int, default=61440)
    attribution = what.add_parser(
        "attribution", help="every attribution method beside Captum, pytorch-grad-cam and torchcam"
    )
    attribution.add_argument("--models", default="vgg16,resnet50", metavar="A,B,..")
    attribution.add_argument("--methods", default="", metavar="A,B,..", help="default: all")
    attribution.add_argument("--n", type=int, default=16, help="inputs in the batch")
    attribution.add_argument("--rounds", type=int, default=3)
    attribution.add_argument("--device", default="cpu")
    localisation = what.add_parser(
        "localisation", help="do the maps find the animal: boxes, points, deletion and insertion"
    )
    localisation.add_argument(
        "--images",
        type=int,
        help="photographs of each class; default: all with one annotated animal",
    )
    localisation.add_argument(
        "--removal-images", type=int, default=30, help="of these, for deletion and insertion"
    )
    localisation.add_argument(
        "--steps", type=int, default=16, help="of the curves of deletion and insertion"
    )
    explaining = what.add_parser(
        "explain",
        help="what the class loses without the ten strongest nodes, and without ten others",
    )
    explaining.add_argument("--images", type=int, default=30, help="photographs of each class")
    for one in (localisation, explaining):
        one.add_argument(
            "--workspaces",
            type=Path,
            required=True,
            metavar="DIR",
            help="DIR/n02391049 etc., mined graphs",
        )
        one.add_argument(
            "--shared",
            type=Path,
            default=os.environ.get("EXPLGRAPH_SHARED", Path(__file__).parents[2] / "shared"),
            metavar="DIR",
        )
        one.add_argument("--seed", type=int, default=0)
    for one in (extraction, mining, scaling, store, attribution, localisation, explaining):
        one.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.what == "extraction" and args.memory_child:
        return memory_child(args.n)
    if args.what == "extraction":
        jobs = [("squeezenet1_0", "features.10,features.12"), ("resnet50", "layer3,layer4")]
        if args.model:
            jobs = [(args.model, args.layers)]
        result = {"threads": torch.get_num_threads(), "cores": os.cpu_count()}
        for model, layers in jobs:
            result[model] = benchmark_extraction(
                model, tuple(layers.split(",")), weights=args.weights, n=args.n, rounds=args.rounds, batch_size=args.batch_size,
                device=args.device,
            )  # fmt: skip
        if not args.no_memory:
            result["peak_memory_mib"] = {str(n): peak_memory(n) for n in (200, 2000)}
    elif args.what == "mining":
        result = benchmark_mining(args.maps)
    elif args.what == "scaling":
        from benchmark_scaling import benchmark_scaling

        sizes = [tuple(map(int, size.split("x"))) for size in args.sizes.split(",")]
        result = {
            f"{r['images']} images, {r['nodes_per_channel']} nodes": r
            for r in benchmark_scaling(sizes)
        }
    elif args.what == "attribution":
        from benchmark_attribution import attribution_table, benchmark_attribution

        methods = tuple(name for name in args.methods.split(",") if name)
        result = benchmark_attribution(
            tuple(args.models.split(",")),
            n=args.n,
            rounds=args.rounds,
            device=args.device,
            methods=methods,
        )
        if not args.json:
            return print(attribution_table(result))
    elif args.what == "localisation":
        from benchmark_localisation import benchmark_localisation, localisation_tables

        result = benchmark_localisation(
            args.shared,
            args.workspaces,
            images=args.images,
            removal_images=args.removal_images,
            steps=args.steps,
            seed=args.seed,
        )
        if not args.json:
            return print(localisation_tables(result))
    elif args.what == "explain":
        from benchmark_explain import benchmark_explain, explain_tables

        result = benchmark_explain(args.shared, args.workspaces, images=args.images, seed=args.seed)
        if not args.json:
            return print(explain_tables(result))
    else:
        from benchmark_store import benchmark_store

        result = benchmark_store(nodes=args.nodes)
    if args.json:
        print(json.dumps(result))
    else:
        print_flat(result)
    return None


if __name__ == "__main__":
    main()
