"""Five tasks in Captum, pytorch-grad-cam, torchcam and here: lines, seconds, agreement.

`benchmarks.peer_programs` holds the programs. They run on SqueezeNet 1.0, with the weights and
photographs of --shared where it is there, else with random ones: agreement does not depend on them.
All run in turn, in one process, on the same threads, each on a copy of the network of its own; the
fastest round of each counts, and a first round, with the imports, does not.

What differs by definition is made alike before agreement is measured: pytorch-grad-cam scales each
map to 0..1, before and after it enlarges it, and torchcam before; both are done to ours, which has
the cells. How maps are enlarged differs too: ours put a cell where its receptive field has its
centre, the others tile the input with the cells. ``as_delivered`` is the correlation before all
that, the mean of the images.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

import explgraph as xg
from benchmarks.animals import CLASSES, WEIGHTS
from benchmarks.attribution import quietly
from benchmarks.peer_programs import PROGRAMS, TOOLS, count_lines, graph_explgraph
from benchmarks.timing import Task, in_turns, seconds
from explgraph.images import picture_input

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
SIDE = 224
CPU = torch.device("cpu")
Agreement = dict[str, dict[str, float]]  # method -> figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    beside = os.environ.get("EXPLGRAPH_SHARED", Path(__file__).parents[2] / "shared")
    shared = "DIR/data/animals and DIR/models"
    parser.add_argument("--shared", type=Path, default=beside, metavar="DIR", help=shared)
    parser.add_argument("--n", type=int, default=8, help="images in the batch")
    parser.add_argument("--mined", type=int, default=60, help="images that the graph is mined from")
    parser.add_argument("--rounds", type=int, default=5)
    threads = "of all libraries; default: as many as torch takes"
    parser.add_argument("--threads", type=int, help=threads)


@dataclass(frozen=True, eq=False)
class Given:
    """What the programs start from, by the names of their parameters.

    Args:
        model: a classifier, a plain module.
        images: its input, (n, 3, 224, 224).
        classes: number of the class asked of each image.
        mined: images to mine a graph from, as ``images``.
        folder: for files.
        mean: what the input was normalised with.
        std: as ``mean``.
        names: of the classes.
    """

    model: nn.Module
    images: Tensor
    classes: list[int]
    mined: Tensor
    folder: Path
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    names: list[str] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """All but the graph, with a copy of the model."""
        image = self.images[:1]
        plain = (
            image[0].permute(1, 2, 0) * torch.tensor(self.std) + torch.tensor(self.mean)
        ).numpy()
        picture = plain.clip(0, 1)
        photograph = self.folder / "photograph.png"
        Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(photograph)
        return {
            **{name: getattr(self, name) for name in ("images", "classes", "mean", "std", "names")},
            "model": copy.deepcopy(self.model),
            "image": image,
            "target": self.classes[0],
            "picture": picture,
            "photograph": photograph,
            "photographs": self.mined,
            "path": self.folder / "methods.png",
        }


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        given, weights = prepare(args.shared, args.n, args.mined, Path(folder))
        figures = measure(given, rounds=args.rounds)
    about = {"weights": weights, "images": args.n, "mined_images": args.mined}
    return {**about, "threads": torch.get_num_threads(), "rounds": args.rounds, **figures}


def prepare(shared: Path, n: int, mined: int, folder: Path) -> tuple[Given, str]:
    """SqueezeNet with photographs of three classes, or random ones; and which of the two."""
    names = torchvision.models.SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"]
    weights, animals = shared / WEIGHTS, shared / "data" / "animals"
    real = weights.is_file() and animals.is_dir()
    torch.manual_seed(0)
    # As its users have it, with parameters that take gradients: the others need them.
    model = torchvision.models.squeezenet1_0(weights=None).eval()
    if real:
        model.load_state_dict(torch.load(weights, weights_only=True))
        network = xg.wrap(model)
        photographs = [sorted((animals / name).glob("*.jpg")) for name, _ in CLASSES.values()]
        numbers = [number for _, number in CLASSES.values()]
        some = [photographs[k % len(numbers)][k // len(numbers)] for k in range(n)]
        images, classes = read(network, some), [numbers[k % len(numbers)] for k in range(n)]
        of_graph = read(network, photographs[0][-mined:])
    else:
        images, classes = torch.randn(n, 3, SIDE, SIDE), [340] * n
        of_graph = torch.randn(mined, 3, SIDE, SIDE)
    given = Given(model, images, classes, of_graph, folder, names=list(names))
    return given, "ImageNet" if real else "random"


def read(network: Any, files: list[Path]) -> Tensor:
    """The photographs, stretched, as the network takes them."""
    pixels = [picture_input(one, height=SIDE, width=SIDE, fit="stretch")[0] for one in files]
    return network.preprocess(torch.from_numpy(np.stack(pixels))).contiguous()


def measure(given: Given, *, rounds: int) -> dict[str, Any]:
    """Lines, seconds and agreement of every program."""
    values = {tool: given.values() for tool in TOOLS}
    ours = values["explgraph"]
    mining = seconds(lambda: ours.update(graph=started(graph_explgraph, ours)()), CPU)
    tasks: dict[str, Any] = {}
    for task, programs in PROGRAMS.items():
        offered = {tool: one for tool, one in programs.items() if callable(one)}
        runs = {tool: quietly(started(one, values[tool])) for tool, one in offered.items()}
        found = {tool: one() for tool, one in runs.items()}
        plt.close("all")
        agreed = {
            tool: AGREEMENTS[task](found["explgraph"], one, tool, given)
            for tool, one in found.items()
            if tool != "explgraph"
        }
        timers = {tool: Task(one, without_figures).timer(CPU) for tool, one in runs.items()}
        times = in_turns(timers, rounds, title=task)
        tasks[task] = {
            "lines": {tool: count_lines(one) for tool, one in offered.items()},
            "seconds": {tool: min(times[tool]) for tool in offered},
            "agreement": agreed,
            "not_offered": {tool: one for tool, one in programs.items() if isinstance(one, str)},
        }
    return {"mining": {"lines": count_lines(graph_explgraph), "seconds": mining}, "tasks": tasks}


def started(program: Callable[..., Any], values: dict[str, Any]) -> Callable[[], Any]:
    """The program with what its parameters ask for."""
    wanted = list(signature(program).parameters)
    return lambda: program(**{name: values[name] for name in wanted})


@contextmanager
def without_figures() -> Iterator[None]:
    """Close what pyplot keeps open, after the clock has stopped."""
    yield
    plt.close("all")


# Agreement


@dataclass(frozen=True)
class Figures:
    """How two maps agree.

    Args:
        correlation: mean of the images, after what differs by definition was made alike.
        largest_difference: in units of the largest value.
        as_delivered: correlation of what the programs give.
    """

    correlation: float
    largest_difference: float
    as_delivered: float


def compare(
    expected: Any, found: Any, delivered: tuple[Any, Any] | None = None
) -> dict[str, float]:
    one, other = plain(expected), plain(found)
    assert one.shape == other.shape, (one.shape, other.shape)
    largest = float(np.abs(one - other).max() / np.abs(one).max())
    raw = (one, other) if delivered is None else (plain(delivered[0]), plain(delivered[1]))
    return asdict(Figures(correlation(one, other), largest, correlation(*raw)))


def plain(values: Any) -> np.ndarray:
    return np.asarray(values.detach() if isinstance(values, Tensor) else values, np.float64)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The mean correlation of the images."""
    pairs = zip(one.reshape(len(one), -1), other.reshape(len(one), -1), strict=True)
    return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))


