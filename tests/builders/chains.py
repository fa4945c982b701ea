"""Networks that are chains, and networks that are none; photographs for them."""

import torch
from builders.networks import small
from torch import nn
from torchvision import models

from explgraph.network import InputSpec, Network

NETWORKS = [
    "squeezenet1_0",
    "vgg16",
    "resnet18",
    "googlenet",
    "densenet121",
    "mobilenet_v2",
    "alexnet",
]


OPTIONS = {"googlenet": {"aux_logits": False, "init_weights": False}}


def random_network(name, *, size=(64, 96), seed=0):
    """A torchvision network in double precision, its weights scaled so that the signal lasts.

    VGG and AlexNet have one linear layer.
    """
    with torch.device("meta"):
        model = models.get_model(name, weights=None, **OPTIONS.get(name, {}))
    if name in (
        "vgg16",
        "alexnet",
    ):  # the other two hold most of the weights, and nothing that is asked here
        width = next(
            module.in_features for module in model.classifier if isinstance(module, nn.Linear)
        )
        model.classifier = nn.Sequential(nn.Linear(width, 10, device="meta"))
    model.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    model.double().eval().requires_grad_(False)
    return Network(
        model, f"torchvision:{name}", "none", InputSpec(*size), None, torch.device("cpu")
    )


def photographs(n=1, *, size=(64, 96), seed=0):
    return torch.randn(
        n, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.relu = (
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(4, 4, 3),
            nn.Linear(4, 6),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.c(self.relu(self.b(self.relu(self.a(x)))).mean((2, 3)))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, x):
        return self.net(x) if x.shape[2] > 3 else self.net(-x)
