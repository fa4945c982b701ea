"""The gradient with another rule at every ReLU, read off the graph that autograd has recorded.

Hooks on modules would miss a functional ReLU (``F.relu``, ``clamp``) and meet a shared module once
where it runs three times. The recorded graph knows every operation that has run, in place or not,
so the rule is applied to each of them. Where an operation has run to which the rule does not carry
over (GELU, a gate, a foreign function), that is said instead of passing over it.

What follows the CNN may be any network, such as the LSTM of a captioner. The gradient passes it as
it is, and the rule holds at the CNN's ReLUs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from explgraph.errors import NetworkError

# (signal from above, its gradient through the ReLU) -> signal below
Rule = Callable[[Tensor, Tensor], Tensor]

# Operations by the name that autograd gives them, without "Backward0"; here with the attribute that
# holds the limit below which they yield a constant.
_RECTIFIERS = {
    "Relu": None,
    "ClampMin": "_saved_min",
    "Clamp": "_saved_min",
    "Threshold": "_saved_threshold",
    "Hardtanh": "_saved_min_val",
}
_PRODUCTS = """
    Mul Div Mm Bmm Addmm Baddbmm Convolution NativeBatchNorm CudnnBatchNorm MiopenBatchNorm
"""
_LINEAR = """
    AccumulateGrad Add Sub Neg Sum Mean Cat Stack Clone Copy ToCopy Alias Identity
    View UnsafeView Reshape ReshapeAlias AsStrided Expand Repeat Permute Transpose T
    Squeeze Unsqueeze Select Slice Index IndexSelect Gather
    Split SplitWithSizes UnsafeSplit Unbind Flip Roll
    AvgPool2D AdaptiveAvgPool2D MaxPool2D MaxPool2DWithIndices MkldnnMaxPool2D
    AdaptiveMaxPool2D Max Amax ConstantPadNd ReflectionPad2D ReplicationPad2D
    PixelShuffle PixelUnshuffle ChannelShuffle NativeChannelShuffle
    UpsampleNearest2D UpsampleBilinear2D UpsampleBilinear2DAa UpsampleBicubic2D
"""
# What a map's local energy is made of: `nn.LocalResponseNorm`, and what is written out like it.
_ENERGY = """
    Pow Sqrt Add Mul Div Sum Mean AvgPool2D AvgPool3D Convolution ConstantPadNd
    View UnsafeView ReshapeAlias Squeeze Unsqueeze Expand Slice Alias Clone Permute Transpose
