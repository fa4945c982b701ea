"""What explgraph costs and what its answers are worth.

    scripts/benchmark.py extraction [--model squeezenet1_0 --layers features.10,features.12]
    scripts/benchmark.py mining --maps FILE.npz
    scripts/benchmark.py scaling [--sizes 500x4,1000x4]
    scripts/benchmark.py store
    scripts/benchmark.py account [--species fox,zebra] [--n 120]
    scripts/benchmark.py attribution [--models vgg16,resnet50] [--n 16]
    scripts/benchmark.py localisation --workspaces DIR [--shared DIR]
    scripts/benchmark.py explain --workspaces DIR [--shared DIR]
    scripts/benchmark.py repair --workspace DIR
    scripts/benchmark.py peers [--shared DIR]
    scripts/benchmark.py agreement [--models VGG-11,Swin-T]
    scripts/benchmark.py architectures [--check]
    scripts/benchmark.py parts DATASET.json=WORKSPACE ...

Each takes --json. What counts are ratios within one run: absolute times depend on the machine.
docs/benchmarks.md holds the figures.

Each benchmark is a module of its own with ``add_arguments(parser)``, ``run(args)`` that gives the
figures, and ``text(figures)``. They share `benchmarks.timing`, `benchmarks.tables` and
`benchmarks.animals` (photographs with one annotated animal each).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module

BENCHMARKS = {
    "extraction": "throughput beside the bare forward pass; peak memory at 200 and 2,000 images",
    "mining": "ready-made maps: seconds, and the nodes beside the raw filters",
    "scaling": "time and memory of mining against images and nodes",
    "account": "part, texture and nothing of drawn creatures, of scenery and of random peaks",
    "store": "save and load a graph of VGG-16's size",
    "attribution": "every heat-map method beside Captum, pytorch-grad-cam and torchcam",
    "localisation": "do the maps find the animal: boxes, points, deletion and insertion",
    "explain": "what the class loses without the ten strongest nodes, and without ten others",
    "repair": "a fault is planted into the demo's network and repaired: accuracy before and after",
    "peers": "five tasks in Captum, pytorch-grad-cam, torchcam and here: lines, seconds, agreement",
    "agreement": "every heat-map method beside its definition, on 17 architectures; not timed",
    "architectures": "which families of torchvision can be asked what; not timed",
    "parts": "semantic parts: error against annotations, joint location, suggestions, seconds",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark and print its figures."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark.py",
        description=__doc__.partition("\n\nEach benchmark")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, words in BENCHMARKS.items():
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("--json", action="store_true", help="print one JSON object")
        if name in argv[:1]:  # the others need not be loaded
            module = import_module(f"benchmarks.{name}")
            module.add_arguments(command)
    args = parser.parse_args(argv)
    figures = module.run(args)
    print(json.dumps(figures) if args.json else module.text(figures))
    return 0
