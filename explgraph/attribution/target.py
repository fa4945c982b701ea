"""What is asked of a network: a class, an activation, a node of the graph, or any function of its output."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from explgraph.attribution.rectified import positive_part
from explgraph.errors import NetworkError, UsageError
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.network import Network

_PROBABILITY_TOLERANCE = 1e-4  # float32 probabilities of 1,000 classes sum to 1 within 1e-6


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
        """Return node ``node`` of ``graph`` at ``place`` (n, 2), as `explgraph.locations.NodeLocations` has it.

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
class Targets:
    """The class asked about in each of n images.

    Args:
        indexes: (n,), int64, number of the network's output.
        names: the class's name, "class 12" where the network does not say.
        scores: (n,), float32, the output S_c itself, before the softmax.
        probabilities: (n,), float32, softmax of the outputs.
    """

    indexes: NDArray[np.int64]
    names: tuple[str, ...]
    scores: NDArray[np.float32]
    probabilities: NDArray[np.float32]


def find_class(network: Network, target: int | str, *, n_classes: int | None = None) -> int:
    """Return the number of the class that ``target`` means; runs nothing, so a request can be checked early.

    Args:
        network: knows the names of its classes, or not.
        target: a number; a name, in any case, or a part of it that only one class has; or a number in digits.
        n_classes: how many outputs the network has; by default as many as it has names.

    Raises:
        UsageError: no class or several fit; the message names near ones.
    """
    classes = (
        network.classes
        if network.classes is not None and n_classes in (None, len(network.classes))
        else None
    )
    known = n_classes if n_classes is not None else len(classes) if classes is not None else None
    if isinstance(target, str):
        named = _find_name(classes, target.strip())
        if named is not None:
            return named
        if not target.strip().isdecimal():
            raise UsageError(_unknown_class(network, classes, target, known))
        target = int(target)
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise UsageError(f"a class is a number or a name, got {target!r}")
    if target < 0 or (known is not None and target >= known):
        raise UsageError(f"the class's number must be {_range(known)}, got {target}")
    return int(target)


def resolve_target(
    network: Network, target: int | str | None = None, *, scores: torch.Tensor
) -> Targets:
    """Return the class asked about in each image, with its score and its probability.

    Args:
        network: knows the names of its classes, or not.
        target: a number or a name (see `find_class`); None for the largest score of each image.
        scores: (n, classes), what the network says of the images, before the softmax.

    Raises:
        UsageError: see `find_class`.
    """
    scores = scores.detach().float()
    if target is None:
        indexes = scores.argmax(1)
    else:
        index = find_class(network, target, n_classes=scores.shape[1])
        indexes = torch.full((len(scores),), index, device=scores.device)
    picked = [
        values.gather(1, indexes[:, None])[:, 0].cpu().numpy()
        for values in (scores, scores.softmax(1))
    ]
    numbers = indexes.cpu().numpy()
    return Targets(
        numbers, class_names(network, numbers.tolist(), n_classes=scores.shape[1]), *picked
    )


def class_names(
    network: Network, numbers: Sequence[int], *, n_classes: int | None = None
) -> tuple[str, ...]:
    """Return what the outputs ``numbers`` are called: "class 12" where the network names none, or not as many as ``n_classes``."""
    classes = network.classes or ()
    known = classes if n_classes in (None, len(classes)) else ()
    return tuple(known[i] if i < len(known) else f"class {i}" for i in numbers)


def check_scores(network: Network, output: Any, n_images: int) -> torch.Tensor:
    """Return ``output`` if it is scores (n_images, classes) from before the softmax.

    Raises:
        NetworkError: it is something else, or not finite, or probabilities, whose gradients also say what speaks against
            all the other classes (Simonyan et al. 2014, section 3.1).
    """
    if (
        not isinstance(output, torch.Tensor)
        or output.ndim != 2
        or len(output) != n_images
        or not output.is_floating_point()
    ):
        got = (
            f"shape {tuple(output.shape)}"
            if isinstance(output, torch.Tensor)
            else f"a {type(output).__name__}"
        )
        raise NetworkError(
            f"{network.name} must yield class scores of shape ({n_images}, classes), got {got}; give a classifier, "
            "or wrap the network so that it returns its scores"
        )
    values = output.detach().double()
    if not values.isfinite().all():
        raise NetworkError(
            f"{network.name} yields scores that are not finite; check its weights and its input"
        )
    if values.shape[1] > 1 and (_are_probabilities(values) or _are_probabilities(values.exp())):
        raise NetworkError(
            f"{network.name} ends in a softmax, but the scores from before it are needed; leave it out"
        )
    return output


def _are_probabilities(values: torch.Tensor) -> bool:
    return bool((values >= 0).all() and ((values.sum(1) - 1).abs() < _PROBABILITY_TOLERANCE).all())


def _find_name(classes: tuple[str, ...] | None, wanted: str) -> int | None:
    if classes is None or not wanted:
        return None
    wanted = wanted.casefold()
    lower = [name.casefold() for name in classes]
    found = [i for i, name in enumerate(lower) if name == wanted]
    if not found and not wanted.isdecimal():
        found = [i for i, name in enumerate(lower) if wanted in name]
    if len(found) > 1:
        listed = ", ".join(f"{i} {classes[i]!r}" for i in found[:5]) + (
            ", ..." if len(found) > 5 else ""
        )
        raise UsageError(
            f"{wanted!r} fits {len(found)} classes ({listed}); give one name in full, or a number"
        )
    return found[0] if found else None


def _unknown_class(
    network: Network, classes: tuple[str, ...] | None, wanted: str, known: int | None
) -> str:
    if classes is None:
        return f"{network.name} does not say what its classes are called; give a number {_range(known)}, got {wanted!r}"
    names = {name.casefold(): name for name in classes}
    close = [names[key] for key in difflib.get_close_matches(wanted.casefold(), names, n=3)]
    hint = (
        f"did you mean {' or '.join(map(repr, close))}?"
        if close
        else f"give a part of its name, or a number {_range(known)}"
    )
    return f"{wanted!r} is no class of {network.name}; {hint}"


def _range(known: int | None) -> str:
    return "0 or more" if known is None else f"0 to {known - 1}"
