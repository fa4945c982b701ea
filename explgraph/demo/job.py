"""The main job on the demo's creatures: pictures -> workspace -> answers -> files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from explgraph.demo.pictures import DemoPictures, unpack_pictures
from explgraph.figures import NodePanel, node_figure, save_figure
from explgraph.files import make_folder, write_json
from explgraph.formats import export_graph
from explgraph.graph import ExplanatoryGraph, telling_nodes
from explgraph.images import load_image, read_source
from explgraph.locations import LocationWriter
from explgraph.parts import Marked
from explgraph.progress import Report, silent
from explgraph.queries import (
    Evaluation,
    ExplainedImage,
    GradcamOptions,
    LocatedBatch,
    draw_graph,
    draw_heat_maps,
    draw_nodes,
    draw_part,
    evaluate_workspace,
    explain_images,
    fit_workspace_part,
    locate_batches,
    location_rows,
    strong_nodes,
)
from explgraph.text import one_line
from explgraph.workspace import MineJob, Workspace, mine_workspace

MODEL = "explgraph.demo.network:demo_network"
LAYERS = ("features.11", "features.14")
PART, N_MARKED = "head", 3  # the semantic part that is fitted, and on how many creatures
PATCHES = "Strong nodes of different filters at different places, on their best creatures"
N_SHOWN = 7  # nodes drawn on each new creature, one colour each


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Args:
        folder: everything lies in it.
        figures: of nodes, of raw filters beside them, and of facing.
        files: what to look at, name -> path.
        seconds: how long it took.
    """

    folder: Path
    figures: Evaluation
    files: dict[str, Path]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        files = {name: str(path) for name, path in self.files.items()}
        plain = {"folder": str(self.folder), "seconds": self.seconds, "files": files}
        return plain | self.figures.to_dict()

    def to_text(self) -> str:
        """The report for people."""
        facing = f"{self.figures.facing or 0:.1%}"
        lines = [
            "",
            f"{self.figures.objects} creatures, facing found without labels in {facing} of them.",
            "Lower is better (fractions of the box's diagonal; ratio: 1 = knows nothing about the "
            "landmarks):",
            "",
            f"  {'layer':12s} {'':12s} {'instability':>12s} {'landmark error':>15s} {'ratio':>7s}",
        ]
        for name, nodes in self.figures.nodes.items():
            for what, one in (("nodes", nodes), ("raw filters", self.figures.raw_filters[name])):
                row = (
                    f"{one.instability:12.4f} {one.landmark_error:15.4f} {one.landmark_ratio:7.3f}"
                )
                lines.append(f"  {name:12s} {what:12s} {row}")
        network = self.figures.explained["network"]
        lines += [
            "",
            f"Each filter holds {network['patterns']:.1f} part patterns; of all activation "
            f"{network['part']:.0%} is explained by parts, {network['texture']:.0%} is texture, "
            f"{network['nothing']:.0%} neither.",
            "",
            f"Look at ({self.seconds:.0f} s):",
            *(f"  {path}   {name}" for name, path in self.files.items()),
            "",
            f"Ask it yourself:  explgraph show {self.files['workspace']}",
        ]
        return "\n".join(map(one_line, lines))


def run_demo(folder: str | Path, *, report: Report = silent) -> DemoResult:
    """Mine the demo's creatures, ask the graph, and draw the answers; goes on where it stopped.

    The graph is mined from 120 pictures of one species without a look at their landmarks; the
    landmarks then score it. Nodes are drawn on twelve new pictures.

    Args:
        folder: gets all files; made if missing.
        report: is told how far the work is.

    It takes 17 s on two cores. This is what it starts from:

    >>> given = unpack_pictures(out)
    >>> len(read_source(given.mined).objects), len(read_source(given.new).objects)
    (120, 12)
    """
    started = time.monotonic()
    folder = Path(folder)
    make_folder(folder)
    pictures = unpack_pictures(folder)
    # Deviations are those of scenes without a creature: what is common there counts little.
    job = MineJob(pictures.mined, MODEL, LAYERS, background=pictures.background)
    # With restart, as an older version of the demo may have left other peaks there.
    mine_workspace(folder / "workspace", job, device="cpu", report=report, restart=True)
    report("fit a part", 0, 0)
    _fit_part(folder / "workspace", pictures.mined)
    with Workspace(folder / "workspace") as workspace:
        report("evaluate", 0, 0)
        figures = evaluate_workspace(workspace, pictures.mined)
        write_json(figures.to_dict(), folder / "figures.json")
        files = _answer(workspace, pictures, folder, report=report)
    files["workspace"] = folder / "workspace"
    return DemoResult(folder, figures, files, time.monotonic() - started)


def _fit_part(workspace: Path, dataset: Path) -> None:
    marked = [one.annotation_id for one in read_source(dataset).objects if PART in one.landmarks]
    fit_workspace_part(workspace, PART, Marked(dataset, tuple(marked[:N_MARKED]), PART))


def _answer(
    workspace: Workspace, pictures: DemoPictures, folder: Path, *, report: Report
) -> dict[str, Path]:
    """Ask the workspace what it can be asked; the files to look at, by name."""
    new = read_source(pictures.new)
    network = workspace.network()
    places, panels = folder / "places.csv", []
    shown = telling_nodes(workspace.graph, N_SHOWN)
    with LocationWriter(places) as writer:
        for located in locate_batches(workspace, new, network=network, report=report):
            writer.write(location_rows(located))
            panels += _node_panels(located, workspace.graph, shown)
    report("draw", 0, 0)
    # Each node keeps its colour from picture to picture: the eye follows a part.
    nodes = node_figure(panels, title="The same part patterns, found on new creatures")
    first, options = [new.objects[0].path], GradcamOptions(layer=LAYERS[-1])
    # Stretched, as the network was trained.
    maps = draw_heat_maps("gradcam", network, first, folder, options=options, fit="stretch")
    # In its box: as a whole the picture is not what the graph was mined from.
    one = read_source(pictures.new, objects=[new.objects[0].annotation_id])
    (why,) = explain_images(workspace, network, one, out=folder)
    assert isinstance(why, ExplainedImage)
    assert why.figure
    part = f"the {PART}, marked on {N_MARKED} creatures and found on the others"
    return {
        "nodes found on twelve new creatures": save_figure(nodes, folder / "nodes.png"),
        "patches of strong nodes": draw_nodes(
            workspace, strong_nodes(workspace, 4), folder / "patches.png", title=PATCHES
        ),
        "the graph: strong nodes on the mean creature": draw_graph(workspace, folder / "graph.png"),
        part: draw_part(workspace, PART, folder / f"{PART}.png"),
        "heat map (Grad-CAM)": maps.results[0].overlay,
        "why this species: nodes, and what the score loses without each": why.figure,
        "the graph, for Gephi": export_graph(workspace.graph, folder / "graph.gexf"),
        "places on the new creatures": places,
    }


def _node_panels(
    located: LocatedBatch, graph: ExplanatoryGraph, nodes: Sequence[str]
) -> list[NodePanel]:
    """The images of a batch with the places of ``nodes``, as far as they were found."""
    found, panels = located.locations, []
    column = [found.nodes.index(node) for node in nodes]
    usual = np.array([graph.nodes[node]["score"] for node in nodes])
    for i, obj in enumerate(located.objects):
        places = located.batch.frames[i].to_image(found.place[i, column])
        # On a creature without the part a node is somewhere too, but with little evidence.
        places[found.score[i, column] <= 0.5 * usual] = np.nan
        panels.append(NodePanel(load_image(obj), places, np.ones(len(nodes)), nodes))
    return panels
