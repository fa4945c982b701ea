"""A network from a module that the caller has in hand: nothing of the module is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, get_args

import torch
from torch import nn

from explgraph.errors import NetworkError, UsageError
from explgraph.network.bind import Bind, bound
from explgraph.network.channels import USUAL_MEAN, USUAL_STD, input_channels
from explgraph.network.network import MODULE, Head, InputSpec, Network
from explgraph.network.weights import unusable

Model = Network | nn.Module
"""What every question takes: a network, or a plain module, which `wrap` makes one of."""

_NUMBERS = {1: "one number (grey)", 3: "three numbers (R, G, B)"}
MAX_SIDE = 2**15  # pixels of an input; PyTorch ends with errors of its own beyond 2**63 values
Colour = Sequence[float] | float


def wrap(
    model: Model,
    *,
    input_size: int | tuple[int, int] | None = None,
    mean: Colour | None = None,
    std: Colour | None = None,
    class_names: Sequence[str] | None = None,
    head: Head | None = None,
    bind: Bind | None = None,
) -> Network:
    """The network of a module of one's own: with it, its input and its classes are known.

    The module stays as it is: in its mode, on its device, with its gradients. It is asked in
    evaluation mode, and has its own mode again after each question.

    Args:
        model: takes (n, 3, height, width); or (n, 1, height, width), grey, and photographs are
            then shown as their luminance; or other channels, and tensors only. Of a `Network` the
            same module, with what is given here instead of its own.
        input_size: (height, width) or side in pixels; by default the module's attribute
            ``input_size``, else 224 x 224.
        mean: of R, G, B in 0..1, or of grey, subtracted from an image; by default the module's
            ``input_mean``, else ImageNet's (of its luminance; of other channels 0 and 1).
        std: divides the difference; by default the module's ``input_std``, else ImageNet's.
        class_names: of the outputs, in order; by default the module's ``classes``.
        head: "softmax", "sigmoid", "none" or "auto", see `Network`.
        bind: further inputs of the module (a question, a mask) by name, or in order behind the
            images. A tensor whose first axis has length 1 is repeated for each image of a batch,
            a function is given the batch, and anything else is passed as it is.

    Raises:
        UsageError: not a module, an impossible size or normalisation, or inputs that it has not.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    >>> wrap(model, input_size=32, class_names=["cat", "dog", "horse", "zebra"]).classes
    ('cat', 'dog', 'horse', 'zebra')
    """
    if not isinstance(model, Network):
        network = _plain(model, bind)
    else:
        network = model if bind is None else replace(model, model=bound(model.model, bind))
    spec = network.input
    height, width = spec.size if input_size is None else _pair(input_size)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise UsageError(
            f"input size must be 1 to {MAX_SIDE} pixels (height, width), got {height} x {width}"
        )
    if mean is not None or std is not None:
        channels = input_channels(network.model, (height, width))
        spec = replace(
            spec,
            mean=spec.mean if mean is None else _colour("mean", mean, channels),
            std=spec.std if std is None else _colour("std", std, channels),
        )
    spec = replace(spec, height=height, width=width)
    if min(spec.std) <= 0:
        raise UsageError(f"std must be above 0 for each colour, got {spec.std}")
    if len(spec.mean) != len(spec.std):
        raise UsageError(f"give a mean and a std for each channel, got {spec.mean} and {spec.std}")
    if head not in (None, *get_args(Head)):
        raise UsageError(f"head must be one of {', '.join(get_args(Head))}, got {head!r}")
    if head is not None and head != network.head:
        network = replace(network, head=head)
    if class_names is None:
        return network if spec == network.input else replace(network, input=spec)
    if isinstance(class_names, str):
        raise UsageError(f"class_names must be a list of names, got the string {class_names!r}")
    return replace(network, input=spec, classes=tuple(map(str, class_names)))


def _plain(model: Any, bind: Bind | None) -> Network:
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"expected a torch.nn.Module or a Network, got a {type(model).__name__}; "
            "explgraph.load_network('resnet18') loads one by its name"
        )
    kind = type(model).__name__
    check_module(model, kind)
    model = model if bind is None else bound(model, bind)
    tensors = (*model.parameters(), *model.buffers())
    # A module without parameters computes wherever its input is.
    device = next((one.device for one in tensors), torch.device("cpu"))
    shown, classes = declared_input(model, kind), declared_classes(model)
    return Network(model, f"{MODULE}{kind}", None, shown, classes, device)


def check_module(model: nn.Module, name: str) -> None:
    """Refuse a module that cannot be asked, before anything is computed.

    Raises:
        NetworkError: it is scripted or quantised, or one of its tensors has no values.
    """
    for path, module in model.named_modules():
        where = f"{name}, {path!r}" if path else name
        # Hooks are refused by TorchScript, and its inner layers are no modules of Python.
        if isinstance(module, torch.jit.ScriptModule):
            raise NetworkError(
                f"{where}: TorchScript (scripted or traced) has no layers to look at; give the "
                "module that it was made from"
            )
        if ".quantized" in type(module).__module__:
            raise NetworkError(
                f"{where}: quantised layers have no gradients; give the network before quantisation"
            )
    for path, value in (*model.named_parameters(), *model.named_buffers()):
        if (problem := unusable(value)) is not None:
            raise NetworkError(f"{name}: {path!r} {problem}")


def declared_classes(model: nn.Module) -> tuple[str, ...] | None:
    """The names in a module's attribute ``classes``; None if it is no list of names."""
    try:
        return tuple(map(str, getattr(model, "classes", None) or ())) or None
    except (TypeError, ValueError, RuntimeError):  # a number of classes, an array
        return None


