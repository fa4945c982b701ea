"""`show`: what a workspace, one of its nodes or one of its channels is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from explgraph.errors import GraphError, WorkspaceError
from explgraph.graph import ExplanatoryGraph, Layer, telling_nodes
from explgraph.html import table
from explgraph.images import AnyPath
from explgraph.mining import summarise
from explgraph.queries.album import N_PATCHES, Album
from explgraph.queries.result import Record, Result
from explgraph.workspace import Workspace

SHOWN = ("row", "col", "std", "weight", "support", "score", "communality", "kind")
SHARES = ("patterns", "part", "texture", "nothing")


@dataclass(frozen=True)
class WorkspaceDescription(Result):
    """What a workspace holds.

    Args:
        objects: how many were read.
        mirrored: how many of them were understood through their mirror image.
        skipped: path and reason of each image that could not be used.
        layers: a record of each, top layer first.
        explained: how much of the filters' activation the graph explains; see `explained_shares`.
        strongest: a record of each layer's strongest nodes.
    """

    workspace: str
    source: str
    model: str
    objects: int
    mirrored: int
    skipped: tuple[Record, ...]
    nodes: int
    edges: int
    layers: tuple[Record, ...]
    explained: dict[str, float]
    strongest: tuple[Record, ...]


@dataclass(frozen=True)
class NodeDescription:
    """What a node is.

    Args:
        attributes: its layer, channel, index, and those of SHOWN; its name, if it has one.
        parents: id and attributes of the edge, for each.
        children: likewise.
        best_images: image, object, place in pixels and score, best first.
    """

    node: str
    attributes: Record
    parents: tuple[Record, ...]
    children: tuple[Record, ...]
    best_images: tuple[Record, ...]

    def to_dict(self) -> Record:
        """Plain values for JSON."""
        plain = asdict(self)
        attributes: Record = plain.pop("attributes")
        return {"node": plain.pop("node"), **attributes, **plain}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        own = table(["node", self.node], self.attributes.items())
        kin = [
            f"<b>{name.replace('_', ' ')}</b>"
            + table(list(records[0]), (list(one.values()) for one in records[:5]))
            for name in ("parents", "children", "best_images")
            if (records := getattr(self, name))
        ]
        return f"<div>{own}{''.join(kin)}</div>"


@dataclass(frozen=True)
class ChannelDescription:
    """What a channel is.

    Args:
        explained: part patterns, and the shares of its activation that parts, texture and nothing
            explain.
        none: weight of the noise component; None for a channel without nodes.
    """

    layer: str
    channel: int
    explained: dict[str, float]
    none: float | None
    nodes: tuple[Record, ...]

    def to_dict(self) -> Record:
        """Plain values for JSON."""
        head = {"layer": self.layer, "channel": self.channel, **self.explained}
        return {**head, "none": self.none, "nodes": self.nodes}


def describe_workspace(workspace: Workspace, *, top: int = 10) -> WorkspaceDescription:
    """The layers, the job, what was skipped, and the ``top`` strongest nodes of each layer.

    >>> described = describe_workspace(workspace, top=2)
    >>> described.objects, [layer["layer"] for layer in described.layers], len(described.strongest)
    (48, ['features.14', 'features.11'], 4)
    """
    graph, store = workspace.graph, workspace.store
    objects = store.read_objects()
    explained = explained_shares(graph)
    strongest: list[str] = []
    for layer in graph.layers:
        nodes = graph.nodes_of(layer.name)
        strongest += sorted(nodes, key=lambda node: -graph.nodes[node]["score"])[:top]
    return WorkspaceDescription(
        workspace=str(workspace.folder),
        source=workspace.job.source_name,
        model=workspace.job.spec,
        objects=len(objects),
        mirrored=sum(bool(one.mirrored) for one in objects),
        skipped=tuple(one.to_dict() for one in store.read_skipped()),
        nodes=graph.number_of_nodes(),
        edges=graph.number_of_edges(),
        layers=tuple(_layer(graph, layer) | explained[layer.name] for layer in graph.layers),
        explained=explained["network"],
        strongest=tuple(named(graph, node) | _shown(graph.nodes[node]) for node in strongest),
    )


def describe_node(workspace: Workspace, name: str) -> NodeDescription:
    """One node with its parents, children and best images.

    Raises:
        GraphError: there is no such node.

    >>> node = describe_node(workspace, next(iter(graph)))
    >>> node.attributes["layer"], len(node.best_images), sorted(node.best_images[0])
    ('features.14', 20, ['image', 'object', 'score', 'x', 'y'])
    """
    record = workspace.store.read_node(name)
    graph = workspace.graph
    related = lambda nodes: tuple({**named(graph, one.name), **one.attributes} for one in nodes)
    own = {key: record.attributes[key] for key in ("layer", "channel", "index", *SHOWN)}
    attributes = {**named(graph, name), **own}
    attributes.pop("node")
    best = tuple(
        {"image": p.image, "object": p.object_id, "x": p.x, "y": p.y, "score": p.score}
        for p in record.top_places
    )
    parents, children = related(record.parents), related(record.children)
    return NodeDescription(name, attributes, parents, children, best)


def describe_channel(workspace: Workspace, layer: str, channel: int) -> ChannelDescription:
    """The nodes of one channel, and how much of its activation they explain.

    Raises:
        GraphError: the graph has no such layer, or the layer no such channel.

    >>> channel = describe_channel(workspace, "features.14", 0)
    >>> [node["node"] for node in channel.nodes][:1], list(channel.explained)
    (['features.14:0:0'], ['patterns', 'part', 'texture', 'nothing'])
    """
    graph = workspace.graph
    channels = graph.layer(layer).channels
    if not 0 <= channel < channels:
        raise GraphError(f"{layer}: expected a channel of 0 to {channels - 1}, got {channel}")
    records = workspace.store.read_channel(layer, channel)
    nodes = tuple(
        named(graph, one.name) | _shown(one.attributes) | {"parents": len(one.parents)}
        for one in records
    )
    account = graph.explained.get(layer)  # none in a graph that was mined before they were kept
    shares = {key: getattr(account, key)[channel].item() for key in SHARES} if account else {}
    # The weight of V_none belongs to the channel; each of its nodes carries it.
    none = records[0].attributes["none"] if records else None
    return ChannelDescription(layer, channel, shares, none, nodes)


def explained_shares(graph: ExplanatoryGraph) -> dict[str, dict[str, Any]]:
    """How much of the filters' activation the graph explains, per layer and for the "network".

    Part patterns per filter, and the shares of parts, texture and nothing
    (`explgraph.mining.summarise`). A graph that was mined before they were kept has no figures.
    """
    explained = graph.explained
    accounts = {layer.name: explained.get(layer.name) for layer in graph.layers}
    kept = [account for account in accounts.values() if account]
    shares = {name: summarise([one]) if one else {} for name, one in accounts.items()}
    return {**shares, "network": summarise(kept) if kept else {}}


def strong_nodes(workspace: Workspace, top: int = 10) -> list[str]:
    """Ids of strong nodes that tell different things: at most ``top`` of each layer.

    The strongest of all are near-duplicates; see `explgraph.graph.telling_nodes`.

    >>> [name.rpartition(":")[0].rpartition(":")[0] for name in strong_nodes(workspace, top=2)]
    ['features.14', 'features.14', 'features.11', 'features.11']
    """
    graph = workspace.graph
    chosen: list[str] = []
    for layer in graph.layers:
        chosen += telling_nodes(graph, top, among=graph.nodes_of(layer.name))
    return chosen


def draw_nodes(
    workspace: Workspace, nodes: Sequence[str], out: AnyPath, *, title: str = ""
) -> Path:
    """Write a contact sheet, one row per node: patches about its place in its best images.

    The patches are turned to the common facing.

    Args:
        nodes: ids, such as those of `strong_nodes`.
        out: the picture's file.
        title: stands above all.

    Raises:
        WorkspaceError: none of the photographs is where it was when it was mined.
        GraphError: a node is unknown, or there is none to draw.

    >>> draw_nodes(workspace, list(graph)[:1], out / "node.png").name
    'node.png'
    """
    # matplotlib, which few commands need
    from explgraph.figures import PatchRow, contact_sheet, save_figure

    if not nodes:
        raise GraphError("there is no node to draw; choose a channel that has nodes")
    album = Album(workspace)
    rows = []
    for name in nodes:
        best = album.patches(name, N_PATCHES)
        node = workspace.graph.node(name)
        title_of = workspace.graph.title(name)
        said = f"{title_of}   score {node['score']:.2f}, strays by {node['std']:.1%} of the box"
        scores = [f"{score:.2f}" for _, score in best]
        rows.append(PatchRow(said, [patch for patch, _ in best], scores))
    if not any(row.patches for row in rows):
        raise WorkspaceError(
            f"the photographs are no longer where they were ({workspace.job.source_name}); "
            f"put them back, or: explgraph relocate {workspace.folder} --images FOLDER"
        )
    return save_figure(contact_sheet(rows, title=title), Path(out))


def draw_graph(workspace: Workspace, out: AnyPath, *, node: str | None = None) -> Path:
    """Draw a few telling nodes of each layer over the mean object; the path of the picture.

    Args:
        workspace: holds the graph.
        out: the picture's file.
        node: drawn with its parents and children; by default strong nodes of different filters at
            different places are drawn, with the strongest edges among them.

    Raises:
        GraphError: the node is unknown.

    >>> draw_graph(workspace, out / "graph.png").name
    'graph.png'
    """
    from explgraph.figures import choose_nodes, graph_figure, save_figure

    chosen = choose_nodes(workspace.graph, node=node)
    album = Album(workspace)
    patches = {}
    for name in (name for names in chosen.values() for name in names):
        for patch, _ in album.patches(name, 1):
            patches[name] = patch
    mean = album.mean_object([name for names in chosen.values() for name in names])
    figure = graph_figure(workspace.graph, chosen, node=node, patches=patches, image=mean)
    return save_figure(figure, Path(out))


def _layer(graph: ExplanatoryGraph, layer: Layer) -> Record:
    kinds = [graph.nodes[node]["kind"] for node in graph.nodes_of(layer.name)]
    return {
        "layer": layer.name,
        "channels": layer.channels,
        "map": f"{layer.height} x {layer.width}",
        "nodes": len(kinds),
        "parts": kinds.count("part"),
    }


def named(graph: ExplanatoryGraph, node: str) -> Record:
    """The id of a node, and its name if it has one.

    >>> named(graph, "features.14:0:0")
    {'node': 'features.14:0:0'}
    """
    called = graph.called(node)
    return {"node": node, "name": called} if called else {"node": node}


def _shown(attributes: Record) -> Record:
    return {key: attributes[key] for key in SHOWN}
