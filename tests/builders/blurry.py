"""A small network, and blurry noise of many sizes for it, among it broken files."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from explgraph.images import read_source
from explgraph.network import InputSpec, Network

HEIGHT, WIDTH = 20, 28
N_OBJECTS, BROKEN = 70, (3, 17, 64, 65, 69)
LAYERS = ("0", "3")  # both right before a ReLU that works in place


def network_of(*, inplace=True):
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace),
        nn.Flatten(),
        nn.Linear(8 * 5 * 7, 4),
    )
    with torch.no_grad():
        model[3].weight[2], model[3].bias[2] = 0, -1.0  # never fires
        model[3].weight[5], model[3].bias[5] = 0, 3.7  # always fires alike
    model.eval().requires_grad_(False)
    return Network(model, "tests:tiny", None, InputSpec(HEIGHT, WIDTH), None, torch.device("cpu"))


def write_objects(folder):
    """Write N_OBJECTS images; return them as objects."""
    rng = np.random.default_rng(0)
    for i in range(N_OBJECTS):
        path = folder / f"{i:02d}.png"
        small = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
        small.resize((30 + i % 11, 25 + i % 7), Image.Resampling.BICUBIC).save(path)
        if i in BROKEN:
            path.write_bytes(path.read_bytes()[: 60 if i % 2 else 0])
    return read_source(folder).objects
