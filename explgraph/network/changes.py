"""A network with some of its tensors changed, such as a filter that is silenced in its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from explgraph.errors import UsageError
from explgraph.network.layers import evaluation_mode, feature_maps
from explgraph.network.network import Network

State = dict[str, Tensor]


@contextmanager
def changed(network: Network, state: State) -> Iterator[None]:
    """The network with other tensors while the context lasts.

    Args:
        state: name in the state dict -> tensor; all others stay.

    >>> silent = {"classifier.bias": torch.full((8,), 5.0)}
    >>> with changed(network, silent):
    ...     network.model.classifier.bias[0].item()
    5.0
    """
    own = network.model.state_dict(keep_vars=True)
    kept = {name: own[name].detach().clone() for name in state}
    try:
        _put(own, state)
        yield
    finally:
        _put(own, kept)


def _put(own: State, state: State) -> None:
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def scale_channel(
    network: Network,
    images: Float[Tensor, "image channel height width"],
    layer: str,
    channel: int,
    factor: float,
) -> State:
    """The tensors with which a channel says ``factor`` times what it says in favour of its pattern.

    Its row of the weights (and bias) is scaled in the last module that computes it: a convolution,
    or the normalisation behind it. Which row of which module that is, gradients tell, and the
    answer is tried on the images: the channel must be scaled, and all others of the layer as they
    were. Scaling a row leaves the sign of what is said, so behind a ReLU a factor of 0 is the
    ablation of the channel (`explgraph.attribution.ablated`).

    Args:
        images: network inputs, on some of which the channel answers.
        layer: dotted torch name.
        channel: of it.
        factor: 0 silences the channel.

    Raises:
        UsageError: there is no such channel, it is silent on all images, or no row of weights makes
            it alone, as behind a shortcut that is added.
        LayerError: there is no such layer.

    >>> state = scale_channel(network, x, "features.14", 3, 0.0)
    >>> sorted(state), state["features.14.weight"][3].any().item()
    (['features.14.bias', 'features.14.weight'], False)
    """
    with evaluation_mode(network.model):
        ran, maps, rows = _rows_of(network, images, layer, channel)
        wanted = maps[:, channel].relu() * factor
        others = [k for k in range(maps.shape[1]) if k != channel]
        for name in reversed(ran):
            if rows.get(name) is None:
                continue
            state = _scaled(network.model, name, rows[name], factor)
            with changed(network, state), torch.no_grad():
                now = feature_maps(network.model, images.clone(), [layer])[layer]
            if _alike(now[:, channel].relu(), wanted) and _alike(now[:, others], maps[:, others]):
                return state
    raise UsageError(
        f"no row of weights makes channel {channel} of {layer} alone"
        + ("" if rows else ", it is silent on these images")
        + "; name a filter of a convolution before it ('explgraph layers' lists them), or retrain"
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether they differ as sums of another order do, and no more."""
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def _rows_of(
    network: Network, images: Tensor, layer: str, channel: int
) -> tuple[list[str], Tensor, dict[str, int]]:
    """Modules with weights in the order they ran, the layer's maps, and the one row of each."""
    ran: list[str] = []
    weights = {
        name: one._parameters["weight"]
        for name, one in network.model.named_modules()
        if one._parameters.get("weight") is not None
    }
    frozen = [one for one in weights.values() if one is not None and not one.requires_grad]
    with ExitStack() as hooks, torch.enable_grad():
        for one in frozen:
            one.requires_grad_(True)
            hooks.callback(one.requires_grad_, False)
        for name in weights:
            module = network.model.get_submodule(name)
            note = lambda *_, name=name: ran.append(name)
            hooks.callback(module.register_forward_hook(note).remove)
        maps = feature_maps(network.model, images.clone(), [layer])[layer]
        if not 0 <= channel < maps.shape[1]:
            raise UsageError(f"{layer} has the channels 0..{maps.shape[1] - 1}, got {channel}")
        # Weighed at random, so that the gradients of no two cells cancel.
        noise = torch.rand(maps[:, channel].shape, generator=torch.Generator().manual_seed(0))
        total = (maps[:, channel] * noise.to(maps)).sum()
        asked = [weights[name] for name in ran]
        found = torch.autograd.grad(total, asked, allow_unused=True) if ran else ()
    rows = {}
    for name, gradient in zip(ran, found, strict=True):
        if gradient is not None:
            of_rows = gradient.flatten(1) if gradient.ndim > 1 else gradient[:, None]
            telling = of_rows.abs().sum(1).nonzero().ravel().tolist()
            if len(telling) == 1:
                rows[name] = telling[0]
    return ran, maps.detach(), rows


def _scaled(model: nn.Module, name: str, row: int, factor: float) -> State:
    """The weight and bias of a module with one row scaled, under all names that they have."""
    own, state = model.state_dict(), State()
    prefix = f"{name}." if name else ""
    for key in ("weight", "bias"):
        old = own.get(prefix + key)
        if old is not None:
            new = old.clone()
            new[row] *= factor
            # Tied tensors have several names, and a file has them all.
            alike = [other for other, one in own.items() if one.data_ptr() == old.data_ptr()]
            state |= dict.fromkeys(alike, new)
    return state


@torch.no_grad()
def last_linear(network: Network, images: Tensor) -> tuple[str, Tensor]:
    """The name of the linear layer whose outputs are the network's, and what goes into it.

    Raises:
        UsageError: the network ends in something else.

    >>> name, features = last_linear(network, x)
    >>> name, features.shape
    ('classifier', torch.Size([2, 96]))
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    with ExitStack() as hooks, evaluation_mode(network.model):
        for name, module in network.model.named_modules():
            if type(module) is nn.Linear:
                note = lambda _m, given, out, name=name: seen.update({name: (given[0], out)})
                hooks.callback(module.register_forward_hook(note).remove)
        output = network.model(images.clone())
    for name, (given, out) in reversed(seen.items()):
        if given.ndim == 2 and isinstance(output, Tensor) and torch.equal(out, output):
            return name, given
    raise UsageError(
        f"{network.name} does not end in a linear layer, so there is none to retrain; silence or "
        "damp a filter instead"
    )
