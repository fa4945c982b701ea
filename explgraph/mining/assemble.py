"""Mined layers -> the explanatory graph of the nodes that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from explgraph.graph import ExplanatoryGraph, node_name
from explgraph.mining.config import MinedLayer, MiningConfig
from explgraph.mining.facing import FacingModel
from explgraph.mining.pose import communality

N_BEST = 20  # images over which a node's score is averaged [paper: location instability]


def assemble_graph(
    layers: Sequence[MinedLayer], facing: FacingModel | None, config: MiningConfig
) -> tuple[ExplanatoryGraph, tuple[Tensor, ...]]:
    """Return the graph, and per layer the numbers (channel * n_nodes + index) of its nodes in the graph's order.

    Nodes are renumbered within their channel; those whose std reached its upper bound keep no place and are of kind "texture".
    """
    of_layer = {mined.peaks.layer.name: mined for mined in layers}
    graph = ExplanatoryGraph(
        layers=tuple(mined.peaks.layer for mined in layers),
        n_images=layers[0].peaks.n_images,
        mining=asdict(config),
        lower_bound={name: mined.lower_bound for name, mined in of_layer.items()},
        converged={name: mined.converged for name, mined in of_layer.items()},
        explained={name: mined.explained.to_dict() for name, mined in of_layer.items()},
        facing=None if facing is None else facing.to_dict(),
    )
    kept: list[Tensor] = []
    names: list[dict[int, str]] = []
    for mined in layers:
        numbers = mined.mixture.alive.flatten().nonzero().flatten()
        kept.append(numbers)
        names.append(_add_nodes(graph, mined, numbers, config))
        if mined.parents is not None:
            _add_edges(graph, mined, layers[len(kept) - 2], names[-2], names[-1])
    return graph.check(), tuple(kept)


def _add_nodes(
    graph: ExplanatoryGraph, mined: MinedLayer, numbers: Tensor, config: MiningConfig
) -> dict[int, str]:
    layer, mixture = mined.peaks.layer.name, mined.mixture
    n_nodes = mixture.row.shape[1]
    score = mined.score[numbers]
    best = score.topk(min(N_BEST, score.shape[1]), dim=1)[0].double().mean(1)
    support = mined.places.presence[numbers].double().sum(1)
    flat = lambda t: t.flatten()[numbers].double().tolist()
    columns = zip(
        numbers.tolist(), flat(mixture.row), flat(mixture.col), flat(mixture.std), flat(mixture.log_weight.exp()),
        flat(mixture.log_none.exp()[:, None].expand_as(mixture.row)), support.tolist(), best.tolist(),
        flat(communality(mined.model.loadings, mixture.std.flatten())), mined.model.loadings[numbers].flatten(1).tolist(), strict=True,
    )  # fmt: skip
    names: dict[int, str] = {}
    channel, index = -1, 0
    for number, row, col, std, weight, none, found, mean_score, common, loadings in columns:
        index = index + 1 if number // n_nodes == channel else 0
        channel = number // n_nodes
        names[number] = node_name(layer, channel, index)
        kind = "texture" if std >= config.texture_std else "part"
        graph.add_node(
            names[number], layer=layer, channel=channel, index=index, row=row, col=col, std=std, weight=weight, none=none,
            support=found, score=mean_score, communality=common, kind=kind, loadings=tuple(loadings),
        )  # fmt: skip
    return names


def _add_edges(
    graph: ExplanatoryGraph,
    lower: MinedLayer,
    upper: MinedLayer,
    upper_names: dict[int, str],
    lower_names: dict[int, str],
) -> None:
    assert lower.parents is not None
    place = lambda mined: torch.stack(
        [mined.mixture.row.flatten(), mined.mixture.col.flatten()], 1
    ).double()
    down, up = place(lower), place(upper)
    displacement = (down[:, None] - up[lower.parents.index]).tolist()
    index, std, weight = (
        t.tolist()
        for t in (lower.parents.index, lower.parents.std.double(), lower.parents.weight.double())
    )
    for number, name in lower_names.items():
        for parent, (d_row, d_col), spread, share in zip(
            index[number], displacement[number], std[number], weight[number], strict=True
        ):
            graph.add_edge(
                upper_names[parent], name, d_row=d_row, d_col=d_col, std=spread, weight=share
            )
