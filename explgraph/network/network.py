"""A network ready to be asked: the model, what it expects as input, and which weights it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from explgraph.errors import NetworkError, UsageError
from explgraph.network.bind import bound_state
from explgraph.network.channels import USUAL_MEAN, USUAL_STD, luminance
from explgraph.network.layers import (
    OnOutput,
    evaluation_mode,
    find_layers,
    forward_errors,
    watch_layers,
)
from explgraph.network.layout import require_places

MODULE = "nn.Module:"
"""Begins the spec of a network that was handed over as a module (`explgraph.network.wrap`)."""


Head = Literal["auto", "softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class InputSpec:
    """What the network expects as input.

    Args:
        height: pixels.
        width: pixels.
        mean: of R, G, B in units of 0..1, or of grey alone, or of as many channels as the network
            takes; torchvision's ImageNet statistics unless given.
        std: their standard deviations.

    >>> InputSpec(96, 128).size, InputSpec(28, 28, (0.5,), (0.5,)).channels
    ((96, 128), 1)
    """

    height: int
    width: int
    mean: tuple[float, ...] = USUAL_MEAN[3]
    std: tuple[float, ...] = USUAL_STD[3]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @property
    def channels(self) -> int:
        """3: red, green and blue; 1: grey; networks of others take no photographs."""
        return len(self.mean)


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A CNN and what is known of it; `load_network` makes it by name, `wrap` from a module.

    It is asked in evaluation mode, in whatever mode the module is.

    Args:
        model: the module, on ``device``.
        spec: where it came from: ``torchvision:NAME``, ``timm:NAME``, ``package.module:NAME``,
            or ``nn.Module:CLASS``, which cannot be loaded again by its spec.
        weights: entry of the weights enum, or file, or pretrained tag; "none" if random; None if
            the factory's own.
        input: size and normalisation of its input.
        classes: what its outputs mean, in order; None if unknown.
        device: where it computes.
        head: what lies behind the scores: "softmax" (exclusive classes), "sigmoid" (each output
            stands for itself: binary, multi-label), "none"; "auto": sigmoid where there is one
            output or the network ends in one, else softmax.

    >>> model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten()).eval()
    >>> own = Network(model, "own", None, InputSpec(8, 8), ("cat", "dog"), torch.device("cpu"))
    >>> own.model(own.preprocess(torch.zeros(5, 8, 8, 3, dtype=torch.uint8))).shape
    torch.Size([5, 2])
    """

    model: nn.Module
    spec: str
    weights: str | None
    input: InputSpec
    classes: tuple[str, ...] | None
    device: torch.device
    head: Head = "auto"

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        size = f"{self.input.height} x {self.input.width}"
        return f"Network({self.name}, input {size}{classes}, {self.device})"

    @property
    def name(self) -> str:
        """The spec as one would type it: ``vgg16`` for ``torchvision:vgg16``."""
        return self.spec.removeprefix("torchvision:").removeprefix(MODULE)

    @property
    def dtype(self) -> torch.dtype | None:
        """What its parameters are, such as float16; None if there are none: any input will do.

        >>> network.dtype
        torch.float32
        """
        dtypes = (one.dtype for one in self.model.parameters() if one.is_floating_point())
        return next(dtypes, None)

    @cached_property
    def sha256(self) -> str:
        """Hash of the state dict and of what is bound (see `state_hash`), computed at first use."""
        return state_hash(self.model.state_dict() | bound_state(self.model))

    def preprocess(self, images: Tensor) -> Float[Tensor, "image channel height width"]:
        """The network input on the device, of its dtype: (image / 255 - mean) / std.

        A network of one channel is shown the luminance, 0.299 R + 0.587 G + 0.114 B.

        Args:
            images: RGB, uint8 (n, height, width, 3), already of the size wanted; or with as many
                channels as the network takes.

        Raises:
            ValueError: another dtype or shape.
            UsageError: the network takes neither colours nor grey.
        """
        channels = self.input.channels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] not in (3, channels):
            got = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(f"images must be uint8 (n, height, width, 3), got {got}")
        # The bytes go to the device before they become floats, which are four times as large.
        images = images.to(self.device, non_blocking=True)
        if images.shape[3] != channels:
            self.check_photographs()
            images = luminance(images)
        wide = wide_dtype(self.dtype)
        statistics = torch.tensor([self.input.mean, self.input.std], dtype=wide, device=self.device)
        mean, std = statistics.reshape(2, -1, 1, 1)
        # Without a format the floats would keep the strides of the bytes, channels last.
        x = images.permute(0, 3, 1, 2)
        x = x.to(wide, memory_format=torch.contiguous_format)
        # Halves only now: the differences of bytes would lose their last digits.
        return x.div_(255).sub_(mean).div_(std).to(dtype=self.dtype)

    def check_photographs(self) -> None:
        """Nothing, if photographs can be shown to the network.

        Raises:
            UsageError: its images have neither three channels nor one.
        """
        if self.input.channels not in (1, 3):
            n, (height, width) = self.input.channels, self.input.size
            raise UsageError(
                f"{self.name} takes images of {n} channels, and a photograph has three colours or "
                f"one grey; give tensors of floats (n, {n}, {height}, {width}) as it takes them"
            )

    def find_layers(self, names: Sequence[str]) -> dict[str, nn.Module]:
        """The modules called ``names``; see `explgraph.network.find_layers`."""
        return find_layers(self.model, names, model_name=self.name)

    def top_first(self, names: Sequence[str]) -> tuple[str, ...]:
        """The layers, last reached first.

        Raises:
            LayerError: one is unknown or has no maps.
            NetworkError: the network does not run on its input.
        """
        order: list[str] = []

        def see(name: str, maps: Tensor) -> None:
            require_places(self.model, name, maps)
            order.append(name)

        size = self.input.size
        watching = self.watch(names, see, stop=True)
        with torch.inference_mode(), watching as run, forward_errors(self.name, size):
            run(blank_input(self, size))
        return tuple(reversed(order))

    @contextmanager
    def watch(
        self, names: Sequence[str], on_output: OnOutput, *, stop: bool = False
    ) -> Iterator[Callable[..., Any]]:
        """A context that reports the layers' outputs, in evaluation mode; see `watch_layers`."""
        watching = watch_layers(self.model, names, on_output, stop=stop, model_name=self.name)
        with evaluation_mode(self.model), watching as run:
            yield run


