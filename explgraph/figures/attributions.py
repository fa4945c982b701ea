"""Several attributions of one image, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from explgraph.attribution import Attribution
from explgraph.errors import UsageError
from explgraph.figures.heat_maps import Panel, maps_figure

# Of maps of single pixels, the end of the scale: a few of them outshine all others.
PIXELS_QUANTILE = 0.99


def show_attributions(
    attributions: Sequence[Attribution] | Attribution, *, number: int = 0, title: str = ""
) -> Figure:
    """A figure of one image, and beside it what each attribution says of it, on its own scale.

    What is drawn is the network input, without its padding.

    Args:
        attributions: of the same images, by any methods and for any targets.
        number: of the image in its batch.
        title: stands above all; by default what was asked, if all were asked the same.

    Raises:
        UsageError: there is none, they are of different images, or there is no such image.

    >>> from explgraph import gradcam, layercam
    >>> found = [method(network, x, target="fox") for method in (gradcam, layercam)]
    >>> figure = show_attributions(found)
    >>> [axes.get_title() for axes in figure.axes]
    ['', 'gradcam, features', 'layercam, features']
    """
    shown = [attributions] if isinstance(attributions, Attribution) else list(attributions)
    image = _image(shown, number)
    asked = {one.targets.names[number] for one in shown}
    panels = [_panel(one, number, told_apart=len(asked) > 1) for one in shown]
    return maps_figure(image, panels, title=title or _asked(shown[0], number, asked))


def _image(shown: Sequence[Attribution], number: int) -> np.ndarray:
    if not shown:
        raise UsageError("give at least one attribution, got none")
    fewest = min(map(len, shown))
    if not 0 <= number < fewest:
        raise UsageError(f"number must be 0 to {fewest - 1} for {fewest} images, got {number}")
    image, *others = (one.shown.picture(number) for one in shown)
    if not all(np.array_equal(image, other) for other in others):
        raise UsageError("the attributions are of different images; give those of one")
    return image


def _asked(one: Attribution, number: int, asked: set[str]) -> str:
    """What was asked, and how probable the network finds it; nothing if that differs."""
    if len(asked) > 1:
        return ""
    said, probability = one.targets.names[number], float(one.targets.probabilities[number])
    return said if np.isnan(probability) else f"{said} {probability:.1%}"


def _panel(one: Attribution, number: int, *, told_apart: bool) -> Panel:
    words = [one.method, one.layer.name if one.layer else ""]
    if told_apart:
        words.append(one.targets.names[number])
    map = one.shown.on_picture(one.maps[number], number)
    quantile = PIXELS_QUANTILE if one.cells is None else 1.0
    title = ", ".join(filter(None, words))
    empty = one.why_empty(number)
    return Panel(map, title, signed=one.signed, quantile=quantile, empty=empty)
