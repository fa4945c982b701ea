"""What is asked of a network (a class, an activation, a node of the graph, any function of its output), and the pass that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from explgraph.attribution.rectified import positive_part
from explgraph.attribution.target import Targets, check_scores, resolve_target
from explgraph.errors import ExplgraphError, NetworkError, UsageError
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.network import Network, evaluation_mode
from explgraph.network.partial import last_module

Images = Tensor | NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Activation:
    """How active a channel is: ``sum_x max(f_x, 0)`` over its map, or ``max(f_x, 0)`` at one cell.

    Args:
        layer: dotted torch name.
        channel: its number; or (n,), one for each image.
        cell: (row, column); or (n, 2), one for each image; None for the whole map.
    """

    layer: str
    channel: int | Sequence[int] | NDArray[np.int64]
    cell: ArrayLike | None = None

    @property
    def name(self) -> str:
        """``features.12:7``, or just the layer where every image has a channel of its own."""
        return (
            f"{self.layer}:{self.channel}"
            if isinstance(self.channel, int | np.integer)
            else self.layer
        )

    def of_image(self, number: int) -> Activation:
        """Return what is asked of one image of the batch."""
        channel, cell = (
            np.asarray(self.channel),
            None if self.cell is None else np.asarray(self.cell),
        )
        return Activation(
            self.layer,
            int(channel[number] if channel.ndim else channel),
            cell if cell is None or cell.ndim == 1 else cell[number],
        )

    def values(self, maps: Tensor) -> Tensor:
        """Return the activation in each image, (n,), of ``maps`` (n, channels, rows, columns)."""
        channels, cells = self.indexes(maps)
        numbers = torch.arange(len(maps), device=maps.device)
        if cells is None:
            return positive_part(maps[numbers, channels]).sum((1, 2))
        return positive_part(maps[numbers, channels, cells[:, 0], cells[:, 1]])

    def indexes(self, maps: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Return the channel (n,) and the cell (n, 2), or None, of each image of ``maps`` (n, channels, rows, columns).

        Raises:
            UsageError: the maps have no such channel or cell.
        """
        n, n_channels, rows, cols = maps.shape
        channels = self._each("channel", self.channel, (n,), (n_channels,))
        return channels, None if self.cell is None else self._each(
            "cell", self.cell, (n, 2), (rows, cols)
        )

    def _each(
        self, what: str, value: ArrayLike, shape: tuple[int, ...], limits: tuple[int, ...]
    ) -> NDArray[np.int64]:
        try:
            array = np.asarray(value)
        except ValueError:  # lists of unequal length
            array = np.empty(0)
        if not np.issubdtype(array.dtype, np.integer) or array.shape not in (shape, shape[1:]):
            raise UsageError(
                f"{what} of layer {self.layer!r} must be whole numbers, one {what} or one for each of {shape[0]} images, got {value!r}"
            )
        if (array < 0).any() or (array >= np.asarray(limits).reshape(shape[1:])).any():
            allowed = " x ".join(str(limit) for limit in limits)
            raise UsageError(
                f"layer {self.layer!r} has {allowed} {what}s, counted from 0; got {value!r}"
            )
        return np.broadcast_to(array, shape).astype(np.int64)


