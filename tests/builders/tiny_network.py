"""A CNN small enough for tests.

It has three conv-layers with in-place ReLU, the last two with maps of equal size.
"""

import torch
from torch import nn

TOP, MIDDLE, BOTTOM = "features.4", "features.2", "features.0"


class Tiny(nn.Module):
    input_size = (48, 64)
    classes = ("creature", "nothing", "something")

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 12, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, 10, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(10, len(self.classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def make():
    """The factory that `--model builders.tiny_network:make` names; always the same weights."""
    return seeded(7)


def seeded(seed):
    """A network whose weights come from ``seed``; the caller's random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tiny()