"""
ENERGY = frozenset(_ENERGY.split())
_RESHAPED = frozenset(["View", "UnsafeView", "Reshape", "ReshapeAlias", "Permute", "Transpose"])
PRODUCTS = frozenset(_PRODUCTS.split())  # linear if one factor alone depends on the image
LINEAR = frozenset(_LINEAR.split())  # or a maximum
_OF_TARGET = "explgraph: part of what is asked, not of the network"


def positive_part(values: Tensor) -> Tensor:
    """``max(values, 0)`` as part of what is asked.

    No layer made it, so `rectified_gradient` passes it as the gradient does.

    >>> positive_part(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    positive = values.relu()
    node: Any = positive.grad_fn
    if node is not None:
        node.metadata[_OF_TARGET] = True
    return positive


def rectified_gradient(
    values: Float[Tensor, " image"],
    image: Float[Tensor, "image channel height width"],
    rule: Rule,
    *,
    name: str,
    past_contrast: bool = False,
) -> Float[Tensor, "image channel height width"] | None:
    """The signal at ``image`` that passed every ReLU by ``rule``, all else as the gradient does.

    Args:
        values: just computed from ``image`` with gradients enabled.
        image: a leaf that asks for its gradient.
        rule: at each ReLU, from the signal above and its plain gradient to the signal below.
        name: what error messages call the network.
        past_contrast: pass every contrast normalisation (`nn.LocalResponseNorm`) as if it were not
            there; else as the gradient does.

    Returns:
        the signal; None if nothing leads there.

    Raises:
        NetworkError: between ``image`` and the end of the CNN something has run that is neither
            linear nor a maximum nor a ReLU nor a contrast normalisation.
    """
    if values.grad_fn is None:
        return None
    nodes = _nodes_between(values.grad_fn, image)
    contrasts = {node for node in nodes if _is_contrast(node, nodes)}
    # What a map is divided by there is no way to the image of its own.
    nodes = _nodes_between(values.grad_fn, image, contrasts) if contrasts else nodes
    problems = {node: found for node in nodes if (found := list(_problems(node, nodes)))}
    _check([what for node in _of_cnn(nodes, problems) for what in problems[node]], name)
    behind = _above(nodes, problems)
    relus = [node for node in nodes if _kind(node) in _RECTIFIERS and node not in behind]
    relus = [node for node in relus if _OF_TARGET not in node.metadata]
    handles = [node.register_hook(_hook(rule)) for node in relus]
    if past_contrast:
        handles += [node.register_hook(_pass) for node in contrasts]
    try:
        return torch.autograd.grad(values.sum(), image, allow_unused=True)[0]
    finally:
        for handle in handles:
            handle.remove()


def _hook(rule: Rule) -> Callable[[Any, Any], Any]:
    def hook(below: tuple[Any, ...], above: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if below[0] is None or above[0] is None:
            return None
        return (rule(above[0], below[0]), *below[1:])

    return hook


def _pass(below: tuple[Any, ...], above: tuple[Any, ...]) -> tuple[Any, ...]:
    """At a map divided by its energy: the signal as it comes, and nothing by way of the energy."""
    return above[0], None if below[1] is None else torch.zeros_like(below[1])


def _is_contrast(node: Any, nodes: dict[Any, int]) -> bool:
    """Whether it divides a map by a power of sums of that map's own squares, and of nothing else.

    Read off the graph like the ReLUs: networks of before 2014 come with normalisations of their
    own (`nn.LocalResponseNorm` itself is no single operation).
    """
    if _kind(node) != "Div":
        return False
    map, energy = (other for other, _ in node.next_functions)
    pending, seen, squared = [energy], set(), False
    while pending:
        one = pending.pop()
        if one is map or one in seen or one not in nodes:
            continue
        seen.add(one)
        kind, below = _kind(one), [other for other, _ in one.next_functions]
        if kind not in ENERGY:  # also the image, if it is reached past the map
            return False
        squared |= below == [map, map] or (kind == "Pow" and below[0] is map)
        pending += below
    return squared


def _nodes_between(top: Any, image: Tensor, contrasts: Collection[Any] = ()) -> dict[Any, int]:
    """The recorded operations from which ``image`` is reached, with how many arguments do so.

    At ``contrasts`` only the first argument counts, the map that is divided. Each operation comes
    after those that it was computed from.
    """
    reached: dict[Any, int] = {}
    pending = [(top, False)]
    while pending:  # a walk without recursion, as networks are deeper than Python's stack
        node, below_done = pending.pop()
        if node in reached and not below_done:
            continue
        arguments = node.next_functions[: 1 if node in contrasts else None]
        below = [other for other, _ in arguments if other is not None]
        if not below_done:
            reached[node] = 0
            pending.append((node, True))
            pending += [(other, False) for other in below if other not in reached]
        else:
            del reached[node]  # so that it is entered anew, behind those below
            reached[node] = sum(reached[other] > 0 for other in below)
            if not below:
                reached[node] = int(getattr(node, "variable", None) is image)
    return {node: n for node, n in reached.items() if n}


def _of_cnn(nodes: dict[Any, int], problems: Iterable[Any]) -> Iterator[Any]:
    """Those of ``problems`` that belong to the CNN itself, and not to a network behind it.

    They are functions of its maps, or a convolution follows, or there was no ReLU before. Maps
    weighted by attention over them are behind it.
    """
    rectified = _above(nodes, (node for node in nodes if _kind(node) in _RECTIFIERS))
    maps: set[Any] = set()
    for node in nodes:
        below = [other for other, _ in node.next_functions if other in nodes]
        kept = _kind(node) not in _RESHAPED and any(other in maps for other in below)
        if _is_map(node) and (kept or not below):
            maps.add(node)
    followed: set[Any] = set()  # by a convolution
    for node in reversed(nodes):
        if node in followed or (_kind(node) == "Convolution" and _is_map(node)):
            followed.update(other for other, _ in node.next_functions)
    for node in problems:
        weighted = _kind(node) in PRODUCTS and nodes[node] > 1
        if (node in maps and not weighted) or node in followed or node not in rectified:
            yield node


def _above(nodes: dict[Any, int], some: Iterable[Any]) -> set[Any]:
    """``some`` of the nodes, and all that were computed from them."""
    found = set(some)
    for node in nodes:
        if any(other in found for other, _ in node.next_functions):
            found.add(node)
    return found


def _is_map(node: Any) -> bool:
    shapes = [one.shape for one in node._input_metadata]  # of what the operation yields
    return bool(shapes) and len(shapes[0]) == 4


def _check(problems: list[str], name: str) -> None:
    problems = list(dict.fromkeys(problems))
    if problems:
        listed = ", ".join(problems[:4]) + (", ..." if len(problems) > 4 else "")
        raise NetworkError(
            "deconvolution and guided backpropagation are defined for convolutions, pooling and "
            f"ReLU, but {name} has run {listed}; "
            "use saliency, gradcam or occlusion, or name a target in a layer before it"
        )


def _problems(node: Any, nodes: dict[Any, int]) -> Iterator[str]:
    kind = _kind(node)
    if kind in _RECTIFIERS:
        limit = _RECTIFIERS[kind]
        if limit and not _is_zero(getattr(node, limit, None)):
            yield f"{kind} at another limit than 0"
    elif kind in PRODUCTS:
        factors = (getattr(node, side, None) for side in ("_saved_self", "_saved_other"))
        if nodes[node] > 1:
            yield f"{kind} of two factors that both depend on the image (a gate or attention)"
        elif kind == "Mul" and any(map(_is_mask, factors)):
            yield "Mul by a mask of zeros and ones (a ReLU in disguise?)"
        elif kind == "Div" and node.next_functions[1][0] in nodes:
            yield "Div by what depends on the image"
        elif getattr(node, "_saved_training", False):
            yield f"{kind} by the image's own mean and variance"
    elif kind not in LINEAR:
        yield kind


def _kind(node: Any) -> str:
    """``Relu`` for ``ReluBackward0``; a function of one's own is ``ReluBackward``, and stays so."""
    return re.sub(r"Backward\d+$", "", node.name().rpartition("::")[2])


def _is_zero(limit: Any) -> bool:
    return limit is not None and not torch.as_tensor(limit).any()


def _is_mask(value: Any) -> bool:
    if not isinstance(value, Tensor) or value.numel() < 2:
        return False
    if value.dtype == torch.bool:
        return True
    binary = ((value == 0) | (value == 1)).all()
    return bool(binary and value.any() and not value.all())
