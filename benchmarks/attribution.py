"""Speed of the heat-map methods beside Captum, pytorch-grad-cam and torchcam, in one run.

Every tool runs in turn on a batch of random inputs; the fastest round of each counts. The others
are used as their documentation says, on a copy of the model in its default layout, parameters as
torchvision leaves them. explgraph runs as its command line does, in a process that keeps freed
memory. The floor is one forward pass of the bare model in inference mode. Occlusion is timed on one
image.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import captum.attr
import numpy as np
import pytorch_grad_cam
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam import methods as torchcam

from benchmarks.timing import Process, Task, Timer, forward_passes, in_turns
from explgraph.attribution import (
    deconvnet,
    gradcam,
    guided_backprop,
    last_layer,
    occlusion,
    saliency,
)
from explgraph.graph import Layer
from explgraph.network import Network, load_network, measure_geometry

TOOLS = ("explgraph", "captum", "pytorch-grad-cam", "torchcam")
SIZE, STRIDE = 48, 16  # of occlusion, pixels
TARGET = 7  # any class
Tasks = dict[str, dict[str, Callable[[], object]]]  # method -> tool -> what is timed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", default="vgg16,resnet50", metavar="A,B,..")
    parser.add_argument("--methods", default="", metavar="A,B,..", help="default: all")
    parser.add_argument("--n", type=int, default=16, help="inputs in the batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")


def run(args: argparse.Namespace) -> dict[str, Any]:
    methods = [name for name in args.methods.split(",") if name]
    models = args.models.split(",")
    return {
        "batch": args.n,
        "rounds": args.rounds,
        "device": args.device,
        "size": SIZE,
        "stride": STRIDE,
        "models": {
            name: measure(name, methods, args.n, args.rounds, args.device) for name in models
        },
    }


def measure(
    name: str, methods: list[str], n: int, rounds: int, device: str
) -> dict[str, dict[str, float]]:
    """The fastest seconds of each method by each tool."""
    start = partial(Process, timers, name, n, device)
    with start(keep_memory=False) as usual, start(keep_memory=True) as keeping:
        tasks: dict[str, dict[str, Timer]] = defaultdict(dict)
        kept = keeping.timers()
        for key, timer in usual.timers().items():
            method, tool = key.split(": ")
            tasks[method][tool] = kept[key] if tool == "explgraph" else timer
        found: dict[str, dict[str, float]] = {}
        for method in methods or tasks:
            times = in_turns(tasks[method], rounds, title=f"{name} {method}")
            best = {tool: min(values) for tool, values in times.items()}
            peers = [value for tool, value in best.items() if tool in TOOLS[1:]]
            if peers:
                best["fastest_peer_over_explgraph"] = min(peers) / best["explgraph"]
            found[method] = best
    return found


def timers(name: str, n: int, device: str) -> dict[str, Timer]:
    """Timers by "METHOD: TOOL"."""
    bench = Bench.prepare(name, n, device)
    passes = forward_passes(bench.network, n, bench.x)
    tasks = {f"forward pass: forward, {layout}": task for layout, task in passes.items()}
    for method, of_tools in bench.tasks().items():
        for tool, one in of_tools.items():
            tasks[f"{method}: {tool}"] = Task(quietly(one))
    return {key: task.timer(bench.network.device) for key, task in tasks.items()}


def quietly(run: Callable[[], object]) -> Callable[[], object]:
    """The same without warnings: the others warn of hooks and of ReLUs in place."""

    def silent() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run()

    return silent


@dataclass(frozen=True, eq=False)
class Bench:
    """One network for us, its copies for the others, and a batch."""

    network: Network
    peer: nn.Module
    plain: nn.Module  # no ReLU in place, which Captum's hooks need
    layer: Layer
    x: Tensor

    @classmethod
    def prepare(cls, name: str, n: int, device: str) -> Bench:
        network = load_network(name, weights="none", device=device)
        copies = []
        for _ in range(2):
            copy = getattr(torchvision.models, name)(weights=None).eval().to(device)
            copy.load_state_dict(network.model.state_dict())
            copies.append(copy)
        peer, plain = copies
        for module in plain.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        layer = last_layer(network)
        geometry = measure_geometry(network, [layer])[layer]
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(n, 3, *network.input.size, generator=generator).to(device)
        return cls(network, peer, plain, geometry, x)

    def tasks(self) -> Tasks:
        """What is timed, but the forward pass."""
        network, x = self.network, self.x
        tasks: Tasks = {
            "saliency": {
                "explgraph": lambda: saliency(network, x, target=TARGET),
                "captum": self.captum(captum.attr.Saliency(self.peer)),
            },
            "gradient x input": {
                "explgraph": lambda: saliency(network, x, target=TARGET, times_input=True),
                "captum": self.captum(captum.attr.InputXGradient(self.peer)),
            },
            "deconvnet": {
                "explgraph": lambda: deconvnet(network, x, target=TARGET),
                "captum": self.captum(captum.attr.Deconvolution(self.plain)),
            },
            "guided backpropagation": {
                "explgraph": lambda: guided_backprop(network, x, target=TARGET),
                "captum": self.captum(captum.attr.GuidedBackprop(self.plain)),
            },
            "gradcam": self.cams("gradcam", "GradCAM", "GradCAM"),
            "gradcam++": self.cams("gradcam++", "GradCAMPlusPlus", "GradCAMpp"),
            "layercam": self.cams("layercam", "LayerCAM", "LayerCAM"),
            "occlusion": self.occlusions(),
        }
        at_layer = captum.attr.LayerGradCam(self.peer, self.peer.get_submodule(self.layer.name))
        tasks["gradcam"]["captum"] = self.captum(at_layer)
        return tasks

    def captum(self, method: Any) -> Callable[[], object]:
        return lambda: method.attribute(with_gradient(self.x), target=TARGET)

    def cams(self, weighting: str, theirs: str, torchcams: str) -> dict[str, Callable[[], object]]:
        """A class activation map by us, pytorch-grad-cam and torchcam."""
        module = self.peer.get_submodule(self.layer.name)
        targets = [ClassifierOutputTarget(TARGET)] * len(self.x)

        def with_pytorch_grad_cam() -> object:
            cam = getattr(pytorch_grad_cam, theirs)(model=self.peer, target_layers=[module])
            return cam(input_tensor=with_gradient(self.x), targets=targets)

        def with_torchcam() -> object:
            with getattr(torchcam, torchcams)(self.peer, self.layer.name) as extractor:
                return extractor(TARGET, self.peer(with_gradient(self.x)))

        return {
            "explgraph": lambda: gradcam(
                self.network, self.x, layer=self.layer, target=TARGET, weighting=weighting
            ),
            "pytorch-grad-cam": with_pytorch_grad_cam,
            "torchcam": with_torchcam,
        }

    def occlusions(self) -> dict[str, Callable[[], object]]:
        one = self.x[:1]
        return {
            "explgraph": lambda: occlusion(
                self.network, one, target=TARGET, size=SIZE, stride=STRIDE
            ),
            "captum": lambda: captum.attr.Occlusion(self.peer).attribute(
                one,
                target=TARGET,
                sliding_window_shapes=(3, SIZE, SIZE),
                strides=(3, STRIDE, STRIDE),
                perturbations_per_eval=32,
            ),
        }


def with_gradient(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def text(figures: dict[str, Any]) -> str:
    """A Markdown table: milliseconds, and the fastest peer's time in units of ours."""
    lines = [
        f"| | {' | '.join(TOOLS)} | fastest peer / explgraph |",
        "|---|" + "---|" * (len(TOOLS) + 1),
    ]
    for model, methods in figures["models"].items():
        floor = methods.get("forward pass", {})
        for method, times in methods.items():
            if times is not floor:
                cells = [f"{1000 * times[tool]:.0f}" if tool in times else "-" for tool in TOOLS]
                ratio = times.get("fastest_peer_over_explgraph", np.nan)
                lines.append(f"| {model} {method} | {' | '.join(cells)} | {ratio:.2f} |")
        for what, elapsed in floor.items():
            lines.append(f"| {model} {what} | {1000 * elapsed:.0f} | | | | |")
    return "\n".join(lines)
