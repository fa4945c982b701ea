"""Which class is asked about: by number, by name, or the network's own first choice."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from explgraph.errors import NetworkError, UsageError
from explgraph.network import Network

_PROBABILITY_TOLERANCE = 1e-4  # float32 probabilities of 1,000 classes sum to 1 within 1e-6


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