def enlarged(cells: Tensor, size: tuple[int, int] = (SIDE, SIDE)) -> Tensor:
    """Bilinear, the cells being tiles of the input."""
    return interpolate(cells[:, None], size, mode="bilinear")[:, 0]


def scaled(maps: Tensor) -> Tensor:
    """Each image's map from 0 to 1."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (maps.amax((1, 2), keepdim=True) + 1e-7)


def as_by(tool: str, cells: Tensor) -> Tensor:
    """Our cells after the steps that the tool's program takes from there."""
    if tool == "captum":
        return enlarged(cells)
    if tool == "torchcam":
        return enlarged(scaled(cells))
    return scaled(enlarged(scaled(cells)))


def of_maps(ours: xg.Attribution, theirs: Any, tool: str, given: Given) -> Agreement:
    return {"Grad-CAM": compare(as_by(tool, ours.cells), theirs, (ours.maps, theirs))}


def of_pixels(ours: xg.Attribution, theirs: Any, tool: str, given: Given) -> Agreement:
    return {"gradient": compare(ours.maps, theirs)}


def of_own(ours: Any, theirs: Any, tool: str, given: Given) -> Agreement:
    found, heat_map = ours
    theirs = plain(theirs)[None]
    return {"Grad-CAM": compare(as_by(tool, found.cells), theirs, (heat_map[None], theirs))}


