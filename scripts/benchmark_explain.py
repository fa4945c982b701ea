"""Does the class rest on the nodes? What the score loses without ten of them, on the photographs of `benchmark_localisation`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_localisation import (
    CLASSES,
    Values,
    open_class,
    progress,
    read_photographs,
    summary,
    table,
)
from numpy.typing import NDArray
from torch import Tensor

from explgraph.attribution import PlacedNode, ablated, ablation
from explgraph.attribution.explain import TESTED
from explgraph.attribution.forward import evaluating, network_input
from explgraph.attribution.view import NodeView
from explgraph.network import Network

TEN, DRAWS = 10, 5


def benchmark_explain(
    shared: Path, workspaces: Path, *, images: int = 30, seed: int = 0
) -> dict[str, Any]:
    """Return what the class loses without ten nodes of a layer and without ten random others, one at a time and all at once.

    Strongest are (a) the ten with the best located scores; (b) the ten whose removal, of the TESTED best located ones, costs the class
    score most. These are chosen by the very drops that are compared one at a time, so only all ten at once says something. Random are
    ten others of the layer with a score above 0, mean of DRAWS draws; for (b) also ten others of the TESTED. Drops are those of the
    annotated class's score (before the softmax) and probability.

    Args:
        shared: holds ``data/animals`` and the weights.
        workspaces: holds a workspace of each category, under its name.
        images: photographs of each class, a random choice.
        seed: of the choice and the draws.
    """
    losses: dict[str, Values] = {}
    for name, (_, target) in CLASSES.items():
        workspace, network, dataset = open_class(shared, workspaces, name)
        with workspace:
            photographs = read_photographs(workspace, network, dataset, limit=images, seed=seed)
        rng = np.random.default_rng(seed)
        for done, photograph in enumerate(photographs, 1):
            for layer in photograph.view.graph.layers:
                of_layer = losses.setdefault(layer.name, defaultdict(lambda: defaultdict(list)))
                for what, value in _losses(
                    network, photograph.view, layer.name, target, rng
                ).items():
                    of_layer[what][name].append(value)
            progress(f"{name}: ablation", done, len(photographs))
    return {
        "images": images,
        "draws": DRAWS,
        **{layer: _compared(values) for layer, values in losses.items()},
    }


def _losses(
    network: Network, view: NodeView, layer: str, target: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return "GROUP, HOW, OF WHAT" -> drop, of one photograph and layer."""
    ids = [
        k
        for k, node in enumerate(view.nodes)
        if view.graph.node(node)["layer"] == layer and view.scores[k] > 0
    ]
    order = sorted(ids, key=lambda k: -view.scores[k])
    size = (view.pixels.shape[0], view.pixels.shape[1])
    placed = {
        k: PlacedNode.of(view.graph, view.nodes[k], view.places[k], input_size=size) for k in order
    }
    tested = order[:TESTED]
    drops = _single(network, view, [placed[k] for k in tested], target)
    by_drop = [tested[i] for i in np.argsort(-drops[0], kind="stable")[:TEN]]
    groups = {
        "best located": (order[:TEN], order),
        "largest drop": (by_drop, order),
        f"largest drop, random of the best {TESTED}": (by_drop, tested),
    }
    found: dict[str, float] = {}
    for group, (chosen, pool) in groups.items():
        others = [k for k in pool if k not in chosen]
        draws = [rng.choice(others, TEN, replace=False).tolist() for _ in range(DRAWS)]
        random = _single(network, view, [placed[k] for draw in draws for k in draw], target).mean(1)
        single = drops[:, [tested.index(k) for k in chosen]].mean(1)
        together = _together(network, view, [placed[k] for k in chosen], target)
        at_random = np.mean(
            [_together(network, view, [placed[k] for k in draw], target) for draw in draws], axis=0
        )
        for how, ours, theirs in (
            ("one at a time", single, random),
            ("all ten at once", together, at_random),
        ):
            for k, what in enumerate(("score", "probability")):
                found[f"{group}, {how}, {what}"] = float(ours[k])
                found[f"{group}, {how}, {what}, random"] = float(theirs[k])
    return found


def _single(
    network: Network, view: NodeView, removed: Sequence[PlacedNode], target: int
) -> NDArray[np.float64]:
    """Return (2, removals): the drops of score and of probability, one at a time."""
    found = ablation(network, view.pixels[None], removed, target=target)
    probability = float(found.targets.probabilities[0]) - found.probabilities
    return torch.stack([found.drops, probability]).double().numpy()


def _together(
    network: Network, view: NodeView, removed: Sequence[PlacedNode], target: int
) -> NDArray[np.float64]:
    """Return (2,): the drops of score and of probability without all of them."""
    batch = network_input(network, view.pixels[None])
    with evaluating(network.model), torch.no_grad():
        before = network.model(batch.clone())
        with ablated(network, removed):
            after = network.model(batch.clone())
    worth: Callable[[Tensor], Tensor] = lambda scores: torch.stack(
        [scores[0, target], scores.softmax(1)[0, target]]
    )
    drop: NDArray[np.float64] = (worth(before) - worth(after)).double().numpy()
    return drop


def _compared(values: Values) -> dict[str, Any]:
    """Return for each comparison by class: both drops, their difference with its standard error, and how often ours is larger."""
    result: dict[str, Any] = {}
    for what in [key for key in values if not key.endswith(", random")]:
        ours, theirs = values[what], values[f"{what}, random"]
        pairs = {name: np.array(ours[name]) - np.array(theirs[name]) for name in ours}
        result[what] = {
            "strongest": summary(ours),
            "random": summary(theirs),
            "difference": summary({name: one.tolist() for name, one in pairs.items()}),
            "strongest_is_larger": summary(
                {name: (one > 0).astype(float).tolist() for name, one in pairs.items()}
            ),
        }
    return result


def explain_tables(result: dict[str, Any]) -> str:
    """Return the figures as Markdown tables, mean of the classes."""
    tables = []
    for layer in (key for key, value in result.items() if isinstance(value, dict)):
        rows = {
            what: {
                "ten strongest": one["strongest"]["mean"],
                "ten random": one["random"]["mean"],
                "difference": one["difference"]["mean"],
                "error": one["difference"]["error"],
                **{f"larger, {name}": one["strongest_is_larger"][name] for name in CLASSES},
                "larger": one["strongest_is_larger"]["mean"],
            }
            for what, one in result[layer].items()
        }
        tables.append(f"{layer}, drop of ...\n\n{table(rows, digits=4)}")
    return "\n\n".join(tables)
