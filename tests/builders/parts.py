"""Parts of the generated photographs, located by the command line."""

import numpy as np
from builders.commands import explgraph

IDS = (1000, 1007, 1049)  # objects that are marked


def located(workspace, scenes, *arguments):
    return explgraph(
        "part", "locate", workspace, *arguments, scenes.coco, "--json", "--quiet"
    ).json()["parts"]


def errors(places, truth, which):
    """Distances in diagonals of the box stretched to a square."""
    box = lambda place: np.array(truth[place["annotation_id"]][0])
    gap = [
        ((place["x"], place["y"]) - np.array(truth[place["annotation_id"]][which])) / box(place)[2:]
        for place in places
    ]
    return np.linalg.norm(gap, axis=1) / 2**0.5