@dataclass(frozen=True, eq=False)
class PlacedNode:
    """A node of the graph where it was found: ``S_V = sum_x max(f_x, 0) exp(-|p_x - p_V|^2 / 2 sigma_V^2)``.

    The place is fixed, so the gradient says which pixels make the pattern appear there. As in inference (Zhang et al., AAAI 2018,
    section 3), where S_V is F(x) P(p_x | V) at the best x, but with the mass about it instead of one cell, so that it is smooth.

    Args:
        name: the node's id.
        layer: where the cells of its layer look at.
        channel: of the layer.
        place: (n, 2) or (2,), (row, column), fractions of the network input that the network is shown.
        std: sigma_V, fraction of the network input.
    """

    name: str
    layer_geometry: Layer
    channel: int
    place: NDArray[np.float64]
    std: float
    input_size: tuple[int, int]

    @classmethod
    def of(
        cls, graph: ExplanatoryGraph, node: str, place: ArrayLike, *, input_size: tuple[int, int]
    ) -> PlacedNode:
        """Return node ``node`` of ``graph`` at ``place`` (n, 2), as `explgraph.locations.locator.NodeLocations` has it.

        Raises:
            GraphError: the graph has no such node.
            UsageError: the places are no pairs of finite numbers.
        """
        attributes = graph.node(node)
        try:
            places = np.asarray(place, dtype=np.float64)
        except (TypeError, ValueError):  # no numbers, or lists of unequal length
            places = np.empty(0)
        if places.ndim not in (1, 2) or places.shape[-1] != 2 or not np.isfinite(places).all():
            raise UsageError(
                f"place must be finite (row, column), one or one per image, got shape {places.shape}"
            )
        layer = graph.layer(attributes["layer"])
        return cls(node, layer, attributes["channel"], places, attributes["std"], input_size)

    @property
    def layer(self) -> str:
        """Dotted torch name."""
        return self.layer_geometry.name

    def of_image(self, number: int) -> PlacedNode:
        """Return what is asked of one image of the batch."""
        return replace(self, place=self.place if self.place.ndim == 1 else self.place[number])

    def window(self, n: int) -> NDArray[np.float32]:
        """Return the weight of every cell in each of ``n`` images, (n, rows, columns): 1 at the node's place."""
        if self.place.shape not in ((2,), (n, 2)):
            raise UsageError(
                f"node {self.name} needs one place for each of {n} images, got {len(self.place)}"
            )
        geometry = self.layer_geometry
        place = np.broadcast_to(self.place, (n, 2))
        squares = []
        for axis, cells in enumerate((geometry.height, geometry.width)):
            centre = (
                geometry.first[axis] + geometry.stride[axis] * np.arange(cells)
            ) / self.input_size[axis]
            squares.append((centre - place[:, axis, None]) ** 2)
        distance = squares[0][:, :, None] + squares[1][:, None, :]
        weights: NDArray[np.float32] = np.exp(-distance / (2 * self.std**2)).astype(np.float32)
        return weights

    def values(self, maps: Tensor) -> Tensor:
        """Return S_V in each image, (n,), of ``maps`` (n, channels, rows, columns)."""
        return (positive_part(maps[:, self.channel]) * self.weights(maps)).sum((1, 2))

    def weights(self, maps: Tensor) -> Tensor:
        """Return `window` for ``maps`` (n, channels, rows, columns), on their device.

        Raises:
            UsageError: the maps are of another layer.
        """
        expected = (
            self.layer_geometry.channels,
            self.layer_geometry.height,
            self.layer_geometry.width,
        )
        if tuple(maps.shape[1:]) != expected:
            raise UsageError(
                f"node {self.name} belongs to maps of {expected}, got {tuple(maps.shape[1:])}; use the graph's network"
            )
        return torch.from_numpy(self.window(len(maps))).to(maps.device, maps.dtype)


Target = int | str | None | Activation | PlacedNode | Callable[[Any], Tensor]


@dataclass(frozen=True, eq=False)
class Answer:
    """What one pass says.

    Args:
        values: (n,), what was asked, with its gradient where gradients are enabled.
        targets: what was asked, in words, with the values.
        cut: copy of the output of the layer at which the pass was cut, the start of its gradient; None if it was not.
    """

    values: Tensor
    targets: Targets
    cut: Tensor | None


def ask(network: Network, batch: Tensor, target: Target, *, cut: str | None = None) -> Answer:
    """Return what the target is worth in each image, from one forward pass that ends as early as it can.

    Args:
        network: any that yields what the target needs.
        batch: (n, 3, height, width), its input.
        target: class by number or name, None for each image's own first choice; an `Activation`; a `PlacedNode`; or a function
            from the network's output, whatever that is, to (n,).
        cut: a layer; its output becomes a leaf, so that gradients go no further back and nothing before it is kept.

    Raises:
        UsageError: the class, channel or cell is unknown.
        LayerError: a layer is unknown, yields no maps, or is not reached.
        NetworkError: the network does not run on the batch, or yields nothing that the target could be read from.
    """
    layer = target.layer if isinstance(target, Activation | PlacedNode) else None
    leaf: list[Tensor] = []
    found: list[Tensor] = []

    def on_output(name: str, maps: Tensor) -> Tensor | None:
        if name == cut:
            leaf.append(
                maps.detach().requires_grad_(torch.is_grad_enabled() and maps.is_floating_point())
            )
            maps = leaf[0].clone()  # an in-place ReLU behind the layer overwrites this copy
        if name == layer:
            assert isinstance(target, Activation | PlacedNode)
            found.append(target.values(maps))
        return maps if name == cut else None

    names = list(dict.fromkeys(name for name in (cut, layer) if name is not None))
    if names:
        with network.watch(names, on_output, stop=layer is not None) as run:
            output = run_model(network, run, batch)
    else:
        output = run_model(network, network.model, batch)
    held = leaf[0] if leaf else None
    if found:
        return Answer(found[0], _named(network, target, found[0], len(batch)), held)
    return Answer(*read_output(network, target, output, len(batch)), held)


def read_output(
    network: Network, target: Target, output: Any, n_images: int
) -> tuple[Tensor, Targets]:
    """Return what a class or a function is worth in the network's output, (n,), and the target in words."""
    if callable(target):
        try:
            values = target(output)
        except Exception as error:  # foreign code
            raise NetworkError(
                f"the target failed on the output of {network.name}: {type(error).__name__}: {error}"
            ) from error
        return values, _named(network, target, values, n_images)
    scores = check_scores(network, output, n_images)
    assert not isinstance(target, Activation | PlacedNode)
    targets = resolve_target(network, target, scores=scores)
    return scores[torch.arange(n_images), targets.indexes.tolist()], targets


