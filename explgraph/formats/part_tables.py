"""Places of semantic parts as files: which formats there are, and the one that writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from explgraph.errors import UsageError
from explgraph.files import check_place, guarded, whole_file, write_json
from explgraph.formats.coco import coco_keypoints
from explgraph.formats.cvat import cvat_lines
from explgraph.formats.label_studio import label_studio
from explgraph.formats.part_place import SCHEMA, PartPlace

# Format -> the suffixes that mean it.
PART_FORMATS = {
    "coco": (".json",),
    "csv": (".csv",),
    "parquet": (".parquet",),
    "cvat": (".xml",),
    "label-studio": (),
}


def part_format(path: Path, format: str | None = None, *, image_prefix: str | None = None) -> str:
    """The format to write, by name or by the suffix of the file.

    Raises:
        UsageError: neither says which, there can be no file at ``path``, or ``image_prefix`` goes
            with another format.

    >>> part_format(out / "heads.json"), part_format(out / "heads.txt", "csv")
    ('coco', 'csv')
    """
    # Label Studio's files end in .json too, as COCO's do, so that format has to be named.
    suffix = path.suffix.lower()
    by_suffix = (name for name, suffixes in PART_FORMATS.items() if suffix in suffixes)
    chosen = format or next(by_suffix, None)
    if chosen not in PART_FORMATS:
        raise UsageError(
            f"{path.name!r} must end in .json (COCO), .csv, .parquet or .xml (CVAT), or say "
            f"--format {', '.join(PART_FORMATS)}"
        )
    if image_prefix is not None and chosen != "label-studio":
        raise UsageError(
            f"--image-prefix is where Label Studio finds the photographs, got it with {chosen}; "
            "leave it out, or give --format label-studio"
        )
    check_place(path)
    return chosen


def write_parts(
    places: Sequence[PartPlace],
    path: Path,
    *,
    format: str | None = None,
    image_prefix: str | None = None,
) -> Path:
    """The path of the written places of parts.

    Args:
        places: object by object.
        path: in an existing folder; an older file is replaced.
        format: of PART_FORMATS; None goes by the suffix.
        image_prefix: see `label_studio`.

    Raises:
        UsageError: see `part_format`.
        ExplgraphError: writing failed.

    >>> size, box = (640, 480), (100.0, 50.0, 200.0, 150.0)
    >>> place = PartPlace(7, "a.jpg", "head", 120.5, 85, 0.9, 0.02, True, 3, False, 1, size, box)
    >>> write_parts([place], out / "heads.csv").read_text().splitlines()[1]
    '7,"a.jpg","head",120.5,85,0.9,0.02,true,3,false,false'
    """
    chosen = part_format(path, format, image_prefix=image_prefix)
    if chosen == "coco":
        return write_json(coco_keypoints(places), path)
    if chosen == "label-studio":
        return write_json(label_studio(places, image_prefix=image_prefix or ""), path)
    # Under another name until it is whole; `write_json` does the same.
    with whole_file(path) as temporary:
        if chosen == "cvat":
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(cvat_lines(places))
        elif chosen == "csv":
            pa.csv.write_csv(guarded(part_table(places)), temporary)
        else:
            pq.write_table(part_table(places), temporary)
    return path


def part_table(places: Sequence[PartPlace]) -> pa.Table:
    """The places as a table with the columns of SCHEMA."""
    return pa.Table.from_pylist([place.to_dict() for place in places], schema=SCHEMA)
