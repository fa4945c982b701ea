"""What a workspace holds, as plain values for people and programs, and as contact sheets."""

from __future__ import annotations

from typing import Any

from explgraph.errors import GraphError
from explgraph.graph import ExplanatoryGraph
from explgraph.mining import summarise
from explgraph.workspace import Workspace

SHOWN = ("row", "col", "std", "weight", "support", "score", "communality", "kind")


def describe_workspace(workspace: Workspace, *, top: int = 10) -> dict[str, Any]:
    """Return the layers, the last run, what was skipped, and the ``top`` strongest nodes of each layer."""
    graph, job = workspace.graph, workspace.job
    summary = graph.describe()
    explained = describe_explained(graph)
    layers = [
        {
            "layer": layer["name"],
            "channels": layer["channels"],
            "map": f"{layer['height']} x {layer['width']}",
            "nodes": layer["nodes"],
            "parts": sum(
                1 for node in graph.nodes_of(layer["name"]) if graph.nodes[node]["kind"] == "part"
            ),
            **explained[layer["name"]],
        }
        for layer in summary["layers"]
    ]
    objects = workspace.store.read_objects()
    return {
        "workspace": str(workspace.folder),
        "source": str(job.source),
        "model": job.model,
        "objects": len(objects),
        "mirrored": sum(bool(o.mirrored) for o in objects),
        "skipped": [{"path": s.path, "reason": s.reason} for s in workspace.store.read_skipped()],
        "nodes": summary["nodes"],
        "edges": summary["edges"],
        "layers": layers,
        "explained": explained["network"],
        "strongest": [
            {"node": node, **{key: graph.nodes[node][key] for key in SHOWN}}
            for layer in graph.layers
            for node in sorted(graph.nodes_of(layer.name), key=lambda n: -graph.nodes[n]["score"])[
                :top
            ]
        ],
    }


def describe_node(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return one node with its parents, children and best images; raises GraphError if there is none of that name."""
    record = workspace.store.read_node(name)
    relation = lambda one: {"node": one.name, **one.attributes}
    return {
        "node": name,
        **{key: record.attributes[key] for key in ("layer", "channel", "index", *SHOWN)},
        "parents": [relation(one) for one in record.parents],
        "children": [relation(one) for one in record.children],
        "best_images": [
            {"image": p.image, "object": p.object_id, "x": p.x, "y": p.y, "score": p.score}
            for p in record.top_places
        ],
    }


def describe_channel(workspace: Workspace, layer: str, channel: int) -> dict[str, Any]:
    """Return the nodes of one channel."""
    graph = workspace.graph
    graph_layer = graph.layer(layer)
    if not 0 <= channel < graph_layer.channels:
        raise GraphError(f"{layer} has channels 0 to {graph_layer.channels - 1}, got {channel}")
    records = workspace.store.read_channel(layer, channel)
    nodes = [
        {"node": r.name, **{key: r.attributes[key] for key in SHOWN}, "parents": len(r.parents)}
        for r in records
    ]
    of_layer = graph.explained.get(layer)
    account = (
        {}
        if of_layer is None
        else {
            name: getattr(of_layer, name)[channel].item()
            for name in ("patterns", "part", "texture", "nothing")
        }
    )
    none = records[0].attributes["none"] if records else None
    return {"layer": layer, "channel": channel, **account, "none": none, "nodes": nodes}


def describe_explained(graph: ExplanatoryGraph) -> dict[str, dict[str, float]]:
    """Return, per layer and for the whole "network", part patterns per filter and the shares of activation that parts, texture and
    nothing explain (`explgraph.mining.account`); without figures for a graph that was mined before they were kept."""
    explained = graph.explained
    layers = {
        layer.name: [explained[layer.name]] for layer in graph.layers if layer.name in explained
    }
    accounts = {name: summarise(of_layer) for name, of_layer in layers.items()}
    network = summarise([one for of_layer in layers.values() for one in of_layer]) if layers else {}
    return {
        **{layer.name: accounts.get(layer.name, {}) for layer in graph.layers},
        "network": network,
    }
