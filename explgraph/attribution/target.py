"""What is asked of a network: a class, an activation, a node of the graph, or any function.

A class is asked for by its number or its name, or by a list with one for each image; None asks for
each image's own first choice. An
`Activation` asks for a channel, a `PlacedNode` for a node where it was found. A function is given
the network's output, whatever that is, and picks one number for each image, (n,).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from explgraph.attribution.attribution import Targets
from explgraph.attribution.head import as_scores, probabilities
from explgraph.attribution.rectified import positive_part
from explgraph.errors import NetworkError, UsageError
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.network import Network

_MOST_DIGITS = 18  # of a class's number: of thousands Python makes none
_TOLERANCE = 1e-4  # float32 probabilities of 1,000 classes sum to 1 within 1e-6

LayerMaps = Float[Tensor, "image channel rows columns"]
PerImage = Float[Tensor, " image"]


@dataclass(frozen=True, eq=False)
class Activation:
    """How active a channel is: ``sum_x max(f_x, 0)`` over its map, or ``max(f_x, 0)`` at one cell.

    A neuron of a vector layer (a linear one), and any map of a single cell, is asked for its value
    with its sign: it may be a score or a latent variable.

    Args:
        layer: dotted torch name.
        channel: its number; or (n,), one for each image. Of a vector the number of the value.
        cell: (row, column); or (n, 2), one for each image; None for the whole map.

    >>> Activation("features.12", 7).name
    'features.12:7'
    """

    layer: str
    channel: int | Sequence[int] | NDArray[np.int64]
    cell: ArrayLike | None = None

    @property
    def name(self) -> str:
        """``features.12:7``; the layer alone where each image has a channel of its own."""
        one = isinstance(self.channel, int | np.integer)
        return f"{self.layer}:{self.channel}" if one else self.layer

    def of_image(self, number: int) -> Activation:
        """What is asked of one image of the batch."""
        channel, cell = np.asarray(self.channel), self.cell
        if cell is not None and np.ndim(cell) == 2:
            cell = np.asarray(cell)[number]
        return Activation(self.layer, int(channel[number] if channel.ndim else channel), cell)

    def values(self, maps: LayerMaps) -> PerImage:
        """The activation in each image of the layer's ``maps``."""
        channels, cells = self.indexes(maps)
        images = torch.arange(len(maps), device=maps.device)
        if cells is None:
            chosen = maps[images, channels]
            return chosen[:, 0, 0] if is_single(maps) else positive_part(chosen).sum((1, 2))
        return positive_part(maps[images, channels, cells[:, 0], cells[:, 1]])

    def indexes(self, maps: LayerMaps) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """The channel (n,) and the cell (n, 2), or None, of each image.

        Raises:
            UsageError: the maps have no such channel or cell.
        """
        n, n_channels, *extent = maps.shape
        channels = self._each("channel", self.channel, (n,), (n_channels,))
        if self.cell is None:
            return channels, None
        return channels, self._each("cell", self.cell, (n, 2), tuple(extent))

    def _each(
        self, what: str, value: ArrayLike, shape: tuple[int, ...], limits: tuple[int, ...]
    ) -> NDArray[np.int64]:
        try:
            array = np.asarray(value)
        except ValueError:  # lists of unequal length
            array = np.empty(0)
        if not np.issubdtype(array.dtype, np.integer) or array.shape not in (shape, shape[1:]):
            raise UsageError(
                f"{what} of layer {self.layer!r} must be whole numbers, one {what} "
                f"or one for each of {shape[0]} images, got {value!r}"
            )
        if (array < 0).any() or (array >= np.asarray(limits).reshape(shape[1:])).any():
            allowed = " x ".join(map(str, limits))
            raise UsageError(
                f"layer {self.layer!r} has {allowed} {what}s, counted from 0; got {value!r}"
            )
        return np.broadcast_to(array, shape).astype(np.int64)


