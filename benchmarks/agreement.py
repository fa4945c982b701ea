"""Do the heat maps agree with their definitions, written out once more? No other tool is asked.

Networks of torchvision with random weights, at their usual input size, in double precision: in
float32 two layouts of the same maps break ties between equal maxima differently. Each method is
compared with `benchmarks.definitions`. A figure is the largest difference over the largest value of
the definition. Results of explgraph are float32: up to 6e-8 is rounding alone. A method that is
refused has no figure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import models

from benchmarks import definitions
from benchmarks.architectures import settle
from benchmarks.definitions import Maps, channels_first
from explgraph import attribution
from explgraph.errors import NetworkError
from explgraph.network import Network, wrap

STEPS, SAMPLES, NOISE = 4, 2, 0.15
SENTENCE = (2, 7, 1, 8, 5)


@dataclass(frozen=True)
class Architecture:
    """A network to compare on.

    Args:
        make: builds it.
        layer: whose maps Grad-CAM looks at.
        size: of its input, pixels.
        channels: of its input.
        maps: the layer's output as maps.
        score: what is asked of the output; by default the class of the largest score, as others
            may have no gradient (SqueezeNet's last convolution is rectified).
        target: the same for explgraph.
    """

    make: Callable[[], nn.Module]
    layer: str
    size: int = 224
    channels: int = 3
    maps: Maps = channels_first
    score: Callable[[Any], Tensor] | None = None
    target: Any = None

    def settled(self, seed: int = 0) -> tuple[Network, Tensor]:
        """It with random weights, its batch norms as after training, in double; and an image."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.make().double()
            images = torch.randn(1, self.channels, self.size, self.size, dtype=torch.float64)
            settle(model, images)
        model.requires_grad_(False)
        mean = [0.4] * self.channels
        return wrap(model, input_size=self.size, mean=mean, std=[0.25] * self.channels), images


class AlexNet(models.AlexNet):
    """As published, with contrast normalisation behind its first two ReLUs."""

    def __init__(self) -> None:
        super().__init__(num_classes=20)
        normalisation = partial(nn.LocalResponseNorm, 5, alpha=1e-4, beta=0.75, k=2.0)
        # Krizhevsky et al. 2012, section 3.3; alpha there is not over the number of channels.
        layers = list(self.features)
        layers[5:5] = [normalisation(alpha=5e-4)]
        layers[2:2] = [normalisation(alpha=5e-4)]
        self.features = nn.Sequential(*layers)


def grey(model: nn.Module) -> nn.Module:
    """A residual network whose first convolution takes one channel."""
    first = model.conv1
    assert isinstance(first, nn.Conv2d)
    model.conv1 = nn.Conv2d(1, first.out_channels, 7, stride=2, padding=3, bias=False)
    return model


class Sigmoid(nn.Module):
    """One logit and its sigmoid: yes or no."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.sigmoid = model, nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.sigmoid(self.model(x))


class Captioner(nn.Module):
    """A CNN and an LSTM that says a sentence about its maps: scores (image, step, word)."""

    def __init__(self, cnn: nn.Module, channels: int) -> None:
        super().__init__()
        self.cnn = cnn
        self.seen, self.words = nn.Linear(channels, 16), nn.Embedding(20, 16)
        self.lstm, self.said = nn.LSTM(16, 16, batch_first=True), nn.Linear(16, 20)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.seen(self.cnn(x).mean((2, 3)))
        before = self.words(torch.tensor(SENTENCE[:-1])).expand(len(x), -1, -1)
        steps, _ = self.lstm(torch.cat([seen[:, None], before], 1))
        return self.said(steps)


def named(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: models.get_model(name, weights=None, **options)


def logit(output: Tensor) -> Tensor:
    """What was before the sigmoid."""
    return torch.log(output[:, 0] / (1 - output[:, 0]))


def caption(output: Tensor) -> Tensor:
    """The log-probability of the sentence."""
    words = torch.tensor(SENTENCE).expand(len(output), -1)
    return output.log_softmax(-1).gather(2, words[..., None]).sum((1, 2))


TWO_HEADS = {"aux_logits": False, "init_weights": False}
ARCHITECTURES = {
    "AlexNet with LRN": Architecture(AlexNet, "features.14"),
    "VGG-11": Architecture(named("vgg11", num_classes=20), "features.20"),
    "ResNet-18": Architecture(named("resnet18"), "layer4"),
    "DenseNet-121": Architecture(named("densenet121"), "features.denseblock4"),
    "SqueezeNet 1.0": Architecture(named("squeezenet1_0"), "features.12"),
    "MobileNetV2": Architecture(named("mobilenet_v2"), "features.18"),
    "GoogLeNet": Architecture(named("googlenet", **TWO_HEADS), "inception5b"),
    "Inception v3": Architecture(named("inception_v3", **TWO_HEADS), "Mixed_7c", 299),
    "ShuffleNetV2": Architecture(named("shufflenet_v2_x1_0"), "conv5"),
    "MNASNet": Architecture(named("mnasnet1_0"), "layers.16"),
    "RegNetY": Architecture(named("regnet_y_400mf"), "trunk_output"),
    "EfficientNet-B0": Architecture(named("efficientnet_b0"), "features.8"),
    "ConvNeXt-T": Architecture(named("convnext_tiny"), "features.7"),
    "Swin-T": Architecture(named("swin_t"), "permute"),
    "ViT-B/32": Architecture(
        named("vit_b_32"),
        "encoder.layers.encoder_layer_11.ln_1",
        maps=definitions.tokens((7, 7), 1),
    ),
    "grey ResNet-18": Architecture(lambda: grey(models.resnet18()), "layer4", channels=1),
    "binary ResNet-18": Architecture(
        lambda: Sigmoid(models.resnet18(num_classes=1)), "model.layer4", score=logit, target=0
    ),
    "ResNet-18 with LSTM": Architecture(
        lambda: Captioner(nn.Sequential(*list(models.resnet18().children())[:-2]), 512),
        "cnn.7",
        score=caption,
        target=caption,
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", default="", metavar="A,B,..", help="default: all")


def run(args: argparse.Namespace) -> dict[str, Any]:
    names = [name for name in args.models.split(",") if name] or list(ARCHITECTURES)
    found = {}
    for name in names:
        found[name] = compared(ARCHITECTURES[name])
        print(name, found[name], file=sys.stderr, flush=True)
    return {"differences": found}


def text(figures: dict[str, Any]) -> str:
    """A Markdown table in units of 1e-8: a row for each architecture."""
    rows: dict[str, dict[str, float | None]] = figures["differences"]
    head = ["", *next(iter(rows.values()))]
    shown = lambda value: "-" if value is None else f"{1e8 * value:.1f}"
    lines = [[name, *map(shown, row.values())] for name, row in rows.items()]
    table = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def compared(one: Architecture) -> dict[str, float | None]:
    """The largest difference of each method, a share of the definition's largest value."""
    network, images = one.settled()
    if one.score is None:
        first = int(network.model(images).argmax())
        target = first if one.target is None else one.target
        one = replace(one, target=target, score=lambda output: output[:, first])
    return {
        name: _difference(
            partial(ours, network, images, one), partial(theirs, network, images, one)
        )
        for name, (ours, theirs) in METHODS.items()
    }


def _difference(ours: Callable[[], Tensor], theirs: Callable[[], Any]) -> float | None:
    try:
        found = ours()
    except NetworkError:  # what a rule is not defined for is refused
        return None
    expected = torch.as_tensor(np.asarray(theirs())).double()
    assert found.shape == expected.shape
    return float((found.double() - expected).abs().max() / expected.abs().max())


Ours = Callable[[Network, Tensor, Architecture], Tensor]
Theirs = Callable[[Network, Tensor, Architecture], Any]


def _pixels(method: Any, definition: Any, **options: Any) -> tuple[Ours, Theirs]:
    return (
        lambda network, x, one: method(network, x, target=one.target, **options).maps,
        lambda network, x, one: definition(network.model, x, one.score),
    )


def _colours(method: Any, rule: str) -> tuple[Ours, Theirs]:
    return (
        lambda network, x, one: method(network, x, target=one.target).colours,
        lambda network, x, one: definitions.projection(network.model, x, one.score, rule),
    )


def _cells(weighting: Any, definition: Any) -> tuple[Ours, Theirs]:
    def ours(network: Network, x: Tensor, one: Architecture) -> Tensor:
        options = {"target": one.target, "layer": one.layer, "weighting": weighting}
        cells = attribution.gradcam(network, x, **options).cells
        assert cells is not None
        return cells

    return ours, lambda network, x, one: definition(*_layer(network, x, one))


def _layer(network: Network, x: Tensor, one: Architecture) -> tuple[Tensor, Tensor]:
    return definitions.layer_and_gradient(network.model, x, one.score, one.layer, one.maps)


def _guided_gradcam(network: Network, x: Tensor, one: Architecture) -> Tensor:
    """Selvaraju et al. 2017, section 3.2; where the cells are is measured (test_geometry.py)."""
    layer = attribution.gradcam(network, x, target=one.target, layer=one.layer).layer
    assert layer is not None
    cells = definitions.gradcam(*_layer(network, x, one))
    coarse = definitions.spread(cells, (one.size, one.size), layer.first, layer.stride)
    fine = definitions.projection(network.model, x, one.score, "guided")
    return fine * torch.from_numpy(coarse)[:, None]


def _integrated(network: Network, x: Tensor, one: Architecture) -> Tensor:
    black = -torch.tensor(network.input.mean, dtype=x.dtype) / torch.tensor(network.input.std)
    baseline = black.reshape(1, -1, 1, 1)
    return definitions.integrated_gradients(network.model, x, one.score, baseline, STEPS)


def _smoothgrad(network: Network, x: Tensor, one: Architecture) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(x.shape, generator=generator).double() for _ in range(SAMPLES)]
    return definitions.smoothgrad(network.model, x, one.score, noise, NOISE)


