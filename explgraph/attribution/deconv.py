"""DeconvNet and guided backpropagation: which structure in the image made an activation.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 2.1.
Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for simplicity", ICLR workshop 2015, section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from explgraph.attribution.attribution import Attribution
from explgraph.attribution.forward import Images, ask, differentiable, network_input, run_model
from explgraph.attribution.rectified import Rule, rectified_gradient
from explgraph.attribution.target import Activation, Target
from explgraph.errors import NetworkError, UsageError
from explgraph.network import Network, evaluation_mode, feature_maps


def deconvnet(network: Network, images: Images, *, target: Target = None) -> Attribution:
    """Return the target projected back to the pixels by the deconvolutional network: unpool, rectify, filter with the transpose.

    Going down, a maximum is put where the forward pass found it (its switch), a convolution becomes its transpose, and a ReLU rectifies
    the signal that comes from above: ``R_l = ReLU(R_{l+1})``. The gradient does the same but for the last: ``R_l = (f_l > 0)
    R_{l+1}``, with the sign of the forward pass (Simonyan et al. 2014, section 4). All but the activation asked for is zero at the top.

    Args:
        network: of convolutions, pooling and ReLU (of whatever kind: module, function, in place, ``clamp``).
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).
        target: what is projected: usually an `explgraph.attribution.Activation` at a cell, see `strongest_activations`; or a class
            or node, see `explgraph.attribution.ask`.

    Returns:
        ``colours`` (n, 3, height, width): the projection; ``maps``: its largest absolute value over the colours.

    Raises:
        UsageError: the images are of another kind, or the target is unknown.
        NetworkError: the network holds what the rule is not defined for (GELU, gates, ...), or does not run.

    References:
        Zeiler and Fergus 2014, section 2.1.
    """
    return _projected(network, images, target, "deconv", lambda signal, gradient: signal.relu())


def guided_backprop(network: Network, images: Images, *, target: Target = None) -> Attribution:
    """Return the gradient in which every ReLU also stops what speaks against the target: ``R_l = (f_l > 0) ReLU(R_{l+1})``.

    Args, result and errors as `deconvnet`.

    References:
        Springenberg et al. 2015, section 3.4, figure 1.
    """
    return _projected(
        network, images, target, "guided-backprop", lambda signal, gradient: gradient.relu()
    )


def strongest_activations(
    network: Network, images: Images, layer: str, *, n: int = 9, channel: int | None = None
) -> list[Activation]:
    """Return the ``n`` strongest activations of a layer in each image, strongest first: the k-th entry holds every image's k-th.

    Args:
        network: any that yields maps.
        images: as `deconvnet`.
        layer: dotted torch name.
        n: how many.
        channel: the strongest cells of this channel that are local maxima; None: the strongest cell of each of the ``n``
            strongest channels.

    Raises:
        LayerError: the layer is unknown or yields no maps.
        UsageError: the channel is unknown, or there are fewer than ``n`` (in one of the images).
        NetworkError: the network does not run on the images, or yields what is not finite.
    """
    batch = network_input(network, images)
    run = lambda batch: feature_maps(network.model, batch, [layer], model_name=network.name)[layer]
    with evaluation_mode(network.model), torch.no_grad():
        maps: Tensor = run_model(network, run, batch)
    if not maps.isfinite().all():
        raise NetworkError(
            f"layer {layer!r} of {network.name} yields values that are not finite; check its weights and its input"
        )
    _, n_channels, rows, cols = maps.shape
    if channel is not None and (isinstance(channel, bool) or not 0 <= channel < n_channels):
        raise UsageError(
            f"layer {layer!r} has {n_channels} channels, counted from 0; got {channel}"
        )
    candidates = n_channels if channel is None else rows * cols
    if not 1 <= n <= candidates:
        raise UsageError(f"layer {layer!r} offers {candidates} activations, asked for {n}")
    if channel is None:
        value, place = maps.flatten(2).max(2)
        best = value.topk(n, dim=1).indices
        channels, cells = best, place.gather(1, best)
    else:
        one = maps[:, channel]
        peaks = one == torch.nn.functional.max_pool2d(one, 3, 1, 1)
        fewest = int(peaks.sum((1, 2)).min())
        if fewest < n:
            raise UsageError(
                f"channel {channel} of layer {layer!r} has {fewest} local maxima in an image, asked for {n}"
            )
        cells = one.masked_fill(~peaks, -torch.inf).flatten(1).topk(n, dim=1).indices
        channels = torch.full_like(cells, channel)
    place_of = torch.stack([cells // cols, cells % cols], -1).cpu().numpy()
    return [Activation(layer, channels[:, k].cpu().numpy(), place_of[:, k]) for k in range(n)]


def _projected(
    network: Network, images: Images, target: Target, method: str, rule: Rule
) -> Attribution:
    batch = network_input(network, images)
    with differentiable(network.model):
        image = (
            batch.clone().requires_grad_()
        )  # a tensor made in inference mode takes no gradient, its clone does
        answer = ask(network, image, target)
        signal = rectified_gradient(answer.values, image, rule, name=network.name)
    if signal is None:
        raise NetworkError(
            f"no gradient reaches back from the scores of {network.name}; its forward pass cuts them off"
        )
    return Attribution(signal.abs().amax(1).float(), answer.targets, method, colours=signal.float())
