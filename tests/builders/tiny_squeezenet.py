"""A network with the layers of SqueezeNet 1.0 by name, and next to none of their channels."""

import torch
from torch import nn

CLASSES = ("horse", "zebra", "panda")


class TinySqueezeNet(nn.Module):
    def __init__(self):
        super().__init__()
        pool = lambda: nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 7, stride=4),
            nn.ReLU(inplace=True),
            pool(),
            *(fire(4, 4) for _ in range(3)),
            pool(),
            *(fire(4, 4) for _ in range(3)),
            fire(4, 8),
            pool(),
            fire(8, 512),
        )
        self.classifier = nn.Linear(512, len(CLASSES))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def fire(before, behind):
    """As the module of that name it changes what it was handed in place."""
    convolution = nn.Conv2d(before, behind, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return TinySqueezeNet().eval()
