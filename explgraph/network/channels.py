"""How many channels the images have that a network takes: three colours, one grey, or others."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from explgraph.network.known import once
from explgraph.network.layers import evaluation_mode

# Of red, green and blue in the luminance, in 65536ths: ITU-R BT.601 as Pillow's mode "L" has it,
# which networks of grey photographs are mostly trained on. A grey picture stays what it is.
_LUMINANCE = (19595, 38470, 7471)
_MOST = 4  # channels of an image; a first convolution with more is inside the network

# By the number of channels; those of grey are the luminance of ImageNet's.
USUAL_MEAN = {1: (0.459,), 3: (0.485, 0.456, 0.406)}
USUAL_STD = {1: (0.226,), 3: (0.229, 0.224, 0.225)}


def input_channels(model: nn.Module, size: tuple[int, int]) -> int | None:
    """The number of channels that a module takes, as far as its convolutions say; else None.

    >>> input_channels(nn.Sequential(nn.Conv2d(1, 4, 3)), (20, 20))
    1
    """
    counts = [one.in_channels for one in model.modules() if isinstance(one, nn.Conv2d)]
    if not counts or 3 in counts:
        return 3 if counts else None
    return once(model, ("channels", size), lambda: _tried(model, size, counts[0]))


def _tried(model: nn.Module, size: tuple[int, int], first: int) -> int | None:
    parameter = next(model.parameters())
    # Colours before others: a network may mix them before its first convolution.
    for channels in (3, first):
        with evaluation_mode(model), torch.no_grad(), suppress(Exception):
            model(torch.zeros(1, channels, *size, device=parameter.device, dtype=parameter.dtype))
            return channels
    # Not of this size: then the first convolution is most likely where the image goes in.
    return first if first <= _MOST else None


def luminance(images: Tensor) -> Tensor:
    """The grey of RGB images, uint8 (n, height, width, 3) to (n, height, width, 1).

    ``L = 0.299 R + 0.587 G + 0.114 B``, rounded as Pillow rounds it.

    >>> luminance(torch.tensor([[[[255, 0, 0], [90, 90, 90]]]], dtype=torch.uint8)).tolist()
    [[[[76], [90]]]]
    """
    red, green, blue = images.int().unbind(-1)
    weighted = red * _LUMINANCE[0] + green * _LUMINANCE[1] + blue * _LUMINANCE[2]
    return ((weighted + 2**15) >> 16).to(torch.uint8)[..., None]
