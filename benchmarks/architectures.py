"""Which families of torchvision can be asked what: every method once on each, random weights.

Nothing is timed. Every family is taken by name, its batch norms settled on the images so that the
signal lasts. A method is "yes" if its map is there, finite and not zero; what it refuses is told in
the error's own words. The table is docs/architectures.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from torch import Tensor, nn

from explgraph.attribution import (
    PlacedNode,
    deconvnet,
    gradcam,
    guided_backprop,
    integrated_gradients,
    last_layer,
    occlusion,
    saliency,
)
from explgraph.errors import ExplgraphError
from explgraph.graph import Layer
from explgraph.locations import locate_images
from explgraph.mining import MiningConfig, mine_images
from explgraph.network import Network, list_layers, load_network

# A small one of each family, at the smallest usual input that it takes.
FAMILIES = {
    "alexnet": 128,
    "vgg11": 96,
    "resnet18": 96,
    "densenet121": 96,
    "squeezenet1_1": 96,
    "mobilenet_v2": 96,
    "mobilenet_v3_small": 96,
    "efficientnet_b0": 96,
    "efficientnet_v2_s": 96,
    "convnext_tiny": 96,
    "regnet_y_400mf": 96,
    "shufflenet_v2_x0_5": 96,
    "mnasnet0_5": 96,
    "googlenet": 96,
    "inception_v3": 128,
    "swin_t": 96,
    "swin_v2_t": 128,
    "vit_b_32": 224,
    "maxvit_t": 224,
}
CELLS = 10  # on each side of the maps that are mined, if there are such
IMAGES = 32
PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
MARKS = ("<!-- table -->", "<!-- end of the table -->")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", default=",".join(FAMILIES), metavar="A,B,..")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    parser.add_argument("--check", action="store_true", help="fail if the page says another thing")


def run(args: argparse.Namespace) -> dict[str, Any]:
    rows = {}
    for name in args.models.split(","):
        rows[name] = asked(name, FAMILIES[name])
        print(name, rows[name], flush=True)
    table = described(rows)
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    text = f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}"
    if args.write:
        PAGE.write_text(text)
    elif args.check and text != PAGE.read_text():
        raise SystemExit(f"{PAGE.name} says another thing; write it anew with --write")
    return {"table": table, "families": rows}


def described(rows: dict[str, dict[str, str]]) -> str:
    """The table: a row for each family, "yes" or the number of a refusal, told below it."""
    said: dict[str, int] = {}
    head = ("family", *next(iter(rows.values())))
    lines = []
    for name, found in rows.items():
        cells = [name]
        for value in found.values():
            if value.startswith("refused: "):
                value = f"no ({said.setdefault(value[9:], len(said) + 1)})"
            cells.append(value)
        lines.append(cells)
    notes = "\n".join(
        fill(f"{number}. {reason}", 100, subsequent_indent="   ") for reason, number in said.items()
    )
    rule = ["---"] * len(head)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
    return table + (f"\n\nRefused:\n\n{notes}" if notes else "")


def text(figures: dict[str, Any]) -> str:
    """The table."""
    return str(figures["table"])


def settled(name: str, side: int) -> tuple[Network, Tensor]:
    """The network with random weights, its batch norms as after training, and images."""
    network = load_network(name, weights="none", input_size=side)
    images = pictures(IMAGES, side)
    settle(network.model, images)
    return network, images


def settle(model: nn.Module, images: Tensor) -> None:
    """Bring random weights to where the signal lasts: batch norms fit the images, no zero head."""
    model.eval()
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.train()
            one.momentum = 1.0
        # torchvision's vision transformers begin with a head of zeros.
        if isinstance(one, nn.Linear) and not one.weight.any():
            nn.init.normal_(one.weight, std=0.02)
    with torch.no_grad():
        model(images)
    model.eval()


def pictures(n: int, side: int) -> Tensor:
    """Images of smooth noise with three blobs, a figure that moves a little as a whole."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(n, 3, side // 8, side // 8, generator=generator)
    images = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    grid = torch.linspace(-1, 1, side)
    for image, moved in zip(images, 0.2 * torch.rand(n, 2, generator=generator), strict=True):
        for colour, place in enumerate(((-0.6, -0.4), (0.1, 0.5), (0.6, -0.5))):
            row, col = torch.tensor(place) + moved
            image[colour] += 4 * torch.exp(-((grid[:, None] - row) ** 2 + (grid - col) ** 2) / 0.03)
    return images


@dataclass(frozen=True)
class Asked:
    """A family and what it answers."""

    network: Network
    images: Tensor
    layers: list[Layer]

    def say(self, ask: Callable[[], str]) -> str:
        try:
            return ask()
        except ExplgraphError as error:
            said = str(error).replace(self.network.name, "the network").partition(";")[0]
            # Of the rules at a ReLU: what stands in their way.
            return f"refused: {said.partition('but the network ')[2] or said}"

    def map(self, method: Callable[..., Any], **options: Any) -> str:
        def ask() -> str:
            found = method(self.network, self.images[:1], target=7, **options)
            if not found.maps.isfinite().all():
                return "NOT FINITE"
            return f"refused: {found.why_empty()}" if found.why_empty() else "yes"

        return self.say(ask)

    def mine(self) -> str:
        # The last layer whose maps have enough cells to tell places apart.
        most = max(min(one.height, one.width) for one in self.layers)
        cells = min(CELLS, most)
        wide = [one.name for one in self.layers if min(one.height, one.width) >= cells]
        graph = mine_images(
            self.network,
            self.images,
            [wide[-1]],
            mirror=False,
            mining=MiningConfig(nodes=2, facing=False),
        )
        found = locate_images(self.network, self.images[:2], graph)
        node = next(iter(graph))
        size = self.network.input.size
        placed = PlacedNode.of(graph, node, found.place[0, 0], input_size=size)
        saliency(self.network, self.images[:1], target=placed)
        return "yes"


def asked(name: str, side: int) -> dict[str, str]:
    """What a family answers, method by method."""
    network, images = settled(name, side)
    layers = list_layers(network)
    family = Asked(network, images, layers)
    square = {"size": side // 2, "stride": side // 2}
    return {
        "input": str(side),
        "layers": str(len(layers)),
        "Grad-CAM looks at": f"`{last_layer(family.network)}`",
        "heat maps": _together(
            family.map(gradcam),
            family.map(saliency),
            family.map(integrated_gradients, steps=2),
            family.map(occlusion, **square),
        ),
        "ReLU rules": _together(family.map(deconvnet), family.map(guided_backprop)),
        "mined": family.say(family.mine),
    }


def _together(*answers: str) -> str:
    """Yes, or what the first says that is refused."""
    return next((one for one in answers if one != "yes"), "yes")
