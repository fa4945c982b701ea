"""The main job on the embedded demo, the whole way: creatures -> workspace -> places, heat map, graph file, figures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from explgraph.demo.creatures import DEMO_SPECIES, demo_dataset, write_dataset
from explgraph.figures import NodePanel, node_figure, save_figure
from explgraph.formats import export_graph
from explgraph.images import load_image, read_source
from explgraph.locations import LocationWriter
from explgraph.parts import Marked
from explgraph.progress import Report, silent
from explgraph.queries import (
    Evaluation,
    ExplainedImage,
    GradcamOptions,
    LocatedBatch,
    describe_workspace,
    draw_heat_maps,
    draw_nodes,
    draw_part,
    evaluate_workspace,
    explain_images,
    fit_workspace_part,
    locate_batches,
    location_rows,
)
from explgraph.workspace import MineJob, Workspace, mine_workspace

MODEL = "explgraph.demo.network:demo_network"
LAYERS = ("features.11", "features.14")
N_MINED, N_NEW = 120, 12
PART, N_MARKED = (
    "head",
    3,
)  # the semantic part that is fitted, and how many creatures it is marked on
N_SHOWN = 7  # nodes drawn on each new creature, one colour each


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Args:
        folder: everything lies in it.
        figures: node figures, raw filters beside them, and facing.
        files: what to look at, name -> path.
        seconds: how long it took.
    """

    folder: Path
    figures: Evaluation
    files: dict[str, Path]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        files = {name: str(path) for name, path in self.files.items()}
        return {
            "folder": str(self.folder),
            "seconds": self.seconds,
            "files": files,
            **self.figures.to_dict(),
        }

    def to_text(self) -> str:
        """Return the report for people."""
        lines = [
            "",
            f"{self.figures.objects} creatures, facing found without labels in {self.figures.facing or 0:.1%} of them.",
            "Lower is better (fractions of the box's diagonal; ratio: 1 = knows nothing about the landmarks):",
            "",
            f"  {'layer':12s} {'':12s} {'instability':>12s} {'landmark error':>15s} {'ratio':>7s}",
        ]
        for name, nodes in self.figures.nodes.items():
            for what, score in (("nodes", nodes), ("raw filters", self.figures.raw_filters[name])):
                lines.append(
                    f"  {name:12s} {what:12s} {score.instability:12.4f} {score.landmark_error:15.4f} {score.landmark_ratio:7.3f}"
                )
        network = self.figures.explained["network"]
        lines += [
            "",
            f"Each filter holds {network['patterns']:.1f} part patterns; of all activation {network['part']:.0%} is explained by parts, "
            f"{network['texture']:.0%} is texture, {network['nothing']:.0%} neither.",
        ]
        lines += ["", f"Look at ({self.seconds:.0f} s):"]
        lines += [f"  {path}   {name}" for name, path in self.files.items()]
        lines += ["", f"Ask it yourself:  explgraph show {self.files['workspace']}"]
        return "\n".join(lines)


