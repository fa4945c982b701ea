"""Mined layers -> the explanatory graph of the nodes that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from jaxtyping import Int
from torch import Tensor

from explgraph.graph import ExplanatoryGraph, node_name
from explgraph.mining.config import MiningConfig
from explgraph.mining.facing import FacingModel
from explgraph.mining.layer import MinedLayer
from explgraph.mining.pose import communality

N_BEST = 20  # images over which a node's score is averaged [paper: location instability]


def assemble_graph(
    layers: Sequence[MinedLayer], facing: FacingModel | None, config: MiningConfig
) -> tuple[ExplanatoryGraph, tuple[Int[Tensor, " _"], ...]]:
    """The graph, and per layer the numbers (channel * n_nodes + index) of its nodes in order.

    Nodes are renumbered within their channel. Those whose std reached its upper bound keep no
    place and are of kind "texture".
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
    names: dict[int, str] = {}
    # From the top: the edges of a layer need the ids of the one above.
    for i, mined in enumerate(layers):
        kept.append(mined.model.mixture.alive.flatten().nonzero().flatten())
        upper_names, names = names, _add_nodes(graph, mined, kept[-1], config)
        if mined.model.parents is not None:
            _add_edges(graph, mined, layers[i - 1], names, upper_names)
    return graph.check(), tuple(kept)


def _add_nodes(
    graph: ExplanatoryGraph, mined: MinedLayer, numbers: Tensor, config: MiningConfig
) -> dict[int, str]:
    """Add a layer's nodes; their ids by number."""
    layer, mixture, loadings = mined.peaks.layer.name, mined.model.mixture, mined.model.loadings
    n_nodes = mixture.std.shape[1]
    score = mined.score[numbers]
    best = score.topk(min(N_BEST, score.shape[1]), dim=1)[0]
    flat = lambda t: t.flatten()[numbers]
    # Of the channel; every node of it says so.
    none = mixture.log_none.exp()[:, None].expand_as(mixture.std)
    columns = {
        "row": flat(mixture.mean[..., 0]),
        "col": flat(mixture.mean[..., 1]),
        "std": flat(mixture.std),
        "weight": flat(mixture.weight),
        "none": flat(none),
        "support": mined.places.presence[numbers].double().sum(1),
        "score": best.double().mean(1),
        "communality": flat(communality(loadings, mixture.std.flatten())),
    }
    rows = zip(*(column.double().tolist() for column in columns.values()), strict=True)
    own = loadings[numbers].flatten(1).tolist()
    names: dict[int, str] = {}
    before, index = -1, 0
    for number, row, of_pose in zip(numbers.tolist(), rows, own, strict=True):
        channel = number // n_nodes
        # Renumbered: the indices of dropped nodes are not left out.
        index = index + 1 if channel == before else 0
        before = channel
        names[number] = node_name(layer, channel, index)
        values = dict(zip(columns, row, strict=True))
        kind = "texture" if values["std"] >= config.texture_std else "part"
        # `check` comes once at the end, for all nodes.
        graph.add_node(names[number], layer=layer, channel=channel, index=index, **values)
        graph.nodes[names[number]].update(kind=kind, loadings=tuple(of_pose))
    return names


def _add_edges(
    graph: ExplanatoryGraph,
    lower: MinedLayer,
    upper: MinedLayer,
    names: dict[int, str],
    upper_names: dict[int, str],
) -> None:
    """Add the edges from the upper layer's nodes to a layer's."""
    parents = lower.model.parents
    assert parents is not None
    down, up = (mined.model.mixture.mean.flatten(0, 1).double() for mined in (lower, upper))
    displacement = down[:, None] - up[parents.index]
    # Lists: a Python loop over elements of tensors is many times slower.
    columns = [parents.index, displacement, parents.std, parents.weight, parents.co_firing]
    values = (column.double().tolist() for column in columns[1:])
    index, known = parents.index.tolist(), parents.known.tolist()
    for number, row in enumerate(zip(index, known, *values, strict=True)):
        for parent, is_known, (d_row, d_col), std, weight, co_firing in zip(*row, strict=True):
            if is_known:
                between = {"d_row": d_row, "d_col": d_col, "std": std, "weight": weight}
                graph.add_edge(upper_names[parent], names[number], **between, co_firing=co_firing)