@dataclass(frozen=True, eq=False)
class PlacedNode:
    """A node where it was found: ``S_V = sum_x max(f_x, 0) exp(-|p_x - p_V|^2 / 2 sigma_V^2)``.

    The place is fixed, so the gradient says which pixels make the pattern appear there. When nodes
    are located (Zhang et al., AAAI 2018, section 3), S_V is F(x) P(p_x | V) at the best x. Here it
    is the mass about the place instead of one cell, so that it is smooth.

    Args:
        name: the node's id.
        layer_geometry: where the cells of its layer look at.
        channel: of the layer.
        place: (n, 2) or (2,), (row, column), fractions of the network input.
        std: sigma_V, fraction of the network input.
        input_size: (height, width) of the network input, pixels.
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
        """Node ``node`` of ``graph`` at ``place``, as `explgraph.locations.NodeLocations` has it.

        Raises:
            GraphError: the graph has no such node.
            UsageError: the places are not pairs of finite numbers.
        """
        attributes = graph.node(node)
        try:
            places = np.asarray(place, dtype=np.float64)
        except (TypeError, ValueError):  # not numbers, or lists of unequal length
            places = np.empty(0)
        if places.ndim not in (1, 2) or places.shape[-1] != 2 or not np.isfinite(places).all():
            raise UsageError(
                "place must be finite (row, column), one or one per image, "
                f"got shape {places.shape}"
            )
        layer = graph.layer(attributes["layer"])
        return cls(node, layer, attributes["channel"], places, attributes["std"], input_size)

    @property
    def layer(self) -> str:
        """Dotted torch name."""
        return self.layer_geometry.name

    def of_image(self, number: int) -> PlacedNode:
        """What is asked of one image of the batch."""
        return replace(self, place=self.place if self.place.ndim == 1 else self.place[number])

    def window(self, n: int) -> Float[np.ndarray, "image rows columns"]:
        """The weight of every cell in each of ``n`` images: 1 at the node's place."""
        if self.place.shape not in ((2,), (n, 2)):
            raise UsageError(
                f"node {self.name} needs one place for each of {n} images, got {len(self.place)}"
            )
        place, geometry = np.broadcast_to(self.place, (n, 2)), self.layer_geometry
        squares = []
        for axis, cells in enumerate((geometry.height, geometry.width)):
            pixels = geometry.first[axis] + geometry.stride[axis] * np.arange(cells)
            squares.append((pixels / self.input_size[axis] - place[:, axis, None]) ** 2)
        distance = squares[0][:, :, None] + squares[1][:, None, :]
        weights: NDArray[np.float32] = np.exp(-distance / (2 * self.std**2)).astype(np.float32)
        return weights

    def values(self, maps: LayerMaps) -> PerImage:
        """S_V in each image of the layer's ``maps``."""
        return (positive_part(maps[:, self.channel]) * self.weights(maps)).sum((1, 2))

    def weights(self, maps: LayerMaps) -> Float[Tensor, "image rows columns"]:
        """`window` for ``maps``, on their device.

        Raises:
            UsageError: the maps are of another layer.
        """
        layer, got = self.layer_geometry, tuple(maps.shape[1:])
        expected = (layer.channels, layer.height, layer.width)
        if got != expected:
            raise UsageError(
                f"node {self.name} belongs to maps of {expected}, got {got}; "
                "use the graph's network"
            )
        return torch.from_numpy(self.window(len(maps))).to(maps.device, maps.dtype)


def is_single(maps: LayerMaps) -> bool:
    """Whether each map is one cell, as those of a vector layer are: it has no place."""
    return tuple(maps.shape[2:]) == (1, 1)


Class = int | str
Classes = Sequence[Class] | NDArray[np.integer] | Tensor  # one for each image
Target = Class | Classes | None | Activation | PlacedNode | Callable[[Any], Tensor]
"""A class, by index or name, or one for each image; none, a channel, a node; or a function."""


def find_class(network: Network, target: int | str, *, n_classes: int | None = None) -> int:
    """The number of the class that ``target`` means; runs nothing, so it can be asked early.

    Args:
        network: knows the names of its classes, or not.
        target: a number; a number in digits; or a name, in any case, or a part of it that only
            one class has.
        n_classes: how many outputs the network has; by default as many as it has names.

    Raises:
        UsageError: no class or several fit; the message names near ones.

    >>> find_class(network, "Zebra"), find_class(network, "sauro"), find_class(network, 2)
    (3, 5, 2)
    """
    classes = network.classes
    if n_classes is None and classes is not None:
        n_classes = len(classes)
    elif classes is not None and len(classes) != n_classes:
        classes = None
    if isinstance(target, str):
        wanted = target.strip()
        named = _find_name(classes or (), wanted.casefold())
        if named is not None:
            return named
        if not wanted.isdecimal() or len(wanted) > _MOST_DIGITS:
            raise UsageError(_unknown_class(network, classes, target, n_classes))
        target = int(wanted)
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise UsageError(f"a class is a number or a name, got {target!r}")
    if target < 0 or (n_classes is not None and target >= n_classes):
        raise UsageError(f"the class's number must be {_range(n_classes)}, got {target}")
    return int(target)


def resolve_target(
    network: Network,
    target: Class | Classes | None = None,
    *,
    scores: Float[Tensor, "image class"],
) -> Targets:
    """The class asked about in each image, with its score and its probability.

    Args:
        network: knows the names of its classes, or not.
        target: a number or a name, see `find_class`; or one for each image; None for the largest
            score of each image.
        scores: the network's output, before the softmax.

    Raises:
        UsageError: see `find_class`; or not as many classes as images.

    >>> found = resolve_target(network, ["fox", 6], scores=network.model(x))
    >>> found.names
    ('fox', 'heron')
    """
    scores = scores.detach().float()
    n_classes = scores.shape[1]
    if target is None:
        # Each image's own first choice.
        indexes = scores.argmax(1)
    else:
        wanted = _one_each(target, len(scores))
        found = [find_class(network, one, n_classes=n_classes) for one in wanted]
        indexes = torch.tensor(found, device=scores.device)
    numbers = indexes.cpu().numpy()
    names = class_names(network, numbers.tolist(), n_classes=n_classes)
    pick = lambda values: values.gather(1, indexes[:, None])[:, 0].cpu().numpy()
    return Targets(numbers, names, pick(scores), pick(probabilities(network, scores)))


