"""Data sets of creatures: JPEG files, and their parts as COCO keypoints."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from creatures.anatomy import PARTS
from creatures.creature import (
    SIZE,
    Creature,
    check_size,
    draw_background,
    draw_creature,
    find_species,
)
from explgraph.files import whole_file

DEMO_SPECIES = "fox"
"""A clear side view whose head, legs and tail move far within the box."""

Record = dict[str, Any]


def write_dataset(
    folder: str | os.PathLike[str],
    *,
    species: str | Sequence[str],
    n: int,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Return the COCO keypoints file of n creatures; it appears when all images are there.

    Args:
        folder: made if needed; gets `creatures.json` and a folder `creatures` with JPEG files.
        species: one name, or several to take in turn.
        n: number of images, one creature in each.
        seed: picture k follows from (seed, k) alone.
        size: (height, width) of the scenes, pixels.

    Raises:
        ValueError: a species is unknown, n is below 1, or the size too small.
    """
    names = [species] if isinstance(species, str) else list(species)
    if n < 1 or not names:
        raise ValueError(
            f"a data set needs at least one species and n >= 1, got {names} and n = {n}"
        )
    kinds = [find_species(name) for name in names]
    check_size(size)
    folder = Path(folder)
    (folder / "creatures").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, n + 1):
        category = (number - 1) % len(kinds)
        rng = np.random.default_rng([seed, number - 1])
        creature = draw_creature(kinds[category], seed=rng, size=size)
        name = f"creatures/{number:05d}.jpg"
        save_picture(creature.image, folder / name)
        images.append({"id": number, "file_name": name, "width": size[1], "height": size[0]})
        annotations.append(_annotation(number, category + 1, creature))
    shared = {"supercategory": "creature", "keypoints": list(PARTS), "skeleton": []}
    coco = {
        "info": {"description": f"generated creatures: {', '.join(names)}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": k, "name": name, **shared} for k, name in enumerate(names, 1)],
    }
    with whole_file(folder / "creatures.json") as temporary:
        temporary.write_text(json.dumps(coco))
    return folder / "creatures.json"


def save_picture(image: NDArray[np.uint8], path: Path) -> None:
    """Write a JPEG; progressive saves 7% without a change to any pixel."""
    Image.fromarray(image).save(path, quality=92, optimize=True, progressive=True)


def _annotation(number: int, category: int, creature: Creature) -> Record:
    keypoints: list[float] = []
    for part in PARTS:
        x, y = creature.parts[part]
        keypoints += [round(x, 2), round(y, 2), 1 if part in creature.hidden else 2]
    return {
        "id": number,
        "image_id": number,
        "category_id": category,
        "bbox": list(creature.box),
        "area": int(creature.mask.sum()),
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": len(PARTS),
    }


def write_background(
    folder: str | os.PathLike[str], *, n: int, seed: int = 0, size: tuple[int, int] = SIZE
) -> Path:
    """Return the folder of n written scenes without creatures (JPEG).

    Raises:
        ValueError: n is below 1 or the size too small.
    """
    if n < 1:
        raise ValueError(f"a background set needs n >= 1, got {n}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        # A third number keeps these scenes apart from those behind the creatures of the same seed.
        scene = draw_background(seed=np.random.default_rng([seed, number, 1]), size=size)
        save_picture(scene, folder / f"{number + 1:05d}.jpg")
    return folder


def demo_dataset(
    folder: str | os.PathLike[str], *, n: int = 120, seed: int = 0
) -> tuple[Path, Path]:
    """Return the COCO file of n creatures of `DEMO_SPECIES` and the folder of as many backgrounds.

    Raises:
        ValueError: n is below 1.
    """
    dataset = write_dataset(folder, species=DEMO_SPECIES, n=n, seed=seed)
    return dataset, write_background(Path(folder) / "background", n=n, seed=seed)
