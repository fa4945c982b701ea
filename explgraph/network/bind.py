"""A module that takes more than images: its further inputs, a question or a mask, given once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from explgraph.errors import UsageError

Bind = Mapping[str, Any] | Sequence[Any]
"""Inputs by their names, or in the order in which they follow the images."""


class Bound(nn.Module):
    """A module with inputs beside the images; its layers, weights and modes are the module's own.

    Args:
        module: takes images and more.
        inputs: see `explgraph.network.wrap`.

    Raises:
        UsageError: the module cannot be called so.

    >>> class Scaled(nn.Module):
    ...     def forward(self, images, factor):
    ...         return images * factor
    >>> Bound(Scaled(), {"factor": torch.tensor([[[[2.0]]]])})(torch.ones(3, 1, 2, 2)).unique()
    tensor([2.])
    """

    def __init__(self, module: nn.Module, inputs: Bind) -> None:
        super().__init__()
        # Not as a submodule, or all layers would have other names. In a tuple torch overlooks it.
        self._inner = (module,)
        for shared in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            vars(self)[shared] = vars(module)[shared]
        self._names = tuple(inputs) if isinstance(inputs, Mapping) else ()
        given = inputs.values() if isinstance(inputs, Mapping) else inputs
        self._inputs = tuple(map(_held, given))
        signature = inspect.signature(module.forward)
        (first, *others) = signature.parameters or ("",)
        # Where the images are not the first of its inputs they are given by name too.
        other = next((one for one in others if one not in self._names), None)
        self._image = other if first in self._names else None
        try:
            args, named = self._arguments(None, list(self._inputs))
            signature.bind(*args, **named)
        except TypeError as error:
            kind, listed = type(module).__name__, ", ".join(signature.parameters)
            raise UsageError(
                f"{kind}.forward({listed}) cannot be called with images and these inputs: {error}"
            ) from error

    def forward(self, images: Tensor) -> Any:
        """What the module makes of the images and its other inputs."""
        args, named = self._arguments(images, [_of_batch(one, images) for one in self._inputs])
        return self._inner[0](*args, **named)

    def _arguments(self, images: Any, given: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self._names:
            return (images, *given), {}
        named = dict(zip(self._names, given, strict=True))
        if self._image is None:
            return (images,), named
        return (), {self._image: images, **named}

    @property
    def training(self) -> bool:
        """The module's own mode, which is so changed and given back with those of its layers."""
        return self._inner[0].training if "_inner" in vars(self) else False

    @training.setter
    def training(self, mode: bool) -> None:
        if "_inner" in vars(self):  # torch sets it before there is a module
            self._inner[0].training = mode

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # what a module says of itself: input_size, classes
            if "_inner" not in vars(self):  # while it is being copied
                raise
            return getattr(self._inner[0], name)

    def _get_name(self) -> str:
        return type(self._inner[0]).__name__


def bound(module: nn.Module, inputs: Bind) -> nn.Module:
    """The module with these inputs, in place of any that it had.

    >>> bound(nn.Bilinear(2, 3, 4), [torch.zeros(1, 3)])(torch.ones(5, 2)).shape
    torch.Size([5, 4])
    """
    if isinstance(inputs, str) or not isinstance(inputs, Mapping | Sequence):
        raise UsageError(
            f"bind must be inputs by name, such as bind={{'question': tensor}}, got {inputs!r}"
        )
    inner = module._inner[0] if isinstance(module, Bound) else module
    return Bound(inner, inputs) if inputs else inner


def bound_state(module: nn.Module) -> dict[str, Tensor]:
    """The inputs that are bound, as tensors: with them a network answers differently.

    >>> list(bound_state(bound(nn.Bilinear(2, 3, 4), [torch.zeros(1, 3)])))
    ['bind 0']
    """
    if not isinstance(module, Bound):
        return {}
    names = module._names or range(len(module._inputs))
    pairs = zip(names, module._inputs, strict=True)
    return {f"bind {name}": _as_tensor(value) for name, value in pairs}


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    # A function by its name: where it lies in memory differs from run to run.
    said = getattr(value, "__qualname__", None) or repr(value)
    return torch.tensor(list(said.encode()), dtype=torch.uint8)


def _held(value: Any) -> Any:
    return torch.as_tensor(value) if isinstance(value, np.ndarray) else value


def _of_batch(value: Any, images: Tensor) -> Any:
    """An input for these images: of one image for each of them, of a function what it makes."""
    if not isinstance(value, Tensor):
        return value(images) if callable(value) else value
    value = value.to(images.device)
    if value.ndim and len(value) == 1:
        # A copy for each image: the module may work in place.
        return value.repeat(len(images), *(1,) * (value.ndim - 1))
    return value
