"""Small networks of many shapes, and images for them."""

import numpy as np
import torch
from torch import nn

from explgraph.network import InputSpec, Network

HEIGHT, WIDTH = 18, 24


CLASSES = ("Tabby cat", "tiger cat", "crane", "zebra", "crane", "12")


def network_of(model, *, classes=CLASSES):
    model.eval().requires_grad_(False)
    return Network(
        model, "tests:small", None, InputSpec(HEIGHT, WIDTH), classes, torch.device("cpu")
    )


def small(*, inplace=True):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(5, 7, 3, padding=1),
        nn.BatchNorm2d(7),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(7 * 4 * 6, 6),
    )


def batch(n=3):
    return torch.rand(n, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.relu = (
            nn.Conv2d(3, 4, 3, stride=2),
            nn.Sequential(Block(), Block()),
            nn.ReLU(),
        )
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 6, 1)

    def forward(self, x):
        return self.fc(self.pool(self.block(self.relu(self.stem(x))))).flatten(1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.relu = (
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.relu(x + self.conv2(self.relu(self.conv1(x))))


class Wrapped(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.net, self.aside, self.change = small(), nn.Conv2d(3, 2, 1), change

    def forward(self, x):
        self.aside(x)
        return self.change(self.net(x))


def state_of(model):
    return (
        [module.training for module in model.modules()],
        [(p.requires_grad, p.grad) for p in model.parameters()],
        [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in model.modules()
        ],
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    )


class Twice(nn.Module):
    """Two convolutions, each rectified by ``rectify``."""

    def __init__(self, rectify):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.Linear(5, 6),
        )
        self.rectify = rectify

    def forward(self, x):
        return self.c(self.rectify(self.b(self.rectify(self.a(x)))).mean((2, 3)))


def seeded(*modules, seed=5):
    """A network of the modules that these functions make, with weights from ``seed``."""
    torch.manual_seed(seed)
    model = nn.Sequential(*(module() for module in modules)).double()
    for module in model:
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
    return network_of(model)


def assert_same(found, expected):
    """``found`` is float32, and not nothing."""
    tolerance = 1e-6 * float(expected.abs().max())
    np.testing.assert_allclose(found, expected.float(), rtol=1e-4, atol=tolerance)
    assert expected.any()