def _squares(one: Architecture) -> dict[str, int]:
    # They do not divide the input: the last ones reach over its border.
    return {"size": one.size // 3, "stride": one.size // 4}


METHODS: dict[str, tuple[Ours, Theirs]] = {
    "saliency": _pixels(attribution.saliency, definitions.saliency),
    "x input": _pixels(attribution.saliency, definitions.gradient_times_input, times_input=True),
    "Smooth": (
        lambda network, x, one: (
            attribution.smoothgrad(network, x, target=one.target, samples=SAMPLES).maps
        ),
        _smoothgrad,
    ),
    "IG": (
        lambda network, x, one: (
            attribution.integrated_gradients(network, x, target=one.target, steps=STEPS).maps
        ),
        _integrated,
    ),
    "guided": _colours(attribution.guided_backprop, "guided"),
    "deconv": _colours(attribution.deconvnet, "deconv"),
    "CAM": _cells("gradcam", definitions.gradcam),
    "CAM++": _cells("gradcam++", definitions.gradcam_plus_plus),
    "Layer": _cells("layercam", definitions.layercam),
    "g. CAM": (
        lambda network, x, one: (
            attribution.guided_gradcam(network, x, target=one.target, layer=one.layer).colours
        ),
        _guided_gradcam,
    ),
    "occl.": (
        lambda network, x, one: (
            attribution.occlusion(network, x, target=one.target, **_squares(one)).maps
        ),
        lambda network, x, one: definitions.occlusion(network.model, x, one.score, **_squares(one)),
    ),
}
