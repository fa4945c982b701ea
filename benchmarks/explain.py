"""Does the class rest on the nodes? What its score loses without ten of them.

On the photographs of `benchmarks.animals`: ten nodes of a layer are ablated, and ten random others,
one at a time and all at once. Strongest are

* "best located": the ten with the best located scores;
* "largest drop": the ten whose removal costs the class score most, of the NODES_TESTED best located
  ones. They are chosen by the very drops that are compared one at a time, so only all ten at once
  says something.

Random are ten others of the layer with a score above 0, mean of DRAWS draws; for "largest drop"
also ten others of the NODES_TESTED. Drops are those of the annotated class's score (before the
softmax) and of its probability.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import animals
from benchmarks.animals import CLASSES, read_animals
from benchmarks.tables import Values, progress, summary, table
from explgraph.attribution import (
    NODES_TESTED,
    NodeView,
    PlacedNode,
    ablated,
    ablation,
    network_input,
)
from explgraph.network import Network, evaluation_mode

TEN, DRAWS = 10, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    animals.add_arguments(parser)
    images = "photographs of each class, a random choice"
    parser.add_argument("--images", type=int, default=30, help=images)


def run(args: argparse.Namespace) -> dict[str, Any]:
    losses: dict[str, Values] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for name in CLASSES:
        of_class = read_animals(args, name, limit=args.images, seed=args.seed)
        rng = np.random.default_rng(args.seed)
        for done, photograph in enumerate(of_class.photographs, 1):
            removal = Removal(of_class.network, photograph.view, of_class.target)
            for layer in photograph.view.graph.layers:
                for what, value in losses_of(removal, layer.name, rng).items():
                    losses[layer.name][what][name].append(value)
            progress(f"{name}: ablation", done, len(of_class.photographs))
    layers = {layer: compared(values) for layer, values in losses.items()}
    return {"images": args.images, "draws": DRAWS, **layers}


@dataclass(frozen=True, eq=False)
class Removal:
    """A view whose nodes are removed, and the class that is asked for."""

    network: Network
    view: NodeView
    target: int

    def place(self, nodes: Sequence[int]) -> list[PlacedNode]:
        view = self.view
        size = (view.pixels.shape[0], view.pixels.shape[1])
        return [
            PlacedNode.of(view.graph, view.nodes[k], view.places[k], input_size=size) for k in nodes
        ]

    def single(self, nodes: Sequence[int]) -> NDArray[np.float64]:
        """(2, removals): the drops of score and of probability, one at a time."""
        pixels = self.view.pixels[None]
        found = ablation(self.network, pixels, self.place(nodes), target=self.target)
        probability = float(found.targets.probabilities[0]) - found.probabilities
        return torch.stack([found.drops, probability]).double().numpy()

    def together(self, nodes: Sequence[int]) -> NDArray[np.float64]:
        """(2,): the drops of score and of probability without all of them."""
        batch, model = network_input(self.network, self.view.pixels[None]), self.network.model
        with evaluation_mode(model), torch.no_grad():
            before = self.worth(model(batch.clone()))
            with ablated(self.network, self.place(nodes)):
                after = self.worth(model(batch.clone()))
        return (before - after).double().numpy()

    def worth(self, scores: Tensor) -> Tensor:
        return torch.stack([scores[0, self.target], scores.softmax(1)[0, self.target]])


def losses_of(removal: Removal, layer: str, rng: np.random.Generator) -> dict[str, float]:
    """ "GROUP, HOW, OF WHAT" -> drop, of one photograph and layer."""
    view = removal.view
    found = np.flatnonzero(view.scores > 0).tolist()
    of_layer = [k for k in found if view.graph.node(view.nodes[k])["layer"] == layer]
    order = sorted(of_layer, key=lambda k: -view.scores[k])
    tested = order[:NODES_TESTED]
    drops = removal.single(tested)
    by_drop = [tested[i] for i in np.argsort(-drops[0], kind="stable")[:TEN]]
    groups = {
        "best located": (order[:TEN], order),
        "largest drop": (by_drop, order),
        f"largest drop, random of the best {NODES_TESTED}": (by_drop, tested),
    }
    losses: dict[str, float] = {}
    for group, (chosen, pool) in groups.items():
        others = [k for k in pool if k not in chosen]
        draws = [rng.choice(others, TEN, replace=False).tolist() for _ in range(DRAWS)]
        random = removal.single([k for draw in draws for k in draw]).mean(1)
        single = drops[:, [tested.index(k) for k in chosen]].mean(1)
        at_random = np.mean([removal.together(draw) for draw in draws], axis=0)
        hows = {
            "one at a time": (single, random),
            "all ten at once": (removal.together(chosen), at_random),
        }
        for how, (ours, theirs) in hows.items():
            for k, what in enumerate(("score", "probability")):
                losses[f"{group}, {how}, {what}"] = float(ours[k])
                losses[f"{group}, {how}, {what}, random"] = float(theirs[k])
    return losses


def compared(values: Values) -> dict[str, Any]:
    """Both drops by class, their difference, and how often that of the strongest is larger."""
    result: dict[str, Any] = {}
    for what in [key for key in values if not key.endswith(", random")]:
        ours, theirs = values[what], values[f"{what}, random"]
        pairs = {name: np.array(ours[name]) - np.array(theirs[name]) for name in ours}
        larger = {name: (one > 0).astype(float).tolist() for name, one in pairs.items()}
        result[what] = {
            "strongest": summary(ours),
            "random": summary(theirs),
            "difference": summary({name: one.tolist() for name, one in pairs.items()}),
            "strongest_is_larger": summary(larger),
        }
    return result


def text(figures: dict[str, Any]) -> str:
    """The figures as Markdown tables, mean of the classes."""
    tables = []
    for layer in (key for key, value in figures.items() if isinstance(value, dict)):
        rows = {}
        for what, one in figures[layer].items():
            larger = one["strongest_is_larger"]
            rows[what] = {
                "ten strongest": one["strongest"]["mean"],
                "ten random": one["random"]["mean"],
                "difference": one["difference"]["mean"],
                "error": one["difference"]["error"],
                **{f"larger, {name}": larger[name] for name in CLASSES},
                "larger": larger["mean"],
            }
        tables.append(f"{layer}, drop of ...\n\n{table(rows, digits=4)}")
    return "\n\n".join(tables)
