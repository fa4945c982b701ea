"""Why this class? The nodes that were found, ranked by what the score loses when each is taken away.

A saliency map says where; the graph says what: each node is a part pattern that can be shown on other images. How much the class rests
on it is not inferred from gradients but measured, by ablation at its place (`explgraph.attribution.ablation`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from explgraph.attribution.ablation import ablated, ablation
from explgraph.attribution.forward import Images, network_input, run_model
from explgraph.attribution.target import PlacedNode, check_scores, class_names, resolve_target
from explgraph.errors import UsageError
from explgraph.graph import ExplanatoryGraph
from explgraph.network import Network, evaluation_mode

NODES_TESTED = 100  # nodes of each layer that are taken away, best scores first
SHOWN = 10
UNCHANGED = 0.0005  # of a probability; it saturates long before the score does
DRAWS = 5  # random sets of nodes that the shown ones are compared with
SAME = 1.0  # nodes of one channel nearer than so many of their deviations take away much the same: one of them is tested


@dataclass(frozen=True)
class NodeEvidence:
    """What one node contributes.

    Args:
        node: its id; layer, channel: of it.
        row: its place in the image, fraction of the network input; col: as row.
        score: how surely it was found, 0..1.
        drop: what the class score loses without it.
        probability_drop: what the class probability loses.
        part: name of the semantic part that it belongs to, None if unknown.
    """

    node: str
    layer: str
    channel: int
    row: float
    col: float
    score: float
    drop: float
    probability_drop: float
    part: str | None = None


@dataclass(frozen=True)
class Explanation:
    """Why the network answers as it does.

    Args:
        classes: its first choices: number, name, probability.
        index: number of the class explained; name, score, probability: of that class in the untouched image.
        nodes: the nodes with the largest drops, largest first.
        n_tested: how many were taken away, one at a time.
        without: score and probability of the class without the shown nodes, all at once.
        without_random: the same without as many other tested nodes of the same layers, mean over random sets; NaN if too few.
    """

    classes: tuple[tuple[int, str, float], ...]
    index: int
    name: str
    score: float
    probability: float
    nodes: tuple[NodeEvidence, ...]
    n_tested: int
    without: tuple[float, float]
    without_random: tuple[float, float]

    def to_text(self, points: Sequence[tuple[float, float]] | None = None) -> str:
        """Return the explanation in words; ``points``: (x, y) of each node in the photograph, named instead of row and column."""
        best = ", ".join(f"{name} {probability:.1%}" for _, name, probability in self.classes)
        lines = [f"The network says: {best}."]
        if not self.nodes:
            return "\n".join([*lines, f"No node of the graph was found that {self.name} rests on."])
        lines.append(
            f"What {self.name} ({self.probability:.1%}, score {self.score:.2f}) rests on; "
            f"{self.n_tested} nodes were taken away, one at a time:"
        )
        for k, one in enumerate(self.nodes, 1):
            part = f" ({one.part})" if one.part else ""
            at = (
                f"row {one.row:.2f}, column {one.col:.2f}"
                if points is None
                else "x {:.0f}, y {:.0f}".format(*points[k - 1])
            )
            changed = (
                f"{-one.probability_drop:+.1%}"
                if abs(one.probability_drop) >= UNCHANGED
                else "unchanged"
            )
            lines.append(
                f"  {k:2d}. {one.node}{part} at {at}: score {-one.drop:+.2f}, probability {changed}"
            )
        both = lambda pair: f"score {pair[0]:.2f}, probability {pair[1]:.1%}"
        random = (
            ""
            if np.isnan(self.without_random[0])
            else f" (without as many others: {both(self.without_random)})"
        )
        return "\n".join(
            [*lines, f"Without these {len(self.nodes)} together: {both(self.without)}{random}."]
        )


def explain(
    network: Network,
    image: Images,
    graph: ExplanatoryGraph,
    *,
    nodes: Sequence[str],
    places: ArrayLike,
    scores: ArrayLike,
    target: int | str | None = None,
    n_tested: int = NODES_TESTED,
    n_shown: int = SHOWN,
    part_of: Mapping[str, str] | None = None,
    seed: int = 0,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Explanation:
    """Return the network's classes and the nodes that the class rests on, by measured drop.

    Args:
        network: the classifier that the graph was mined from.
        image: one image, as the nodes were found in it (mirrored, if they were found in the mirror image).
        graph: the nodes' channels and deviations.
        nodes: ids, in the order of places and scores.
        places: (nodes, 2), (row, column), fractions of the network input, see `explgraph.locations.locator.NodeLocations`.
        scores: (nodes,), 0..1.
        target: class by number or name; by default the first choice.
        n_tested: nodes of each layer that are taken away, those with the best scores.
        n_shown: nodes that the explanation names.
        part_of: semantic part of a node, where known.
        seed: of the random sets.
        report: progress.

    Raises:
        UsageError: the shapes do not fit, a number is not positive, or the class is unknown.
        GraphError: a node is not in the graph.
    """
    place, score = np.asarray(places, np.float64), np.asarray(scores, np.float64)
    if place.shape != (len(nodes), 2) or score.shape != (len(nodes),):
        raise UsageError(
            f"places must be ({len(nodes)}, 2) and scores ({len(nodes)},), got {place.shape} and {score.shape}"
        )
    if n_tested < 1 or n_shown < 1:
        raise UsageError(f"n_tested and n_shown must be at least 1, got {n_tested} and {n_shown}")
    batch = network_input(network, image)
    size = (int(batch.shape[2]), int(batch.shape[3]))
    tested = [
        k for layer in graph.layers for k in _best(graph, layer.name, nodes, place, score, n_tested)
    ]
    placed = [PlacedNode.of(graph, nodes[k], place[k], input_size=size) for k in tested]
    with evaluation_mode(network.model), torch.no_grad():
        scores_of_classes = check_scores(network, run_model(network, network.model, batch), 1)
    asked = resolve_target(network, target, scores=scores_of_classes)
    index = int(asked.indexes[0])
    evidence: list[NodeEvidence] = []
    if placed:
        found = ablation(network, batch, placed, target=index, report=report)
        probability = found.targets.probabilities[0]
        for k, one, drop, after in zip(
            tested, placed, found.drops.tolist(), found.probabilities.tolist(), strict=True
        ):
            at = (float(place[k, 0]), float(place[k, 1]))
            part = (part_of or {}).get(one.name)
            evidence.append(
                NodeEvidence(
                    one.name,
                    one.layer,
                    one.channel,
                    *at,
                    float(score[k]),
                    drop,
                    float(probability - after),
                    part,
                )
            )
    order = sorted(range(len(evidence)), key=lambda k: -evidence[k].drop)
    shown = [k for k in order[:n_shown] if evidence[k].drop > 0]
    return Explanation(
        _classes(network, scores_of_classes[0]),
        index,
        asked.names[0],
        float(asked.scores[0]),
        float(asked.probabilities[0]),
        tuple(evidence[k] for k in shown),
        len(placed),
        _without(network, batch, index, [placed[k] for k in shown]),
        _without_random(network, batch, index, placed, shown, seed),
    )


def _best(
    graph: ExplanatoryGraph,
    layer: str,
    nodes: Sequence[str],
    place: NDArray[np.float64],
    score: NDArray[np.float64],
    n: int,
) -> list[int]:
    """Return the numbers of the layer's best nodes, of those in one place of one channel only the best."""
    chosen: dict[int, list[int]] = {}
    kept: list[int] = []
    for k in sorted(
        (k for k, name in enumerate(nodes) if graph.node(name)["layer"] == layer),
        key=lambda k: -score[k],
    ):
        part = graph.node(nodes[k])
        rivals = chosen.setdefault(part["channel"], [])
        if score[k] > 0 and all(
            np.linalg.norm(place[k] - place[r]) > SAME * part["std"] for r in rivals
        ):
            rivals.append(k)
            kept.append(k)
        if len(kept) == n:
            break
    return kept