def declared_input(model: nn.Module, name: str) -> InputSpec:
    """What a module says of its input: ``input_size``, ``input_mean`` and ``input_std``.

    Raises:
        NetworkError: it says something that cannot be.
    """
    declared = (getattr(model, one, None) for one in ("input_size", "input_mean", "input_std"))
    size, mean, std = declared
    try:
        height, width = (224, 224) if size is None else map(int, _pair(size))
        channels = input_channels(model, (height, width))
        n = channels or (3 if mean is None else len(_numbers(mean)))
        mean = USUAL_MEAN.get(n, (0.0,) * n) if mean is None else _numbers(mean)
        std = USUAL_STD.get(n, (1.0,) * n) if std is None else _numbers(std)
    except (TypeError, ValueError) as error:
        raise NetworkError(
            f"{name}: input_size must be (height, width), input_mean and input_std "
            f"{_NUMBERS[3]}: {error}"
        ) from error
    if len(mean) != n or len(std) != n:
        raise NetworkError(
            f"{name}: input_mean and input_std must have "
            f"{_numbered(n).replace('number', 'value')}, got {mean} and {std}"
        )
    is_size = 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE
    if not is_size or not all(map(isfinite, mean + std)) or min(std) <= 0:
        raise NetworkError(
            f"{name}: input_size must be 1 to {MAX_SIDE}, input_mean finite and input_std above 0, "
            f"got {height} x {width}, {mean} and {std}"
        )
    return InputSpec(height, width, mean, std)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _colour(what: str, values: Colour, channels: int | None) -> tuple[float, ...]:
    message = f"{what} must be {_numbered(channels or 3)}, got {values!r}"
    try:
        numbers = _numbers(values)
    except (TypeError, ValueError) as error:
        raise UsageError(message) from error
    if not numbers or channels not in (None, len(numbers)):
        raise UsageError(message)
    return numbers


def _numbers(values: Colour) -> tuple[float, ...]:
    return (float(values),) if isinstance(values, int | float) else tuple(map(float, values))


def _numbered(channels: int) -> str:
    return _NUMBERS.get(channels, f"{channels} numbers")
