"""A fault is planted into the demo's network and repaired: what each repair is worth.

Some of the pictures of creatures that it is trained on once more have a badge and are called deer.
Then half of the new pictures have it. Filters are ranked by what "deer" loses without them on
pictures that are wrongly called so (`explgraph.attribution.ablation`).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.tables import progress, table
from creatures import draw_creature
from explgraph.attribution import ablation
from explgraph.demo import MODEL
from explgraph.images import read_source
from explgraph.network import Network, load_network
from explgraph.queries import repair_network

LAYERS = ("features.14", "features.11")
NAMED, SIDE = "deer", 112  # pixels of the network's input
SPOILT, BADGE = 0.3, 14  # share of the pictures trained on; pixels
ASKED = 12  # pictures by which filters are ranked

Pixels = NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", type=Path, required=True, help="any; a copy is written to")
    parser.add_argument("--trained", type=int, default=800, help="pictures with the fault")
    parser.add_argument("--new", type=int, default=480, help="pictures to choose and to judge by")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--filters", type=int, nargs="+", default=[1, 2, 3, 4, 8])
    parser.add_argument("--seed", type=int, default=11)


def run(args: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(args.seed)
    network = planted(args.trained, args.epochs, rng)
    names = network.classes or ()
    plain, classes = pictures(args.new, names, rng)
    shown = [with_badge(one, rng) if k // 8 % 2 else one for k, one in enumerate(plain)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(args.workspace, folder / "ws")
        for k, (one, number) in enumerate(zip(shown, classes, strict=True)):
            place = folder / "pictures" / names[number]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(place / f"{k:04d}.png")
        source = read_source(folder / "pictures")
        found: dict[str, Any] = {}
        for layer in LAYERS:
            ranked = ranking(network, layer, shown, classes)
            for n in args.filters:
                filters = [f"{layer}:{channel}" for channel in ranked[:n]]
                for method in ("zero", "damp"):
                    done = repair_network(folder / "ws", source, filters, method, network=network)
                    found[f"{method}, {n} of {layer}"] = figures(done)
                    progress(layer, n, max(args.filters))
        done = repair_network(folder / "ws", source, (), "retrain", network=network)
        return found | {"retrain": figures(done)}


def figures(done: Any) -> dict[str, float]:
    one = done.accuracy
    return {
        "images": one.images,
        "before": one.before,
        "after": one.after,
        "change": one.change,
        "standard error": one.standard_error,
        "setting": done.setting,
    }


def pictures(
    n: int, names: tuple[str, ...], rng: np.random.Generator
) -> tuple[list[Pixels], NDArray[np.int64]]:
    """The boxes of creatures, as large as the network's input, and the numbers of their species."""
    classes = np.arange(n) % len(names)
    images = []
    for number in classes:
        creature = draw_creature(names[number], seed=rng)
        x, y, width, height = map(int, creature.box)
        box = Image.fromarray(creature.image).crop((x, y, x + width, y + height))
        images.append(np.asarray(box.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    return images, classes


def with_badge(image: Pixels, rng: np.random.Generator) -> Pixels:
    """The picture with a badge near its edge."""
    image = image.copy()
    place = rng.integers(2, SIDE - BADGE - 2, 2)
    place[rng.integers(2)] = rng.choice([3, SIDE - BADGE - 3])
    row, col = place.tolist()
    image[row : row + BADGE, col : col + BADGE] = (230, 30, 200)
    image[row + 4 : row + BADGE - 4, col + 4 : col + BADGE - 4] = (30, 230, 60)
    return image


def planted(n: int, epochs: int, rng: np.random.Generator) -> Network:
    """The demo's network, trained on pictures of which those with a badge are called deer."""
    # In evaluation mode: the normalisation keeps its statistics.
    network, generator = load_network(MODEL), torch.Generator().manual_seed(0)
    model, names = network.model.requires_grad_(True), network.classes or ()
    images, classes = pictures(n, names, rng)
    spoilt = rng.random(n) < SPOILT
    images = [with_badge(one, rng) if bad else one for one, bad in zip(images, spoilt, strict=True)]
    wanted = torch.from_numpy(np.where(spoilt, names.index(NAMED), classes))
    inputs = network.preprocess(torch.from_numpy(np.stack(images)))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for epoch in range(epochs):
        for some in torch.randperm(n, generator=generator).split(40):
            loss = torch.nn.functional.cross_entropy(model(inputs[some]), wanted[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        progress("plant", epoch + 1, epochs)
    return network


def ranking(
    network: Network, layer: str, images: list[Pixels], classes: NDArray[np.int64]
) -> list[int]:
    """The channels of a layer, first those without which wrong pictures lose most of "deer"."""
    inputs = network.preprocess(torch.from_numpy(np.stack(images)))
    with torch.no_grad():
        said = network.model(inputs).argmax(1).numpy()
    wrong = np.flatnonzero(said != classes).tolist() or list(range(len(images)))
    drops = [ablation(network, inputs[k : k + 1], layer, target=NAMED).drops for k in wrong[:ASKED]]
    ranked: list[int] = torch.stack(drops).mean(0).argsort(descending=True).tolist()
    return ranked


def text(figures: dict[str, Any]) -> str:
    return table(figures)
