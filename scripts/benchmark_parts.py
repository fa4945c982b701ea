"""What semantic parts are worth: OMP_NUM_THREADS=1 python scripts/benchmark_parts.py DATASET.json=WORKSPACE ...

Prints, mean over the categories: error against the number of annotations, beside ridge regression on node places; joint location; errors
by score; suggested against random annotations; seconds. Landmarks are used of the objects drawn as annotated, and to score.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmark import forward, seconds
from sklearn.linear_model import RidgeCV

from explgraph.images import read_source
from explgraph.parts import (
    FoundPart,
    KnownObjects,
    PartConfig,
    SemanticPart,
    fit_part,
    fit_star,
    locate_jointly,
    locate_part,
    suggest,
)
from explgraph.queries import locate_batches
from explgraph.queries.part_locate import seen_nodes
from explgraph.workspace import Workspace

SHOTS = (1, 3, 10, 40)
N_REPEATS, N_TEST = 10, 60
DIAGONAL = 2**0.5
Array = np.ndarray


@dataclass(frozen=True)
class Category:
    """Known objects and their landmarks, (object, landmark, 2), resolved facing, NaN where not annotated."""

    name: str
    known: KnownObjects
    marks: Array
    names: tuple[str, ...]

    def annotated(self, *landmarks: int) -> Array:
        """Return the objects that have all these landmarks."""
        return np.flatnonzero(np.isfinite(self.marks[:, landmarks, 0]).all(1))

    def fit(self, objects: Array, landmark: int, config: PartConfig = PartConfig()) -> SemanticPart:  # noqa: B008
        """Return the part that follows from these annotated objects."""
        places = np.clip(self.marks[objects, landmark], 0, 1)
        return fit_part(
            self.names[landmark],
            self.known.seen,
            self.known.traits,
            np.asarray(objects),
            places,
            config=config,
        )

    def locate(self, part: SemanticPart) -> FoundPart:
        """Return where the part is on all objects."""
        return locate_part(part, self.known.seen, self.known.traits)

    def errors(self, place: Array, objects: Array, landmark: int) -> Array:
        """Return distances to the landmark, in diagonals."""
        return np.linalg.norm(place[objects] - self.marks[objects, landmark], axis=1) / DIAGONAL


def read_category(dataset: str, folder: str) -> Category:
    """Return a category from its COCO file and its workspace."""
    with Workspace(folder) as workspace:
        known = workspace.known_objects()
    objects = {o.annotation_id: o for o in read_source(dataset).objects}
    names = tuple(sorted({name for o in objects.values() for name in o.landmarks}))
    marks = np.full((len(known.ids), len(names), 2), np.nan)
    for i, number in enumerate(known.ids):
        for k, name in enumerate(names):
            if name in objects[number].landmarks:
                marks[i, k] = known.resolved([i], [objects[number].landmarks[name]])[0]
    return Category(Path(dataset).stem, known, marks, names)


def draws(category: Category, *landmarks: int) -> list[tuple[Array, Array]]:
    """Return (objects that may be annotated, objects that are searched) of every repeat."""
    mixed = [
        np.random.default_rng([r, *landmarks]).permutation(category.annotated(*landmarks))
        for r in range(N_REPEATS)
    ]
    return [(one[:-N_TEST], one[-N_TEST:]) for one in mixed]


def curve(category: Category) -> dict[str, list[float]]:
    """Return errors by number of annotations: of parts, of ridge regression on node places, of a constant, in the same facing."""
    found: dict[str, list[list[float]]] = {"parts": [], "ridge": [], "constant": []}
    strong = np.argsort(-category.known.seen.score.mean(0))[:100]
    features = (
        category.known.seen.place[:, strong] - category.known.seen.place[:, strong].mean(0)
    ).reshape(len(category.marks), -1)
    for k in range(len(category.names)):
        for pool, test in draws(category, k):
            row: dict[str, list[float]] = {name: [] for name in found}
            for shots in SHOTS:
                fit = pool[:shots]
                marks = category.marks[fit, k]
                row["parts"].append(
                    category.errors(category.locate(category.fit(fit, k)).place, test, k).mean()
                )
                usual = np.repeat(marks.mean(0)[None], len(features), 0)
                # A regression needs a few annotations to choose its regulariser; below, it is the constant.
                ridge = (
                    RidgeCV(np.logspace(-3, 3, 13)).fit(features[fit], marks).predict(features)
                    if shots > 3
                    else usual
                )
                row["ridge"].append(category.errors(ridge, test, k).mean())
                row["constant"].append(category.errors(usual, test, k).mean())
            for name, values in row.items():
                found[name].append(values)
    return {name: np.mean(values, 0).tolist() for name, values in found.items()}


def together(category: Category, shots: int) -> list[float]:
    """Return errors of the first two landmarks: both alone, both jointly; annotated on the same objects."""
    rows = []
    for pool, test in draws(category, 0, 1):
        parts = [category.fit(pool[:shots], k) for k in (0, 1)]
        star = fit_star(parts, category.known.seen, category.known.traits)
        joint = locate_jointly(star, category.known.seen, category.known.traits)
        answers = [*map(category.locate, parts), *joint]
        rows.append(
            [category.errors(one.place, test, k % 2).mean() for k, one in enumerate(answers)]
        )
    return np.mean(rows, 0).tolist()


def suggested(category: Category, n: int = 3) -> list[float]:
    """Return errors: after one annotation, after ``n`` suggested ones more, after ``n`` random ones more, share of repeats won."""
    rows = []
    for k in range(len(category.names)):
        for pool, test in draws(category, k):
            seen = category.known.seen.objects(
                pool
            )  # what can be suggested is what can be annotated
            start = pool[:1]
            part = category.fit(start, k)
            wise = pool[
                [
                    0,
                    *(
                        s.object
                        for s in suggest(part, seen, category.known.traits, np.array([0]), n)
                    ),
                ]
            ]
            error = [
                category.errors(category.locate(category.fit(fit, k)).place, test, k).mean()
                for fit in (start, wise, pool[: n + 1])
            ]
            rows.append([*error, error[1] < error[2]])
    return np.mean(rows, 0).tolist()


def by_score(category: Category) -> tuple[Array, Array, Array]:
    """Return score, expected error and error of every answer, one and three annotations."""
    columns = []
    for k in range(len(category.names)):
        for pool, test in draws(category, k):
            for shots in (1, 3):
                found = category.locate(category.fit(pool[:shots], k))
                columns.append(
                    (
                        found.score[test],
                        found.expected_error[test],
                        category.errors(found.place, test, k),
                    )
                )
    score, expected, error = (np.concatenate(values) for values in zip(*columns, strict=True))
    return score, expected, error


def left_out(categories: list[Category]) -> float:
    """Return the error at three annotations with the settings that are best on all other categories, over that with the defaults."""
    scaled = {
        name: value
        for name, value in vars(PartConfig()).items()
        if name not in ("candidates", "nodes")
    }
    tried = [
        PartConfig(**{name: value * factor})
        for name, value in scaled.items()
        for factor in (0.5, 1, 2)
    ]
    table = np.array(
        [[_three_shot(category, config) for config in tried] for category in categories]
    )
    usual = np.array([_three_shot(category, PartConfig()) for category in categories])
    relative = table / usual[:, None]
    return float(
        np.mean(
            [
                relative[i, np.delete(relative, i, 0).mean(0).argmin()]
                for i in range(len(categories))
            ]
        )
    )


def new_images(dataset: str, folder: str, category: Category, n: int = 48) -> tuple[float, float]:
    """Return seconds to find a part on ``n`` new objects, and of the bare forward passes of the same inputs (image and mirror image)."""
    part = category.fit(category.annotated(0)[:3], 0)
    source = read_source(dataset, limit=n)
    with Workspace(folder) as workspace:
        network = workspace.network()
        traits = category.known.traits
        located = lambda: [
            locate_part(part, seen_nodes(one.locations), traits)
            for one in locate_batches(workspace, source, network=network)
        ]
        bare = lambda layout: forward(
            network.model, torch.zeros(16, 3, *network.input.size).to(memory_format=layout), 2 * n
        )
        times = []
        for _ in range(3):
            network.model.to(memory_format=torch.contiguous_format)
            plain = seconds(lambda: bare(torch.contiguous_format), network.device)
            network.model.to(memory_format=torch.channels_last)
            last = seconds(lambda: bare(torch.channels_last), network.device)
            times.append((seconds(located, network.device), min(plain, last)))
    return float(np.median([one for one, _ in times])), float(
        np.median([other for _, other in times])
    )


def _three_shot(category: Category, config: PartConfig) -> float:
    pairs = [
        (k, pool[:3], test) for k in range(len(category.names)) for pool, test in draws(category, k)
    ]
    return float(
        np.mean(
            [
                category.errors(category.locate(category.fit(fit, k, config)).place, test, k).mean()
                for k, fit, test in pairs
            ]
        )
    )


def _print(
    title: str, categories: list[Category], measure: Callable[[Category], list[float]]
) -> None:
    rows = [measure(category) for category in categories]
    for category, row in zip(categories, rows, strict=True):
        print(f"{title:28s} {category.name:12s}", " ".join(f"{v:.4f}" for v in row))
    print(f"{title:28s} {'mean':12s}", " ".join(f"{v:.4f}" for v in np.mean(rows, 0)))


def main() -> int:
    """Measure and print."""
    started = time.perf_counter()
    categories = [read_category(*pair.split("=", 1)) for pair in sys.argv[1:]]
    if not categories:
        print(__doc__, file=sys.stderr)
        return 2
    print(f"read {len(categories)} workspaces: {time.perf_counter() - started:.2f} s")
    first = categories[0]
    started = time.perf_counter()
    first.locate(first.fit(first.annotated(0)[:3], 0))
    print(f"fit to three, locate in {len(first.marks)}: {time.perf_counter() - started:.3f} s")
    curves = {category.name: curve(category) for category in categories}
    for name in ("parts", "ridge", "constant"):
        _print(
            f"{name}, {SHOTS}", categories, lambda category, name=name: curves[category.name][name]
        )
    for shots in (1, 3):
        _print(
            f"alone, joint, {shots} annotations",
            categories,
            lambda category, shots=shots: together(category, shots),
        )
    _print("start, suggested, random, won", categories, suggested)
    score, expected, error = (
        np.concatenate(values) for values in zip(*map(by_score, categories), strict=True)
    )
    for tenth in np.array_split(np.argsort(score, kind="stable"), 10):
        print(
            f"score {score[tenth].mean():.2f}  expected {expected[tenth].mean():.3f}  error {error[tenth].mean():.3f}"
        )
    located, bare = new_images(*sys.argv[1].split("=", 1), first)
    print(
        f"48 new objects: {located:.2f} s, bare forward passes of their inputs {bare:.2f} s, ratio {located / bare:.2f}"
    )
    if len(categories) > 1:
        print(f"settings of the other categories / defaults: {left_out(categories):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
