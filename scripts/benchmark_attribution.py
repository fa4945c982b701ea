"""Speed of the attribution methods beside Captum, pytorch-grad-cam and torchcam, in one run."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def benchmark_attribution(
    models: tuple[str, ...],
    *,
    n: int,
    rounds: int,
    device: str,
    methods: tuple[str, ...] = (),
    size: int = 48,
    stride: int = 16,
) -> dict[str, Any]:
    """Time each method on a batch of ``n`` random inputs, every tool in turn, ``rounds`` times; the fastest round of each counts.

    Peers are used as their documentation says, on a copy of the model in its default layout, parameters as torchvision leaves them.
    The floor is one forward pass of the bare model in inference mode, in the faster of both layouts. Occlusion is timed on one image.
    """
    results: dict[str, Any] = {}
    for model in models:
        results[model] = _of_model(model, n, rounds, device, methods, size, stride)
    return {
        "batch": n,
        "rounds": rounds,
        "device": device,
        "size": size,
        "stride": stride,
        "models": results,
    }


def _of_model(
    name: str, n: int, rounds: int, device: str, methods: tuple[str, ...], size: int, stride: int
) -> dict[str, Any]:
    tasks = _tasks(name, n, device, size, stride)
    found: dict[str, dict[str, float]] = {}
    for method in methods or tuple(tasks):
        best: dict[str, float] = {}
        for round_ in range(rounds + 1):  # the first round warms up
            for tool, run in tasks[method].items():
                print(
                    f"\r{name} {method} {tool} {round_}/{rounds}          ", end="", file=sys.stderr
                )
                seconds = _seconds(run, device)
                if round_:
                    best[tool] = min(best.get(tool, seconds), seconds)
        peers = [
            value
            for tool, value in best.items()
            if tool not in ("explgraph", "whole passes") and not tool.startswith("forward")
        ]
        found[method] = {
            **best,
            **(
                {"fastest_peer_over_explgraph": min(peers) / best["explgraph"]}
                if peers and "explgraph" in best
                else {}
            ),
        }
    print(file=sys.stderr)
    return found


def _seconds(run: Callable[[], object], device: str) -> float:
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
    wait()
    return time.perf_counter() - start


def _tasks(
    name: str, n: int, device: str, size: int, stride: int
) -> dict[str, dict[str, Callable[[], object]]]:
    import captum.attr
    import torchvision
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam import methods as torchcam

    from explgraph.attribution import (
        deconvnet,
        gradcam,
        guided_backprop,
        last_layer,
        occlusion,
        saliency,
    )
    from explgraph.network import load_network, measure_geometry

    network = load_network(name, weights="none", device=device)
    layer = last_layer(network)
    geometry = measure_geometry(network, [layer])[layer]
    build = lambda: getattr(torchvision.models, name)(weights=None).eval().to(device)
    peer, plain = build(), build()  # plain: no ReLU in place, which Captum's hooks need
    plain.load_state_dict(network.model.state_dict())
    peer.load_state_dict(network.model.state_dict())
    for module in plain.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, *network.input.size, generator=generator).to(device)
    one = x[:1]
    at = dict(peer.named_modules())[layer]
    targets = [ClassifierOutputTarget(7)] * n
    grad = lambda tensor: tensor.clone().requires_grad_()

    def with_torchcam(kind: Any) -> object:
        with kind(peer, layer) as extractor:
            return extractor(7, peer(grad(x)))

    def forward(layout: torch.memory_format) -> object:
        network.model.to(memory_format=layout)
        with torch.inference_mode():
            result = network.model(x.contiguous(memory_format=layout))
        network.model.to(memory_format=torch.contiguous_format)
        return result

    cams = {
        "gradcam": (GradCAM, torchcam.GradCAM),
        "gradcam++": (GradCAMPlusPlus, torchcam.GradCAMpp),
        "layercam": (LayerCAM, torchcam.LayerCAM),
    }
    tasks: dict[str, dict[str, Callable[[], object]]] = {
        "forward pass": {
            "forward, default layout": lambda: forward(torch.contiguous_format),
            "forward, channels-last": lambda: forward(torch.channels_last),
        },
        "saliency": {
            "explgraph": lambda: saliency(network, x, target=7),
            "captum": lambda: captum.attr.Saliency(peer).attribute(grad(x), target=7),
        },
        "gradient x input": {
            "explgraph": lambda: saliency(network, x, target=7, times_input=True),
            "captum": lambda: captum.attr.InputXGradient(peer).attribute(grad(x), target=7),
        },
        "deconvnet": {
            "explgraph": lambda: deconvnet(network, x, target=7),
            "captum": lambda: captum.attr.Deconvolution(plain).attribute(grad(x), target=7),
        },
        "guided backpropagation": {
            "explgraph": lambda: guided_backprop(network, x, target=7),
            "captum": lambda: captum.attr.GuidedBackprop(plain).attribute(grad(x), target=7),
        },
    }
    for method, (pytorch_grad_cam, torchcam_method) in cams.items():
        tasks[method] = {
            "explgraph": lambda method=method: gradcam(
                network, x, layer=geometry, target=7, weighting=method
            ),
            "pytorch-grad-cam": lambda kind=pytorch_grad_cam: kind(model=peer, target_layers=[at])(
                input_tensor=grad(x), targets=targets
            ),
            "torchcam": lambda kind=torchcam_method: with_torchcam(kind),
        }
    tasks["gradcam"]["captum"] = lambda: captum.attr.LayerGradCam(peer, at).attribute(
        grad(x), target=7
    )
    captum_occlusion = lambda: captum.attr.Occlusion(peer).attribute(
        one,
        target=7,
        sliding_window_shapes=(3, size, size),
        strides=(3, stride, stride),
        perturbations_per_eval=32,
    )
    tasks["occlusion"] = {
        "explgraph": lambda: occlusion(network, one, target=7, size=size, stride=stride),
        "captum": captum_occlusion,
    }
    return tasks


def attribution_table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table: milliseconds, and the fastest peer's time in units of ours."""
    tools = ("explgraph", "captum", "pytorch-grad-cam", "torchcam")
    lines = [
        f"| | {' | '.join(tools)} | fastest peer / explgraph |",
        "|---|" + "---|" * (len(tools) + 1),
    ]
    for model, methods in result["models"].items():
        for method, times in methods.items():
            if method == "forward pass":
                continue
            cells = [f"{1000 * times[tool]:.0f}" if tool in times else "-" for tool in tools]
            lines.append(
                f"| {model} {method} | {' | '.join(cells)} | {times.get('fastest_peer_over_explgraph', np.nan):.2f} |"
            )
        floor = methods.get("forward pass", {})
        lines += [
            f"| {model} {what} | {1000 * seconds:.0f} | | | | |"
            for what, seconds in floor.items()
            if what.startswith("forward")
        ]
    return "\n".join(lines)
