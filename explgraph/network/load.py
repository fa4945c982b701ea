"""A network from its spec: torchvision, timm, or one's own factory, and the weights wanted."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from explgraph.errors import UsageError
from explgraph.network.factory import load_factory
from explgraph.network.network import MODULE, Network
from explgraph.network.wrap import Colour, wrap
from explgraph.network.zoo import load_timm, load_torchvision


def load_network(
    spec: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    input_size: int | tuple[int, int] | None = None,
    mean: Colour | None = None,
    std: Colour | None = None,
    seed: int = 0,
) -> Network:
    """The network that ``spec`` names, in evaluation mode, its parameters without gradients.

    Args:
        spec: ``torchvision:NAME`` or just ``NAME``, ``timm:NAME``, or ``package.module:NAME``
            (the current directory is searched too). A factory takes no argument and returns a
            module; a module itself may stand there too. Its attributes ``input_size`` (height,
            width), ``input_mean``, ``input_std`` (of 0..1) and ``classes`` are honoured; without
            them: 224 x 224 pixels and ImageNet's. A factory may also return a network made by
            `wrap`. A network whose first convolution takes one channel is shown the luminance.
        weights: a file (.pth, .pt, .safetensors) with a state dict; or an entry of torchvision's
            weights enum (``IMAGENET1K_V1``, ``DEFAULT``); or ``"none"`` (same as ``"random"``) for
            random ones from ``seed``. By default the enum's default, which torchvision downloads;
            timm's pretrained ones; the factory's own.
        device: ``"auto"`` takes cuda, else mps, else the CPU.
        input_size: (height, width) or side in pixels, instead of the network's own.
        mean: of each channel, in 0..1, instead of the network's own.
        std: likewise.
        seed: of random weights.

    Raises:
        UsageError: the spec, the device or the size makes no sense.
        NetworkError: the model cannot be built, or its weights are unreachable or do not fit.

    >>> load_network("squeezenet1_1", weights="none").input.size
    (224, 224)
    """
    chosen = _device(device)  # first: a wrong device shall not wait for a download
    if not isinstance(spec, str):
        raise UsageError(
            f"load_network takes the name of a network, got a {type(spec).__name__}; "
            "explgraph.wrap takes a module, and every question takes one as it is"
        )
    if spec.startswith(MODULE):
        raise UsageError(
            f"{spec} was handed over in Python and cannot be loaded by its name; "
            "hand the module over again: Workspace.network(module)"
        )
    spec = spec if ":" in spec else f"torchvision:{spec}"
    wanted = None if weights is None else os.fspath(weights)
    if wanted == "random":
        wanted = "none"
    scheme = spec.partition(":")[0]
    load = {"torchvision": load_torchvision, "timm": load_timm}.get(scheme, load_factory)
    # Loaded on the CPU, so that random weights of a seed are the same whatever the device.
    network = load(spec, wanted, seed)
    network.model.to(chosen).eval().requires_grad_(False)
    network = replace(network, device=chosen)
    return wrap(network, input_size=input_size, mean=mean, std=std)


def _device(device: str | torch.device) -> torch.device:
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if device == "auto":
        return torch.device(available[0])
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        message = f"device must be auto, cpu, cuda, cuda:N or mps, got {device!r}"
        raise UsageError(message) from error
    if chosen.type in ("cuda", "mps") and chosen.type not in available:
        choice = " or ".join(available)
        raise UsageError(f"device {str(device)!r} is not available here; use {choice}")
    return chosen
