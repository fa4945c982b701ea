"""Small generated photographs of creatures.

Each has an orange body, a blue head in front and a green leg below, all of them movable.
"""

import json
import math

import numpy as np
from PIL import Image, ImageDraw

N_PHOTOGRAPHS, N_EACH = 46, 3  # 138 objects: three parts of the peak store
CELL, HEIGHT = 72, 58  # pixels of a photograph for each of its creatures, and its height


def paint(draw, left, top, width, height, facing, rng):
    """Draw one creature into a box; return its landmarks, pixels."""
    at = lambda row, col: (left + width * (col if facing > 0 else 1 - col), top + height * row)
    turn = rng.uniform(-0.5, 0.5)
    places = {
        "body": at(0.5, 0.42),
        "head": at(0.42 - 0.26 * math.sin(turn), 0.52 + 0.26 * math.cos(turn)),
        "leg": at(0.8, rng.uniform(0.25, 0.45)),
    }
    for name, (half_width, half_height), colour in (
        ("leg", (0.05, 0.17), (30, 170, 60)),
        ("body", (0.26, 0.2), (235, 130, 40)),
        ("head", (0.13, 0.15), (40, 70, 210)),
    ):
        (x, y), (a, b) = places[name], (half_width * width, half_height * height)
        draw.ellipse((x - a, y - b, x + a, y + b), fill=colour)
    return {name: places[name] for name in ("head", "leg")}


def ground(width, height, rng):
    coarse = rng.integers(110, 150, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


def write_background(folder, *, n=12):
    """Write photographs of coloured blobs, none of them a creature; return the folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for i in range(n):
        image = ground(80, 60, rng)
        draw = ImageDraw.Draw(image)
        for _ in range(6):
            x, y, a, b = rng.uniform((0, 0, 4, 4), (80, 60, 20, 16))
            draw.ellipse(
                (x - a, y - b, x + a, y + b), fill=tuple(int(v) for v in rng.integers(20, 240, 3))
            )
        image.save(folder / f"{i:02d}.png")
    return folder


def write_folder(folder, *, n=26):
    """Write photographs of one creature each, of different sizes; return the folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for i in range(n):
        width, height = int(rng.integers(70, 100)), int(rng.integers(50, 66))
        image = ground(width, height, rng)
        paint(ImageDraw.Draw(image), 0, 0, width, height, 1 if i % 2 else -1, rng)
        image.save(folder / f"{i:02d}.png")
    return folder


def write_coco(folder, *, n=N_PHOTOGRAPHS):
    """Write photographs with several creatures; return the COCO keypoints file beside them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(11)
    images, annotations = [], []
    for i in range(n):
        image = ground(CELL * N_EACH, HEIGHT, rng)
        draw = ImageDraw.Draw(image)
        for k in range(N_EACH):
            width, height = float(rng.uniform(54, 66)), float(rng.uniform(42, 52))
            box = [
                round(CELL * k + float(rng.uniform(0, CELL - width)), 2),
                round(float(rng.uniform(0, HEIGHT - height)), 2),
            ]
            marks = paint(draw, *box, width, height, rng.choice([-1, 1]), rng)
            keypoints = [v for x, y in marks.values() for v in (round(x, 2), round(y, 2), 2)]
            number = 1000 + 7 * len(annotations)
            annotations.append(
                {
                    "id": number,
                    "image_id": 50 + i,
                    "category_id": 1,
                    "bbox": [*box, width, height],
                    "keypoints": keypoints,
                }
            )
        name = f"scene-{i:02d}.png"
        image.save(folder / name)
        images.append(
            {"id": 50 + i, "file_name": name, "width": image.width, "height": image.height}
        )
    categories = [{"id": 1, "name": "creature", "keypoints": ["head", "leg"]}]
    file = folder / "scenes.json"
    file.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return file
