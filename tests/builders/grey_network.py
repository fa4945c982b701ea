"""Networks of other images than colours: the tiny network of grey ones, and one of any channels."""

import torch
from builders.tiny_network import Tiny
from torch import nn


class Grey(Tiny):
    """The tiny network, its first convolution for one channel; it says nothing of mean and std."""

    def __init__(self, channels=1):
        super().__init__()
        self.features[0] = nn.Conv2d(channels, 8, 5, stride=2, padding=2)


def make():
    """The factory that `--model builders.grey_network:make` names; always the same weights."""
    return of(1)


def two():
    """The same of two channels: no photograph has two."""
    return of(2)


def of(channels):
    """The network of so many channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return Grey(channels)