def of_methods(ours: Any, theirs: Any, tool: str, given: Given) -> Agreement:
    image, target = given.images[:1], given.classes[0]
    if tool == "captum":
        cam = theirs["LayerGradCam"][:, 0]
        signed = xg.saliency(given.model, image, target=target, times_input=True)
        pixels = xg.saliency(given.model, image, target=target)
        return {
            "Grad-CAM": compare(as_by(tool, ours[0].cells), cam, (ours[0].maps, cam)),
            "saliency": compare(pixels.maps, theirs["Saliency"].amax(1)),
            "gradient x input": compare(signed.maps, theirs["InputXGradient"].sum(1)),
        }
    agreed = {}
    for name, one, map in zip(("Grad-CAM", "Grad-CAM++", "LayerCAM"), ours, theirs, strict=True):
        # torchcam's program gives cells: it enlarges only the picture.
        cells = tool == "torchcam"
        expected = scaled(one.cells) if cells else as_by(tool, one.cells)
        theirs_alone = plain(map).reshape(1, *expected.shape[1:])
        delivered = one.cells if cells else one.maps
        agreed[name] = compare(expected, theirs_alone, (delivered, theirs_alone))
    return agreed


def of_channels(ours: Any, theirs: Any, tool: str, given: Given) -> Agreement:
    return {"drops": compare(ours[0][None], theirs[0][None])}


AGREEMENTS: dict[str, Callable[..., Agreement]] = {
    "class": of_maps,
    "channel, pixels": of_pixels,
    "channel, an earlier layer": of_maps,
    "own network": of_own,
    "several methods": of_methods,
    "units, channels": of_channels,
    "units, nodes": of_maps,  # there is no other
}


def text(figures: dict[str, Any]) -> str:
    """The two tables of docs/comparison.md: lines and seconds, agreement."""
    about = [f"{key}: {figures[key]}" for key in ("weights", "images", "threads", "rounds")]
    once = figures["mining"]
    about.append(f"mining, once: {once['lines']} lines, {once['seconds']:.0f} s")
    tasks = figures["tasks"]
    rows = [row("lines, seconds", TOOLS), "|---" * (len(TOOLS) + 1) + "|"]
    rows += [row(task, [cost(found, tool) for tool in TOOLS]) for task, found in tasks.items()]
    rows += ["", row("", TOOLS[1:]), "|---" * len(TOOLS) + "|"]
    for task, found in tasks.items():
        agreed = found["agreement"]
        methods = dict.fromkeys(name for of_tool in agreed.values() for name in of_tool)
        for name in methods:
            title = f"{task}: {name}" if len(methods) > 1 else task
            rows.append(row(title, [said(agreed.get(tool, {}).get(name)) for tool in TOOLS[1:]]))
    return "\n".join([*about, "", *rows])


def row(title: str, cells: Any) -> str:
    return f"| {title} | {' | '.join(cells)} |"


def cost(found: dict[str, Any], tool: str) -> str:
    if tool not in found["lines"]:
        return "not offered"
    elapsed = found["seconds"][tool]
    return f"{found['lines'][tool]}, {elapsed:.{2 if elapsed < 10 else 0}f} s"


def said(one: dict[str, float] | None) -> str:
    if one is None:
        return ""
    figures = f"{one['correlation']:.4f}, {one['largest_difference']:.0e}"
    return f"{figures}, {one['as_delivered']:.2f}"
