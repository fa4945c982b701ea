"""What a network's outputs mean: scores of exclusive classes, or of labels that go together.

A classifier of exclusive classes has a softmax behind its scores, a binary or multi-label one a
sigmoid. Where the network ends in the sigmoid itself, its outputs are turned back into scores.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explgraph.errors import NetworkError
from explgraph.network import (
    Network,
    blank_input,
    evaluation_mode,
    forward_errors,
    once,
    recall,
)

# The logit of float32's largest probability below 1 is 16.6: beyond, the score is not known.
_NEAREST = 1e-7

ENDS = "ends in a sigmoid"

Scores = Float[Tensor, "*image class"]


def probabilities(network: Network, scores: Scores) -> Scores:
    """The probability of each class: softmax, or sigmoid where `is_multi_label`; NaN without head.

    >>> probabilities(network, network.model(x)).sum(1).round()
    tensor([1., 1.])
    """
    if network.head == "none":
        return torch.full_like(scores, torch.nan)
    return scores.sigmoid() if is_multi_label(network, scores) else scores.softmax(-1)


def is_multi_label(network: Network, scores: Scores) -> bool:
    """Whether each output stands for itself: it was said so, or there is one, or a sigmoid ends.

    >>> is_multi_label(network, network.model(x))
    False
    """
    if network.head != "auto":
        return network.head == "sigmoid"
    # `as_scores` came first, and has looked where the outputs could be those of a sigmoid.
    return scores.shape[-1] == 1 or recall(network.model, ENDS) is True


def as_scores(network: Network, output: Scores) -> Scores:
    """The scores from before the sigmoid that the network ends in, if it does.

    ``S = log(p / (1 - p))``; a probability that float32 rounds to 0 or 1 has a score of 16.

    >>> torch.equal(as_scores(network, network.model(x)), network.model(x))
    True
    """
    if not _in_unit_range(output) or not ends_in_sigmoid(network):
        return output
    return torch.logit(output, eps=_NEAREST)


def ends_in_sigmoid(network: Network) -> bool:
    """Whether the network's output is that of a sigmoid: found out once, on a blank image."""
    return once(network.model, ENDS, lambda: _ends_in_sigmoid(network))


def _in_unit_range(output: Tensor) -> bool:
    values = output.detach()
    return bool(((values >= 0) & (values <= 1)).all())


def _ends_in_sigmoid(network: Network) -> bool:
    blank, seen = blank_input(network, network.input.size), _Sigmoids()
    errors = forward_errors(network.name, network.input.size)
    try:
        with evaluation_mode(network.model), torch.no_grad(), errors, seen:
            return network.model(blank) is seen.last
    except NetworkError:
        return False  # not of this size: then nothing is known


class _Sigmoids(TorchFunctionMode):
    """Remembers what the last sigmoid gave."""

    last: Any = ()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("sigmoid", "sigmoid_"):
            self.last = result
        return result
