"""A small CNN that names the species of a creature, with its trained weights.

``explgraph.demo.network:demo_network`` is a network specification. The input is the box of a
creature stretched to 112 x 112. Global max-pooling lets one place speak for a whole channel, which
makes channels answer to parts; `scripts/train_demo.py` trains it on mixtures of species, and
`docs/demo.md` has the figures.
"""

from __future__ import annotations

from importlib.resources import as_file, files

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from explgraph.errors import NetworkError

WEIGHTS = "creatures.safetensors"
"""Name of the weights file in this package: the state dict, stored as float16."""


class DemoNetwork(nn.Module):
    """Five convolutions, global max-pooling, one linear layer.

    | layer | map | channels | stride | receptive field |
    |---|---|---|---|---|
    | features.0 | 56 x 56 | 24 | 2 | 5 |
    | features.4 | 28 x 28 | 48 | 4 | 15 |
    | features.7 | 28 x 28 | 64 | 4 | 23 |
    | features.11 | 14 x 14 | 96 | 8 | 43 |
    | features.14 | 14 x 14 | 96 | 8 | 59 |

    Attributes:
        input_size: (height, width), pixels.
        input_mean: of each colour, subtracted from an image in 0..1.
        input_std: of each colour, divides the difference.
        classes: name of each output.
    """

    input_size: tuple[int, int] = (112, 112)
    input_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    input_std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    classes: tuple[str, ...] = (
        "fox",
        "civet",
        "deer",
        "zebra",
        "giraffe",
        "sauropod",
        "heron",
        "rooster",
    )

    def __init__(self) -> None:
        super().__init__()
        # Normalised after the ReLU: a convolution's own output is what the ReLU cuts at zero.
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(24),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(48),
            nn.Conv2d(48, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(64),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 96, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(96),
            nn.Conv2d(96, 96, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(96),
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.classifier = nn.Linear(96, len(self.classes))

    def forward(self, images: Tensor) -> Tensor:
        """The score of each class, (image, class), of normalised images (image, 3, 112, 112)."""
        scores: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return scores


def demo_network(*, pretrained: bool = True) -> DemoNetwork:
    """The demo's network in evaluation mode.

    Args:
        pretrained: with the weights of this package; otherwise with random ones.

    Raises:
        NetworkError: the weights file is missing or does not fit.

    >>> demo_network().classes[:2]
    ('fox', 'civet')
    """
    network = DemoNetwork().eval()
    if not pretrained:
        return network
    try:
        with as_file(files("explgraph.demo") / WEIGHTS) as path:
            # Copying into the parameters makes float32 of float16.
            network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise NetworkError(
            f"the weights of the demo network cannot be used ({error}); install the package again"
        ) from error
    return network
