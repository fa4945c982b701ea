"""Which class of the network the labels of a source mean: subfolders, COCO categories, wnids."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from explgraph.attribution import find_class
from explgraph.errors import SourceError, UsageError
from explgraph.images import AnyPath, ImageObject
from explgraph.network import Network

WNID = re.compile(r"n\d{8}")  # a WordNet id, as ImageNet calls its folders
N_IMAGENET = 1000  # classes of ILSVRC, in the order of their wnids

Classes = Mapping[str, str | int]
"""Label -> number or name of the class."""


def read_classes(path: AnyPath) -> dict[str, str | int]:
    """What each label means, from a file.

    A text file has a line for each label: the label, a blank or a tab, and the class's number or
    name. If it has labels only, those are the classes in their order. A JSON file maps labels to
    classes, or numbers to lists that begin with the label, as ``imagenet_class_index.json`` does.

    Raises:
        SourceError: the file cannot be read, or says nothing.
        UsageError: two lines are about one label.

    >>> written = (out / "classes.txt").write_text("n02391049 zebra\\nn02129165 291\\n")
    >>> read_classes(out / "classes.txt")
    {'n02391049': 'zebra', 'n02129165': '291'}
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        pairs = _json_pairs(json.loads(text)) if path.suffix == ".json" else _text_pairs(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{path} does not say which class each label means ({error}); expected lines such as "
            "'n02391049 zebra', or JSON"
        ) from error
    classes = dict(pairs)
    if len(classes) != len(pairs):
        twice = next(label for k, (label, _) in enumerate(pairs) if label in dict(pairs[:k]))
        raise UsageError(f"{path} says twice which class {twice!r} means; keep one")
    return classes


def class_numbers(
    network: Network,
    objects: Sequence[ImageObject],
    *,
    target: str | None = None,
    classes: Classes | None = None,
) -> dict[str, int]:
    """The number of the class that each label means.

    A label is the name or the number of a class, or what ``classes`` says of it. The wnids of
    ImageNet are understood where the network has its 1000 classes and either all 1000 folders are
    there (their sorted order is that of the classes) or timm is installed, which lists them.

    Args:
        network: knows the names of its classes.
        objects: labelled, or all of the class ``target``.
        target: the class of all objects, if their labels do not say.
        classes: label -> class, where the labels are no names of classes.

    Raises:
        UsageError: no label, one that is no class, or one that ``classes`` leaves out.

    >>> from explgraph.images import read_source
    >>> class_numbers(network, read_source(coco).objects)
    {'fox': 0}
    """
    numbers: dict[str, int] = {}
    for obj in objects:
        label = target or obj.label
        if label is None:
            raise UsageError(
                f"{obj.file_name} has no class; put the images into subfolders "
                "named after their classes, or give --target"
            )
        if label in numbers:
            continue
        if classes is None and WNID.fullmatch(label) and label not in (network.classes or ()):
            classes = _wnids(network, obj)
        if classes is not None and label not in classes:
            raise UsageError(
                f"which class of {network.name} {label!r} is cannot be told; say it in the file of "
                "--classes, a line such as 'n02391049 zebra'"
            )
        numbers[label] = find_class(network, label if classes is None else classes[label])
    return numbers


def _wnids(network: Network, obj: ImageObject) -> Classes:
    """The wnids of the network's classes, as far as they are known."""
    # Other 1000 classes than ImageNet's have no folders that are called by wnids.
    if network.classes is None or len(network.classes) != N_IMAGENET:
        return {}
    beside = obj.path.parent.parent.iterdir()
    wnids = sorted(one.name for one in beside if WNID.fullmatch(one.name) and one.is_dir())
    if len(wnids) != N_IMAGENET:
        wnids = _wnids_of_timm()
    return {wnid: number for number, wnid in enumerate(wnids)}


def _wnids_of_timm() -> list[str]:
    try:
        from timm.data.imagenet_info import ImageNetInfo
    except ImportError:
        return []
    return list(ImageNetInfo().label_names())


def _json_pairs(plain: Any) -> list[tuple[str, str | int]]:
    if not isinstance(plain, dict):
        raise ValueError("not a JSON object")
    pairs: list[tuple[str, str | int]] = []
    for key, value in plain.items():
        if isinstance(value, list) and value and isinstance(value[0], str):
            pairs.append((value[0], int(key)))
        elif isinstance(value, str | int) and not isinstance(value, bool):
            pairs.append((key, value))
        else:
            raise ValueError(f"{key!r} is mapped to {json.dumps(value):.40}")
    return pairs


def _text_pairs(text: str) -> list[tuple[str, str | int]]:
    lines = [re.split(r"\t|\s+", line.strip(), maxsplit=1) for line in text.splitlines()]
    lines = [words for words in lines if words != [""]]
    if not lines:
        raise ValueError("it is empty")
    if all(len(words) == 1 for words in lines):
        return [(words[0], number) for number, words in enumerate(lines)]
    for words in lines:
        if len(words) == 1:
            raise ValueError(f"the line {words[0]!r} names no class")
    return [(label, name.strip()) for label, name in lines]