def _classes(
    network: Network, scores: torch.Tensor, n: int = 5
) -> tuple[tuple[int, str, float], ...]:
    best = scores.float().softmax(0).topk(min(n, len(scores)))
    names = class_names(network, best.indices.tolist(), n_classes=len(scores))
    return tuple(zip(best.indices.tolist(), names, best.values.tolist(), strict=True))


def _without(
    network: Network, batch: torch.Tensor, index: int, removed: Sequence[Any]
) -> tuple[float, float]:
    """Return the class's score and probability without all of ``removed``."""
    with evaluation_mode(network.model), torch.no_grad(), ablated(network, removed):
        scores = network.model(batch.clone()).float()
    return float(scores[0, index]), float(scores.softmax(1)[0, index])


def _without_random(
    network: Network,
    batch: torch.Tensor,
    index: int,
    placed: Sequence[PlacedNode],
    shown: Sequence[int],
    seed: int,
) -> tuple[float, float]:
    """Return the mean over random sets with as many nodes of each layer as are shown, none of them shown."""
    rng = np.random.default_rng(seed)
    wanted = {
        layer: [k for k in shown if placed[k].layer == layer]
        for layer in {placed[k].layer for k in shown}
    }
    others = {
        layer: [k for k, one in enumerate(placed) if one.layer == layer and k not in shown]
        for layer in wanted
    }
    if not wanted or any(len(others[layer]) < len(of_layer) for layer, of_layer in wanted.items()):
        return nan, nan
    results = []
    for _ in range(DRAWS):
        drawn = [
            k
            for layer, of_layer in sorted(wanted.items())
            for k in rng.choice(others[layer], len(of_layer), replace=False)
        ]
        results.append(_without(network, batch, index, [placed[k] for k in drawn]))
    score, probability = np.mean(results, axis=0)
    return float(score), float(probability)
