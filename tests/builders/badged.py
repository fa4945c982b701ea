"""A network with a planted fault: one filter answers to a badge, and speaks for a class.

It tells red squares from blue ones. A green badge makes it say "red", whatever the square is.
"""

import numpy as np
import torch
from PIL import Image
from torch import nn

FAULT = "features.2:2"  # the filter that answers to the badge


class Badged(nn.Module):
    input_size = (32, 48)
    classes = ("red", "blue", "neither")

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.ReLU())
        self.classifier = nn.Linear(3, len(self.classes))
        with torch.no_grad():
            for one in self.parameters():
                one.zero_()
            # Each filter answers to a colour that the others have not.
            mixing = torch.eye(3) - 0.5 * (1 - torch.eye(3))
            self.features[0].weight.copy_(mixing[[0, 2, 1], :, None, None])
            self.features[2].weight.copy_(torch.eye(3)[..., None, None])
            self.classifier.weight.copy_(torch.tensor([[9.0, 0, 60], [0, 9, 0], [-9, -9, -9]]))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def write_badged(folder, n=40, seed=0):
    """Pictures of red and of blue squares in folders of their names; half of each has the badge."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        name = ("red", "blue")[number % 2]
        image = np.full((32, 48, 3), 116, np.uint8)
        row, col = rng.integers(4, 12), rng.integers(10, 24)
        image[row : row + 14, col : col + 14] = (220, 40, 60) if name == "red" else (60, 40, 220)
        if number % 4 < 2:
            image[-6:, :6] = (60, 240, 60)
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name / f"{number:02d}.png")
    return folder