def run_demo(folder: str | Path, *, report: Report = silent) -> DemoResult:
    """Mine the demo's creatures into ``folder`` and draw what was found; a second call goes on where the first stopped.

    The graph is mined from 120 pictures of one species without looking at their landmarks; the landmarks then score it. Nodes are
    drawn on twelve new pictures.
    """
    started = time.monotonic()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report("draw creatures", 0, 0)
    dataset, background = _creatures(folder)
    workspace_folder = folder / "workspace"
    job = MineJob(source=dataset, model=MODEL, layers=LAYERS, background=background)
    mine_workspace(workspace_folder, job, device="cpu", report=report, restart=True)
    report("fit a part", 0, 0)
    marked = [o.annotation_id for o in read_source(dataset).objects if PART in o.landmarks][
        :N_MARKED
    ]
    fit_workspace_part(workspace_folder, PART, Marked(dataset, tuple(marked), PART))
    with Workspace(workspace_folder) as workspace:
        report("evaluate", 0, 0)
        figures = evaluate_workspace(workspace, dataset)
        (folder / "figures.json").write_text(
            json.dumps(figures.to_dict(), indent=1) + "\n", encoding="utf-8"
        )
        new = read_source(_new_creatures(folder))
        picture = _Picture(workspace)
        network = workspace.network()
        with LocationWriter(folder / "places.csv") as writer:
            for located in locate_batches(workspace, new, network=network, report=report):
                writer.write(location_rows(located))
                picture.add(located)
        report("draw", 0, 0)
        nodes = picture.save(folder / "nodes.png")
        strongest = [row["node"] for row in describe_workspace(workspace, top=4).strongest]
        patches = draw_nodes(workspace, strongest, folder / "patches.png")
        part = draw_part(workspace, PART, folder / f"{PART}.png")
        first, options = [new.objects[0].path], GradcamOptions(layer=LAYERS[-1])
        maps = draw_heat_maps("gradcam", network, first, folder, options=options, fit="stretch")
        (why,) = explain_images(workspace, network, first, out=folder)
        assert isinstance(why, ExplainedImage)
        assert why.figure
        graph = export_graph(workspace.graph, folder / "graph.gexf")
    files = {
        "nodes found on twelve new creatures": nodes,
        "patches of the strongest nodes": patches,
        f"the {PART}, marked on {N_MARKED} creatures and found on the others": part,
        "heat map (Grad-CAM)": maps.results[0].overlay,
        "why this species: nodes, and what the score loses without each": why.figure,
        "the graph, for Gephi": graph,
        "places on the new creatures": folder / "places.csv",
        "workspace": workspace_folder,
    }
    return DemoResult(folder, figures, files, time.monotonic() - started)


def _creatures(folder: Path) -> tuple[Path, Path]:
    """Return data set and background, drawn if they are not there yet."""
    dataset, background = (
        folder / "creatures" / "creatures.json",
        folder / "creatures" / "background",
    )
    if not dataset.is_file():
        dataset, background = demo_dataset(folder / "creatures", n=N_MINED)
    return dataset, background


def _new_creatures(folder: Path) -> Path:
    dataset = folder / "new-creatures" / "creatures.json"
    return (
        dataset
        if dataset.is_file()
        else write_dataset(folder / "new-creatures", species=DEMO_SPECIES, n=N_NEW, seed=1)
    )


class _Picture:
    """Collects where the graph's most telling nodes are on new creatures, and draws them."""

    def __init__(self, workspace: Workspace) -> None:
        self.chosen = telling_nodes(workspace, N_SHOWN)
        self.usual_score = np.array(
            [workspace.store.read_node(name).attributes["score"] for name in self.chosen]
        )
        self.panels: list[NodePanel] = []

    def add(self, located: LocatedBatch) -> None:
        found = located.locations
        column = [found.nodes.index(name) for name in self.chosen]
        for i, obj in enumerate(located.objects):
            places = located.batch.frames[i].to_image(found.place[i, column])
            seen = found.score[i, column] > 0.5 * self.usual_score
            # A node that was not found is not drawn.
            places = np.where(seen[:, None], places, np.nan)
            # Each node keeps its colour from picture to picture: the eye follows a part.
            same = np.ones(len(column))
            self.panels.append(NodePanel(load_image(obj), places, same, self.chosen))

    def save(self, path: Path) -> Path:
        title = "The same part patterns, found on new creatures"
        return save_figure(node_figure(self.panels, title=title), path)


def telling_nodes(workspace: Workspace, n: int) -> list[str]:
    """Return ``n`` part nodes that are found often, keep their place, and lie apart from each other, each of another channel.

    Taken greedily by support / std from all layers; each next one lies at least a quarter of the input away from those
    before, or less where that leaves too few.
    """
    graph = workspace.graph
    rank = sorted(graph, key=lambda v: -graph.nodes[v]["support"] / graph.nodes[v]["std"])
    chosen: list[str] = []
    channel = lambda v: v.rpartition(":")[0]
    place = lambda v: np.array([graph.nodes[v]["row"], graph.nodes[v]["col"]])
    for apart in (0.25, 0.18, 0.12, 0.0):
        for node in rank:
            free = channel(node) not in map(channel, chosen)
            if (
                len(chosen) < n
                and free
                and all(np.linalg.norm(place(node) - place(c)) >= apart for c in chosen)
            ):
                chosen.append(node)
    return chosen