def _one_each(target: Class | Classes, n_images: int) -> list[Class]:
    """The class asked of each image."""
    if isinstance(target, int | str | np.integer):
        return [target] * n_images
    if isinstance(target, Tensor | np.ndarray):
        target = target.tolist()
    classes = list(target) if isinstance(target, Sequence) else [target]
    if len(classes) == 1 and not isinstance(target, Sequence):  # an array of no dimension
        return classes * n_images
    if len(classes) != n_images:
        raise UsageError(
            f"target must be one class, or one for each of {n_images} images, got {len(classes)}"
        )
    return classes


def class_names(
    network: Network, numbers: Sequence[int], *, n_classes: int | None = None
) -> tuple[str, ...]:
    """What the outputs ``numbers`` are called.

    It is "class 12" where the network has no names, or not as many as ``n_classes``.

    >>> class_names(network, [0, 3])
    ('fox', 'zebra')
    """
    classes = network.classes or ()
    known = classes if n_classes in (None, len(classes)) else ()
    return tuple(known[i] if i < len(known) else f"class {i}" for i in numbers)


def check_scores(network: Network, output: Any, n_images: int) -> Float[Tensor, "image class"]:
    """``output`` itself, if it is scores (n_images, classes) from before the softmax.

    Of a network that ends in a sigmoid, the scores from before it (`explgraph.attribution.head`).

    Raises:
        NetworkError: it is something else, or not finite. Or it is probabilities, whose gradients
            also say what speaks against all other classes (Simonyan et al. 2014, section 3.1).
    """
    if not has_scores(output, n_images):
        raise NetworkError(
            f"{network.name} must yield class scores of shape ({n_images}, classes), "
            f"got {kind_of(output)}; give a classifier, "
            "or wrap the network so that it returns its scores. Of any network a channel or a "
            "neuron (--channel LAYER:NUMBER) can be asked, a node (--node), and in Python a "
            "function of the output"
        )
    # In float64: a thousand float32 probabilities need not sum to 1 within the tolerance.
    values = output.detach().double()
    if not values.isfinite().all():
        raise NetworkError(
            f"{network.name} yields scores that are not finite; check its weights and its input"
        )
    if values.shape[1] > 1 and (_are_probabilities(values) or _are_probabilities(values.exp())):
        raise NetworkError(
            f"{network.name} ends in a softmax, but the scores from before it are needed; "
            "leave it out"
        )
    return as_scores(network, output)


def has_scores(output: Any, n_images: int) -> bool:
    """Whether a network's output has the shape of scores (n_images, classes)."""
    return (
        isinstance(output, Tensor)
        and output.ndim == 2
        and len(output) == n_images
        and output.is_floating_point()
    )


def kind_of(value: Any) -> str:
    """What an error message says of an output: its shape, or its type."""
    tensor = isinstance(value, Tensor)
    return f"shape {tuple(value.shape)}" if tensor else f"a {type(value).__name__}"


def _are_probabilities(values: Tensor) -> bool:
    return bool((values >= 0).all() and ((values.sum(1) - 1).abs() < _TOLERANCE).all())


def _find_name(classes: Sequence[str], wanted: str) -> int | None:
    if not wanted:
        return None
    lower = [name.casefold() for name in classes]
    found = [i for i, name in enumerate(lower) if name == wanted]
    # A number in digits is a number, though it may be part of a name.
    if not found and not wanted.isdecimal():
        found = [i for i, name in enumerate(lower) if wanted in name]
    if len(found) > 1:
        listed = ", ".join(f"{i} {classes[i]!r}" for i in found[:5])
        more = ", ..." if len(found) > 5 else ""
        raise UsageError(
            f"{wanted!r} fits {len(found)} classes ({listed}{more}); "
            "give one name in full, or a number"
        )
    return found[0] if found else None


def _unknown_class(
    network: Network, classes: Sequence[str] | None, wanted: str, n_classes: int | None
) -> str:
    allowed = _range(n_classes)
    if classes is None:
        return (
            f"{network.name} does not say what its classes are called; "
            f"give a number {allowed}, got {wanted!r}"
        )
    names = {name.casefold(): name for name in classes}
    close = [repr(names[key]) for key in difflib.get_close_matches(wanted.casefold(), names, n=3)]
    hint = f"give a part of its name, or a number {allowed}"
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    return f"{wanted!r} is not a class of {network.name}; {hint}"


def _range(n_classes: int | None) -> str:
    return "0 or more" if n_classes is None else f"0 to {n_classes - 1}"