@contextmanager
def fast_layout(network: Network) -> Iterator[None]:
    """Weights in channels-last layout on a CPU, while the context lasts.

    Convolutions then run up to twice as fast (measured). At the end every parameter has its own
    memory again.

    >>> model = nn.Conv2d(3, 4, 3)
    >>> network = Network(model, "own", None, InputSpec(8, 8), None, torch.device("cpu"))
    >>> with fast_layout(network):
    ...     model.weight.is_contiguous(memory_format=torch.channels_last)
    True
    >>> model.weight.is_contiguous()
    True
    """
    own: list[tuple[nn.Parameter, Tensor]] = []
    try:
        if network.device.type == "cpu":
            for parameter in network.model.parameters():
                if parameter.ndim == 4:  # those of convolutions; others have no channels-last
                    own.append((parameter, parameter.data))
                    parameter.data = parameter.data.to(memory_format=torch.channels_last)
        yield
    finally:
        for parameter, data in own:
            parameter.data = data


def wide_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """What sums are taken in: float32, as halves would lose digits; float64 stays.

    >>> wide_dtype(torch.float16), wide_dtype(torch.float64)
    (torch.float32, torch.float64)
    """
    # Not torch.promote_types: it refuses floats of 8 bits.
    return torch.float64 if dtype == torch.float64 else torch.float32


def blank_input(network: Network, size: tuple[int, int]) -> Float[Tensor, "1 channel height width"]:
    """One image of the mean colour, of the device and dtype of the network's parameters.

    >>> blank_input(network, (96, 128)).shape
    torch.Size([1, 3, 96, 128])
    """
    # Zero is the mean colour, because the input is normalised.
    shape = (1, network.input.channels, *size)
    return torch.zeros(shape, device=network.device, dtype=network.dtype)


def state_hash(state: dict[str, Tensor]) -> str:
    """The sha256 (hexadecimal) of a state dict, the same on every device.

    It covers the sorted names, each with dtype, shape and bytes.

    Raises:
        NetworkError: a value is no tensor, as modules with a state of their own may give it.

    >>> state_hash({"weight": torch.zeros(2)})[:12]
    'bc7ca7ced5a6'
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if not isinstance(state[name], Tensor):
            kind = type(state[name]).__name__
            raise NetworkError(
                f"the network's state {name!r} is a {kind} and no tensor, so that its weights "
                "cannot be told from others; give a network of tensors"
            )
        # NumPy knows no bfloat16; the bytes of any dtype are uint8.
        value = state[name].detach().cpu().contiguous()
        dtype = str(value.dtype).removeprefix("torch.")
        digest.update(f"{name} {dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
