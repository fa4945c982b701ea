"""The gradient with another rule at every ReLU, read off the graph that autograd has recorded.

Hooks on modules would miss a functional ReLU (``F.relu``, ``clamp``) and meet a shared module once where it runs three times. The
recorded graph knows every operation that has run, in place or not, so the rule is applied to each of them; and where an operation
has run to which the rule does not carry over (GELU, a gate, a foreign function), that is said instead of passing over it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from explgraph.errors import NetworkError

Rule = Callable[
    [Tensor, Tensor], Tensor
]  # (signal from above, its gradient through the ReLU) -> signal below

# Operations by the name that autograd gives them, without "Backward0".
_RECTIFIERS = {
    "Relu": None,
    "ClampMin": "_saved_min",
    "Clamp": "_saved_min",
    "Threshold": "_saved_threshold",
    "Hardtanh": "_saved_min_val",
}
# Products are linear as long as one factor alone depends on the image.
_PRODUCTS = {
    "Mul",
    "Div",
    "Mm",
    "Bmm",
    "Addmm",
    "Baddbmm",
    "Convolution",
    "NativeBatchNorm",
    "CudnnBatchNorm",
    "MiopenBatchNorm",
}
_LINEAR = {
    *("AccumulateGrad", "Add", "Sub", "Neg", "Sum", "Mean", "Cat", "Stack", "Clone", "Copy", "ToCopy", "Alias", "Identity"),
    *("View", "UnsafeView", "Reshape", "ReshapeAlias", "AsStrided", "Expand", "Repeat", "Permute", "Transpose", "T"),
    *("Squeeze", "Unsqueeze"),
    *("Select", "Slice", "Index", "IndexSelect", "Gather", "Split", "SplitWithSizes", "UnsafeSplit", "Unbind", "Flip", "Roll"),
    *("AvgPool2D", "AdaptiveAvgPool2D", "MaxPool2DWithIndices", "MaxPool2D", "MkldnnMaxPool2D", "AdaptiveMaxPool2D", "Max", "Amax"),
    *("ConstantPadNd", "ReflectionPad2D", "ReplicationPad2D", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle", "NativeChannelShuffle"),
    *("UpsampleNearest2D", "UpsampleBilinear2D", "UpsampleBilinear2DAa", "UpsampleBicubic2D"),
}  # fmt: skip
_OF_TARGET = "explgraph: part of what is asked, not of the network"


def positive_part(values: Tensor) -> Tensor:
    """Return ``max(values, 0)`` as part of what is asked: `rectified_gradient` passes it as the gradient does, as no layer made it."""
    positive = values.relu()
    node: Any = positive.grad_fn
    if node is not None:
        node.metadata[_OF_TARGET] = True
    return positive


def rectified_gradient(values: Tensor, image: Tensor, rule: Rule, *, name: str) -> Tensor | None:
    """Return the signal that arrives at ``image`` when it passes every ReLU by ``rule`` and all else as the gradient does.

    Args:
        values: (n,), just computed from ``image`` with gradients enabled.
        image: (n, 3, height, width), a leaf that asks for its gradient.
        rule: at each ReLU, from the signal above and its plain gradient to the signal below.
        name: what error messages call the network.

    Returns:
        the signal, in the shape of ``image``; None if nothing leads there.

    Raises:
        NetworkError: between ``image`` and ``values`` has run what is neither linear nor a maximum nor a ReLU.
    """
    if values.grad_fn is None:
        return None
    nodes = _nodes_between(values.grad_fn, image)
    _check(nodes, name)
    handles = [
        node.register_hook(_hook(rule))
        for node in nodes
        if _kind(node) in _RECTIFIERS and _OF_TARGET not in node.metadata
    ]
    try:
        return torch.autograd.grad(values.sum(), image, allow_unused=True)[0]
    finally:
        for handle in handles:
            handle.remove()


def _hook(rule: Rule) -> Callable[[Any, Any], Any]:
    def hook(grad_inputs: tuple[Any, ...], grad_outputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if grad_inputs[0] is None or grad_outputs[0] is None:
            return None
        return (rule(grad_outputs[0], grad_inputs[0]), *grad_inputs[1:])

    return hook


def _nodes_between(top: Any, image: Tensor) -> dict[Any, int]:
    """Return the recorded operations from which ``image`` is reached, each with how many of its arguments lead there."""
    reached: dict[Any, int] = {}
    pending = [(top, False)]
    while pending:  # a walk without recursion, as deep networks go deeper than Python does
        node, below_done = pending.pop()
        if node in reached and not below_done:
            continue
        below = [n for n, _ in node.next_functions if n is not None]
        if below_done:
            reached[node] = (
                sum(reached[n] > 0 for n in below)
                if below
                else int(getattr(node, "variable", None) is image)
            )
        else:
            reached[node] = 0
            pending.append((node, True))
            pending += [(n, False) for n in below if n not in reached]
    return {node: n for node, n in reached.items() if n}


def _check(nodes: dict[Any, int], name: str) -> None:
    problems = dict.fromkeys(problem for node in nodes for problem in _problems(node, nodes))
    if problems:
        listed = ", ".join(list(problems)[:4]) + (", ..." if len(problems) > 4 else "")
        raise NetworkError(
            f"deconvolution and guided backpropagation are defined for convolutions, pooling and ReLU, but {name} has run {listed}; "
            "use saliency, gradcam or occlusion, or name a target in a layer before it"
        )


def _problems(node: Any, nodes: dict[Any, int]) -> Iterator[str]:
    kind = _kind(node)
    if kind in _RECTIFIERS:
        attribute = _RECTIFIERS[kind]
        if attribute and not _is_zero(getattr(node, attribute, None)):
            yield f"{kind} at another limit than 0"
    elif kind in _PRODUCTS:
        if nodes[node] > 1:
            yield f"{kind} of two factors that both depend on the image (a gate or attention)"
        elif kind == "Mul" and any(
            _is_mask(getattr(node, side, None)) for side in ("_saved_self", "_saved_other")
        ):
            yield "Mul by a mask of zeros and ones (a ReLU in disguise?)"
        elif kind == "Div" and node.next_functions[1][0] in nodes:
            yield "Div by what depends on the image"
        elif getattr(node, "_saved_training", False):
            yield f"{kind} by the image's own mean and variance"
    elif kind not in _LINEAR:
        yield kind


def _kind(node: Any) -> str:
    """Return ``Relu`` for ``ReluBackward0``; a function of one's own is ``ReluBackward``, and stays so."""
    return re.sub(r"Backward\d+$", "", node.name().rpartition("::")[2])


def _is_zero(limit: Any) -> bool:
    return limit is not None and not torch.as_tensor(limit).any()


def _is_mask(value: Any) -> bool:
    if not isinstance(value, Tensor) or value.numel() < 2:
        return False
    return value.dtype == torch.bool or bool(
        ((value == 0) | (value == 1)).all() and value.any() and not value.all()
    )
