"""The heat maps and their definitions on small networks of every kind; agreement.py has the rest.

`benchmarks.agreement` compares the same at real size; docs/benchmarks/attribution.md has the table.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

from benchmarks.agreement import (
    METHODS,
    Architecture,
    Captioner,
    Sigmoid,
    caption,
    compared,
    grey,
    logit,
    text,
)
from benchmarks.definitions import tokens

LARGEST = 1e-7  # of the definition's largest value; results are float32
RULES = ("guided", "deconv", "g. CAM")


def small_alexnet():
    """Contrast normalisation behind its ReLU, overlapping pooling."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2, padding=2),
        nn.ReLU(inplace=True),
        nn.LocalResponseNorm(5, alpha=0.3, beta=0.75, k=2.0),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(12, 16, 3, groups=2),
        nn.ReLU(inplace=True),
        nn.LocalResponseNorm(3, alpha=0.3, beta=0.75, k=1.0),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 20),
        nn.ReLU(),
        nn.Linear(20, 4),
    )


def small_resnet(**options):
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], **options)


TWO_HEADS = {"aux_logits": False, "init_weights": False}
# A new lambda each time, so that two architectures are never mixed up.
SMALL = {
    "alexnet": Architecture(small_alexnet, "4", 40),
    "vgg": Architecture(
        lambda: models.vgg11(num_classes=4).features[:8].append(Head(256)), "7", 32
    ),
    "resnet": Architecture(small_resnet, "layer3", 64),
    "densenet": Architecture(
        partial(models.DenseNet, 4, (2, 2), 8, num_classes=5), "features.denseblock1", 48
    ),
    "squeezenet": Architecture(partial(models.squeezenet1_1, num_classes=5), "features.9", 64),
    "mobilenet": Architecture(
        partial(models.mobilenet_v2, width_mult=0.1, num_classes=5), "features.10", 64
    ),
    "shufflenet": Architecture(
        lambda: models.ShuffleNetV2([1, 2, 1], [8, 16, 24, 32, 40], num_classes=5), "stage3", 64
    ),
    "swin": Architecture(
        partial(models.SwinTransformer, [4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=5),
        "permute",
        32,
    ),
    "vit": Architecture(
        partial(models.VisionTransformer, 32, 8, 2, 2, 16, 24, num_classes=5),
        "encoder.layers.encoder_layer_1.ln_1",
        32,
        maps=tokens((4, 4), 1),
    ),
    "convnext": Architecture(
        lambda: models.ConvNeXt(
            [CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 1)], num_classes=5
        ),
        "features.3",
        32,
    ),
    "grey": Architecture(lambda: grey(small_resnet()), "layer3", 64, channels=1),
    "binary": Architecture(
        lambda: Sigmoid(small_resnet(num_classes=1)), "model.layer3", 64, score=logit, target=0
    ),
    "captioner": Architecture(
        lambda: Captioner(models.vgg11().features[:8], 256),
        "cnn.7",
        32,
        score=caption,
        target=caption,
    ),
}


class Head(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.last = nn.Linear(channels, 4)

    def forward(self, x):
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize("name", SMALL)
def test_every_method_agrees_with_its_definition(name):
    found = compared(SMALL[name])
    refused = {method for method, value in found.items() if value is None}
    assert refused == (set(RULES) if name in ("swin", "vit", "convnext") else set())
    for method, value in found.items():
        assert value is None or value <= LARGEST, (method, value)


def test_a_wrong_map_is_seen():
    one = SMALL["resnet"]
    network, images = one.settled()
    least = int(network.model(images).argmin())
    other = replace(one, target=least)  # another class than the definition is asked for
    assert compared(other)["saliency"] > 0.01


def test_the_table_has_a_row_for_each_architecture():
    row = dict.fromkeys(METHODS, 6.2e-8) | {"guided": None}
    table = text({"differences": {"a": row, "b": row}}).splitlines()
    assert len(table) == 4
    assert table[2].startswith("| a | 6.2 |")
    assert "| - |" in table[2]


def test_random_numbers_of_the_caller_stay_as_they_are():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    SMALL["vgg"].settled()
    assert torch.equal(torch.rand(1), expected)