@contextmanager
def watching(network: Network, *asked: Any) -> Iterator[dict[str, list[Tensor]]]:
    """Yield what the activations and nodes among ``asked`` are worth in the pass that runs meanwhile, by their layer, in their order.

    Unlike `explgraph.network.watch_layers` it also sees a part of the network run by itself (see `explgraph.network.partial.chain`).
    """
    seen: dict[str, list[Tensor]] = {}
    answered: set[int] = (
        set()
    )  # a module that runs more than once is asked at its first run, as by `watch_layers`
    with ExitStack() as hooks:
        for number, one in enumerate(asked):
            if isinstance(one, Activation | PlacedNode):

                def hook(
                    module: Any, args: Any, maps: Tensor, number: int = number, one: Any = one
                ) -> None:
                    if number not in answered:
                        answered.add(number)
                        seen.setdefault(one.layer, []).append(one.values(maps))

                module = last_module(network.find_layers([one.layer])[one.layer])
                hooks.callback(module.register_forward_hook(hook).remove)
        yield seen


def worth(
    network: Network, target: Target, output: Any, seen: dict[str, list[Tensor]], n_images: int
) -> Tensor:
    """Return what the target is worth in each image, (n,), of a pass with this output that was watched for it."""
    if isinstance(target, Activation | PlacedNode):
        return seen[target.layer][0]
    return read_output(network, target, output, n_images)[0]


def gradient_of(values: Tensor, inputs: Tensor) -> Tensor | None:
    """Return d ``values`` / d ``inputs`` in the shape of ``inputs``, each image's own; None if nothing leads there."""
    return (
        torch.autograd.grad(values.sum(), inputs, allow_unused=True)[0]
        if values.requires_grad
        else None
    )


def network_input(network: Network, images: Images) -> Tensor:
    """Return a copy of the images as the network takes them, (n, 3, height, width) on its device.

    Args:
        network: normalises uint8 images.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).

    Raises:
        UsageError: another dtype or shape, or no image, or values that are not finite.
    """
    batch = _as_tensor(images)
    if batch.dtype == torch.uint8 and batch.ndim == 4 and batch.shape[3] == 3:
        batch = network.preprocess(batch)
    elif not (batch.is_floating_point() and batch.ndim == 4 and batch.shape[1] == 3):
        raise UsageError(
            "images must be uint8 (n, height, width, 3), or floating point (n, 3, height, width) as the network takes them; "
            f"got {str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
        )
    if batch.numel() == 0:
        raise UsageError(
            f"give at least one image of at least one pixel, got shape {tuple(batch.shape)}"
        )
    if not batch.isfinite().all():
        raise UsageError("images must be finite, got NaN or infinity")
    # A copy of its own, so that no gradient is asked for from the caller's tensor; convolutions on a CPU like this layout best.
    layout = torch.channels_last if network.device.type == "cpu" else torch.contiguous_format
    return batch.detach().to(network.device).clone(memory_format=layout)


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and gradients for the length of the context, whatever the caller's modes; all are put back."""
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of the context."""
    with evaluation_mode(model):
        yield


def run_model(network: Network, run: Callable[[Tensor], Any], batch: Tensor) -> Any:
    """Return what ``run``, the model or a part of it, makes of the batch (n, 3, height, width), which stays as it is.

    Raises:
        NetworkError: it does not run on such a batch.
    """
    try:
        return run(batch.clone())  # its copy: an in-place layer may come first
    except ExplgraphError:
        raise
    except (
        RuntimeError,
        ValueError,
        TypeError,
        AssertionError,
    ) as error:  # what modules raise on inputs that they cannot take
        size = f"{batch.shape[2]} x {batch.shape[3]}"
        raise NetworkError(
            f"{network.name} does not run on an input of {size} pixels: {error}"
        ) from error


def _as_tensor(images: Images) -> Tensor:
    try:
        # A view that is mirrored or read-only is no array that torch takes.
        return torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"images must be an array or a tensor of numbers, got a {type(images).__name__}: {error}"
        ) from error


def _named(network: Network, target: Target, values: Any, n_images: int) -> Targets:
    name = str(getattr(target, "name", None) or getattr(target, "__name__", "function"))
    if (
        not isinstance(values, Tensor)
        or tuple(values.shape) != (n_images,)
        or not values.is_floating_point()
    ):
        got = (
            f"shape {tuple(values.shape)}"
            if isinstance(values, Tensor)
            else f"a {type(values).__name__}"
        )
        raise UsageError(
            f"target {name} must yield one number for each of {n_images} images, got {got}"
        )
    if not values.detach().isfinite().all():
        raise NetworkError(
            f"{network.name} yields values of {name} that are not finite; check its weights and its input"
        )
    numbers = values.detach().float().cpu().numpy()
    return Targets(
        np.full(n_images, -1), (name,) * n_images, numbers, np.full(n_images, np.nan, np.float32)
    )
