"""DeconvNet and guided backpropagation: which structure in the image made an activation.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 2.1.
Springenberg et al., "Striving for simplicity", ICLR workshop 2015, section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from explgraph.attribution.attribution import EMPTY, Attribution, Targets, reasons
from explgraph.attribution.forward import differentiable, gradient_at, run_model
from explgraph.attribution.rectified import Rule, positive_part, rectified_gradient
from explgraph.attribution.shown import Batch, Images, Shown, show
from explgraph.attribution.target import (
    Activation,
    LayerMaps,
    PerImage,
    PlacedNode,
    Target,
    is_single,
)
from explgraph.errors import NetworkError, UsageError
from explgraph.images import Boxes
from explgraph.network import Model, evaluation_mode, feature_maps

_FEW = 0.05  # share of pixels, or of a signal


def deconvnet(
    model: Model, images: Images, *, box: Boxes | None = None, target: Target = None
) -> Attribution:
    """The target projected back to the pixels: unpool, rectify, filter with the transpose.

    Going down, a maximum is put where the forward pass found it (its switch), and a convolution
    becomes its transpose. A ReLU rectifies the signal that comes from above,
    ``R_l = ReLU(R_{l+1})``; the gradient takes the sign of the forward pass there instead,
    ``R_l = (f_l > 0) R_{l+1}`` (Simonyan et al. 2014, section 4). All but the activation asked for
    is zero at the top. A whole map starts from its own activations, a node from those about its
    place. A contrast normalisation (`nn.LocalResponseNorm`) is left out on the way down, as the
    authors say that they do.

    Args:
        model: of convolutions, pooling, ReLU (of any kind: module, function, in place, ``clamp``)
            and contrast normalisation.
        images: see `explgraph.attribution.network_input`.
        box: in a photograph, see `explgraph.attribution.show`.
        target: what is projected: usually an `explgraph.attribution.Activation` at a cell, see
            `strongest_activations`; or any other, see `explgraph.attribution.target`.

    Returns:
        ``colours`` is the projection, ``maps`` its largest absolute value over the colours. Where
        less arrives than 0.001 of the gradient, `Attribution.why_empty` says at which ReLU it was
        stopped.

    Raises:
        UsageError: the images are of another kind, or the target is unknown.
        NetworkError: the network holds what the rule is not defined for (GELU, gates, ...), or
            does not run.

    References:
        Zeiler and Fergus 2014, section 2.1.

    >>> strongest = strongest_activations(network, x, "features.11", n=1)[0]
    >>> deconvnet(network, x, target=strongest).colours.shape
    torch.Size([2, 3, 112, 112])
    """
    rule: Rule = lambda signal, gradient: signal.relu()
    if isinstance(target, Activation) and target.cell is None:
        target = _OwnMap(target.layer, target.channel)
    elif isinstance(target, PlacedNode):
        target = _OwnNode(**vars(target))
    return _projected(show(model, images, box=box), target, "deconv", rule).single()


@dataclass(frozen=True, eq=False)
class _OwnMap(Activation):
    """A channel whose gradient at the top is its own activation: what the paper projects."""

    def values(self, maps: LayerMaps) -> PerImage:
        channels, _ = self.indexes(maps)
        active = positive_part(maps[torch.arange(len(maps), device=maps.device), channels])
        return _from_itself(active, active.detach())


@dataclass(frozen=True, eq=False)
class _OwnNode(PlacedNode):
    """A node whose gradient at the top is the activation about its place."""

    def values(self, maps: LayerMaps) -> PerImage:
        weights = self.weights(maps)
        active = positive_part(maps[:, self.channel])
        return _from_itself(active, active.detach() * weights)


def _from_itself(active: Tensor, signal: Tensor) -> PerImage:
    """What was asked for, ``sum signal``, with ``signal`` as its gradient."""
    seeded = (active * signal).sum((1, 2))
    return signal.sum((1, 2)) + seeded - seeded.detach()


def guided_backprop(
    model: Model, images: Images, *, box: Boxes | None = None, target: Target = None
) -> Attribution:
    """The gradient in which every ReLU also stops what speaks against the target.

    ``R_l = (f_l > 0) ReLU(R_{l+1})``. At a contrast normalisation it is the gradient, as
    everywhere else. Arguments, result and errors as `deconvnet`.

    References:
        Springenberg et al. 2015, section 3.4, figure 1.

    >>> guided_backprop(network, x, target="fox").method
    'guided-backprop'
    """
    return guided_signal(show(model, images, box=box), target).single()


def guided_signal(shown: Shown, target: Target) -> Attribution:
    """`guided_backprop` in the precision of the network, for what is computed further.

    >>> guided_signal(show(network, x), "fox").maps.dtype
    torch.float32
    """
    rule: Rule = lambda signal, gradient: gradient.relu()
    return _projected(shown, target, "guided-backprop", rule)


def _projected(shown: Shown, target: Target, method: str, rule: Rule) -> Attribution:
    network, batch = shown.network, shown.inputs
    way = partial(rectified_gradient, name=network.name, past_contrast=method == "deconv")
    ask = partial(gradient_at, network, batch, target)
    with differentiable(network.model):
        signal, targets = ask(rule=partial(way, rule=rule))
        maps = signal.abs().amax(1)
        suspect = _is_suspect(maps, batch, targets)
        empty = reasons(_stopped(ask, way, rule, signal) if suspect else ())
    return Attribution(maps, targets, method, shown, colours=signal, empty=empty)


def _is_suspect(maps: Tensor, batch: Batch, targets: Targets) -> bool:
    """Whether it is worth two more passes to see if next to nothing arrived in some image.

    It is where hardly a pixel is reached, or where all pixels together do not make the score.
    """
    together = maps.sum((1, 2)) * batch.abs().mean((1, 2, 3))
    scores = torch.from_numpy(np.abs(targets.scores)).to(together)
    few = (maps > 0).float().mean((1, 2)) < _FEW
    return bool((few | (together < _FEW * scores)).any())


def _stopped(
    ask: Callable[..., Any], way: Callable[..., Any], rule: Rule, signal: Batch
) -> tuple[str, ...]:
    """Why next to nothing of the signal arrived in each image; "" where it did.

    An activation near the image has a small field, and all of it may arrive. So what arrived is
    measured against the gradient, which goes the same way without stops.
    """
    stops = _Stops(rule)
    ask(rule=partial(way, rule=stops))
    plain, _ = ask(rule=partial(way, rule=lambda signal, gradient: gradient))
    arrived, going = (one.abs().sum((1, 2, 3)).tolist() for one in (signal, plain))
    return tuple(
        stops.why(k) if arrived[k] <= EMPTY * going[k] else "" for k in range(len(arrived))
    )


@dataclass
class _Stops:
    """A rule that notes how much of the signal each ReLU lets through, image by image."""

    rule: Rule
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    shares: list[Tensor] = field(default_factory=list)

    def __call__(self, signal: Tensor, gradient: Tensor) -> Tensor:
        result = self.rule(signal, gradient)
        passed, above = (one.detach().abs().flatten(1).sum(1) for one in (result, signal))
        # Where nothing came, nothing was stopped.
        self.shares.append(torch.where(above > 0, passed / above, 1.0))
        self.shapes.append(tuple(signal.shape[1:]))
        return result

    def why(self, number: int) -> str:
        """In words, where most was stopped."""
        shares = [float(share[number]) for share in self.shares] or [1.0]
        least = min(range(len(shares)), key=shares.__getitem__)
        if shares[least] > _FEW:
            return "nothing arrives at the pixels: no signal starts, what was asked for is zero"
        channels, *sides = self.shapes[least]
        at = f"{channels} maps of {' x '.join(map(str, sides))}" if sides else f"{channels} units"
        share = f"a share of {shares[least]:.0e}" if shares[least] else "nothing"
        return (
            f"nothing arrives at the pixels: the ReLU over {at} lets {share} of the signal "
            "through, the rest of it is negative there"
        )


def strongest_activations(
    model: Model,
    images: Images,
    layer: str,
    *,
    box: Boxes | None = None,
    n: int = 9,
    channel: int | None = None,
) -> list[Activation]:
    """The ``n`` strongest activations of a layer; the k-th entry holds every image's k-th.

    Args:
        model: a network; or a plain module, see `explgraph.wrap`, which stays as it is.
        images: see `explgraph.attribution.network_input`.
        box: in a photograph, see `explgraph.attribution.show`.
        layer: dotted torch name.
        n: how many.
        channel: the strongest cells of this channel that are local maxima, or the one cell of a
            neuron, whatever ``n``; None: the strongest cell of each of the ``n`` strongest
            channels.

    Raises:
        LayerError: the layer is unknown or yields no maps.
        UsageError: the channel is unknown, or there are fewer than ``n`` (in one of the images).
        NetworkError: the network does not run on the images, or yields what is not finite.

    >>> first, second = strongest_activations(network, x, "features.11", n=2)
    >>> first.channel.shape, first.cell.shape
    ((2,), (2, 2))
    """
    maps = _maps_of(show(model, images, box=box), layer)
    _, n_channels, rows, cols = maps.shape
    if channel is not None and (isinstance(channel, bool) or not 0 <= channel < n_channels):
        raise UsageError(
            f"layer {layer!r} has {n_channels} channels, counted from 0; got {channel}"
        )
    candidates = n_channels if channel is None else rows * cols
    if channel is not None and is_single(maps):
        n = min(n, 1)
    if not 1 <= n <= candidates:
        raise UsageError(f"layer {layer!r} offers {candidates} activations, asked for {n}")
    # The strongest cell of each channel, then the strongest channels: n different features.
    if channel is None:
        value, place = maps.flatten(2).max(2)
        channels = value.topk(n, dim=1).indices
        cells = place.gather(1, channels)
    else:
        one = maps[:, channel]
        # Local maxima only: the neighbours of a strong cell show the same structure again.
        peaks = one == max_pool2d(one, 3, 1, 1)
        fewest = int(peaks.sum((1, 2)).min())
        if fewest < n:
            raise UsageError(
                f"channel {channel} of layer {layer!r} has {fewest} local maxima in an image, "
                f"asked for {n}"
            )
        cells = one.masked_fill(~peaks, -torch.inf).flatten(1).topk(n, dim=1).indices
        channels = torch.full_like(cells, channel)
    places = torch.stack([cells // cols, cells % cols], -1).cpu().numpy()
    numbers = channels.cpu().numpy()
    return [Activation(layer, numbers[:, k], places[:, k]) for k in range(n)]


def _maps_of(shown: Shown, layer: str) -> LayerMaps:
    network, batch = shown.network, shown.inputs
    run = partial(feature_maps, network.model, names=[layer], model_name=network.name)
    with evaluation_mode(network.model), torch.no_grad():
        maps: Tensor = run_model(network, run, batch)[layer]
    if not maps.isfinite().all():
        raise NetworkError(
            f"layer {layer!r} of {network.name} yields values that are not finite; "
            "check its weights and its input"
        )
    return maps
