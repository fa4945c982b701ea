"""The demo's pictures, which `scripts/draw_demo.py` drew and packed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from zipfile import ZipFile

from explgraph.files import make_folder, whole_file

ARCHIVE = "creatures.zip"
"""Name of the packed pictures in this package."""


@dataclass(frozen=True)
class DemoPictures:
    """Where the demo's pictures lie.

    Args:
        mined: COCO file of 120 foxes with their parts as keypoints.
        background: folder of 120 scenes without a creature.
        new: COCO file of 12 other foxes.

    >>> folder = Path("creatures")
    >>> made = DemoPictures(folder / "creatures.json", folder / "background", folder / "new.json")
    >>> made.background.name
    'background'
    """

    mined: Path
    background: Path
    new: Path


def unpack_pictures(folder: str | os.PathLike[str]) -> DemoPictures:
    """The demo's pictures, written below ``folder`` if they are not there yet.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pictures = unpack_pictures(folder)
    ...     len(list(pictures.background.iterdir()))
    120
    """
    folder = Path(folder)
    creatures, others = folder / "creatures", folder / "new-creatures"
    mined, new = creatures / "creatures.json", others / "creatures.json"
    if not (mined.is_file() and new.is_file()):
        with as_file(files("explgraph.demo") / ARCHIVE) as path, ZipFile(path) as archive:
            # The COCO files come last: where one is, its pictures are whole.
            for name in sorted(archive.namelist(), key=lambda name: name.endswith(".json")):
                make_folder((folder / name).parent)
                with whole_file(folder / name) as temporary:
                    temporary.write_bytes(archive.read(name))
    return DemoPictures(mined, creatures / "background", new)
