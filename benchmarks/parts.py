"""What semantic parts are worth, on categories whose photographs have annotated landmarks.

Error against the number of annotations, beside ridge regression on node places; joint location;
suggested against random annotations; errors by score; seconds. Landmarks are used of the objects
drawn as annotated, and to score. Set OMP_NUM_THREADS=1 for times that do not depend on the cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from benchmarks.timing import Task, forward_passes, in_turns, medians
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
from explgraph.queries import locate_batches, seen_nodes
from explgraph.workspace import Workspace

SHOTS = (1, 3, 10, 40)
N_NEW = 48  # objects searched as new images
DIAGONAL = 2**0.5
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pair, what = "DATASET.json=WORKSPACE", "COCO files and the workspaces mined of them"
    parser.add_argument("categories", nargs="+", metavar=pair, help=what)
    parser.add_argument("--repeats", type=int, default=10, help="draws of each landmark")
    parser.add_argument("--searched", type=int, default=60, help="objects searched in each")


def run(args: argparse.Namespace) -> dict[str, Any]:
    started = time.perf_counter()
    pairs = [pair.split("=", 1) for pair in args.categories]
    categories = [Category.read(*pair, args.repeats, args.searched) for pair in pairs]
    read_s = time.perf_counter() - started
    first = categories[0]
    started = time.perf_counter()
    first.locate(first.fit(first.annotated(0)[:3], 0))
    fit_s = time.perf_counter() - started
    of_each = lambda measure: {one.name: measure(one) for one in categories}
    figures = {
        "categories": {one.name: len(one.marks) for one in categories},
        "read_s": read_s,
        "fit_and_locate_s": fit_s,
        "annotations": list(SHOTS),
        "error": of_each(curve),
        "alone_and_joint": {str(n): of_each(partial(together, shots=n)) for n in (1, 3)},
        "suggested": of_each(suggested),
        "by_score": by_score(categories),
        "new_objects": new_images(*pairs[0], first),
    }
    if len(categories) > 1:
        figures["settings_of_the_others_over_defaults"] = left_out(categories)
    return figures


def text(figures: dict[str, Any]) -> str:
    n = next(iter(figures["categories"].values()))
    lines = [
        f"read {len(figures['categories'])} workspaces: {figures['read_s']:.2f} s",
        f"fit to three, locate in {n}: {figures['fit_and_locate_s']:.3f} s",
    ]
    for name in ("parts", "ridge", "constant"):
        rows = {category: one[name] for category, one in figures["error"].items()}
        lines += by_category(f"{name}, {tuple(figures['annotations'])}", rows)
    for shots, found in figures["alone_and_joint"].items():
        lines += by_category(f"alone, joint, {shots} annotations", found)
    lines += by_category("start, suggested, random, won", figures["suggested"])
    for one in figures["by_score"]:
        columns = (f"{name} {one[name]:.3f}" for name in ("score", "expected", "error"))
        lines.append("  ".join(columns))
    new = figures["new_objects"]
    lines.append(
        f"{new['objects']} new objects: {new['seconds']:.2f} s, bare forward passes of their"
        f" inputs {new['forward_s']:.2f} s, ratio {new['ratio']:.2f}"
    )
    if "settings_of_the_others_over_defaults" in figures:
        ratio = figures["settings_of_the_others_over_defaults"]
        lines.append(f"settings of the other categories / defaults: {ratio:.4f}")
    return "\n".join(lines)


def by_category(title: str, rows: dict[str, list[float]]) -> Iterator[str]:
    for name, row in {**rows, "mean": np.mean(list(rows.values()), 0)}.items():
        yield f"{title:28s} {name:12s} {' '.join(f'{value:.4f}' for value in row)}"


@dataclass(frozen=True, eq=False)
class Category:
    """Known objects and their landmarks.

    Args:
        name: of the COCO file.
        known: the objects with the places of the nodes.
        marks: (object, landmark, 2), resolved facing, NaN where not annotated.
        landmarks: their names.
        repeats: draws of annotated objects for each landmark.
        searched: objects of each draw that are searched.
    """

    name: str
    known: KnownObjects
    marks: Array
    landmarks: tuple[str, ...]
    repeats: int
    searched: int

    @classmethod
    def read(cls, dataset: str, folder: str, repeats: int, searched: int) -> Category:
        with Workspace(folder) as workspace:
            known = workspace.known_objects()
        objects = {obj.annotation_id: obj for obj in read_source(dataset).objects}
        names = tuple(sorted({name for obj in objects.values() for name in obj.landmarks}))
        marks = np.full((len(known.ids), len(names), 2), np.nan)
        for i, number in enumerate(known.ids):
            landmarks = objects[number].landmarks
            for k, name in enumerate(names):
                if name in landmarks:
                    marks[i, k] = known.resolved([i], [landmarks[name]])[0]
        return cls(Path(dataset).stem, known, marks, names, repeats, searched)

    def annotated(self, *landmarks: int) -> Array:
        """The objects that have all these landmarks."""
        return np.flatnonzero(np.isfinite(self.marks[:, landmarks, 0]).all(1))

    def draws(self, *landmarks: int) -> Iterator[tuple[Array, Array]]:
        """(objects that may be annotated, objects that are searched) of every repeat."""
        objects = self.annotated(*landmarks)
        for repeat in range(self.repeats):
            mixed = np.random.default_rng([repeat, *landmarks]).permutation(objects)
            yield mixed[: -self.searched], mixed[-self.searched :]

    def all_draws(self) -> Iterator[tuple[int, Array, Array]]:
        for landmark in range(len(self.landmarks)):
            for pool, test in self.draws(landmark):
                yield landmark, pool, test

    def fit(self, objects: Array, landmark: int, config: PartConfig | None = None) -> SemanticPart:
        """The part that follows from these annotated objects."""
        places = np.clip(self.marks[objects, landmark], 0, 1)
        return fit_part(
            self.landmarks[landmark],
            self.known.seen,
            self.known.traits,
            np.asarray(objects),
            places,
            config=config or PartConfig(),
        )

    def locate(self, part: SemanticPart) -> FoundPart:
        """Where the part is on all objects."""
        return locate_part(part, self.known.seen, self.known.traits)

    def errors(self, place: Array, objects: Array, landmark: int) -> Array:
        """Distances to the landmark, in diagonals."""
        apart = place[objects] - self.marks[objects, landmark]
        return np.linalg.norm(apart, axis=1) / DIAGONAL

    def error(
        self, fit: Array, test: Array, landmark: int, config: PartConfig | None = None
    ) -> float:
        """The mean error on ``test`` of the part fitted to ``fit``."""
        found = self.locate(self.fit(fit, landmark, config))
        return float(self.errors(found.place, test, landmark).mean())


def curve(category: Category) -> dict[str, list[float]]:
    """Errors by number of annotations: of parts, of ridge regression, of a constant."""
    found: dict[str, list[list[float]]] = {"parts": [], "ridge": [], "constant": []}
    seen = category.known.seen
    strong = np.argsort(-seen.score.mean(0))[:100]
    place = seen.place[:, strong]
    features = (place - place.mean(0)).reshape(len(category.marks), -1)
    for k, pool, test in category.all_draws():
        row: dict[str, list[float]] = {name: [] for name in found}
        for shots in SHOTS:
            fit = pool[:shots]
            marks = category.marks[fit, k]
            usual = np.repeat(marks.mean(0)[None], len(features), 0)
            ridge = usual
            # A regression needs a few annotations to choose its regulariser.
            if shots > 3:
                model = RidgeCV(np.logspace(-3, 3, 13)).fit(features[fit], marks)
                ridge = model.predict(features)
            row["parts"].append(category.error(fit, test, k))
            row["ridge"].append(category.errors(ridge, test, k).mean())
            row["constant"].append(category.errors(usual, test, k).mean())
        for name, values in row.items():
            found[name].append(values)
    return {name: np.mean(values, 0).tolist() for name, values in found.items()}


def together(category: Category, *, shots: int) -> list[float]:
    """Errors of the first two landmarks alone and jointly, annotated on the same objects."""
    seen, traits = category.known.seen, category.known.traits
    rows = []
    for pool, test in category.draws(0, 1):
        parts = [category.fit(pool[:shots], k) for k in (0, 1)]
        joint = locate_jointly(fit_star(parts, seen, traits), seen, traits)
        answers = [*map(category.locate, parts), *joint]
        errors = [category.errors(one.place, test, k % 2) for k, one in enumerate(answers)]
        rows.append([one.mean() for one in errors])
    return np.mean(rows, 0).tolist()


def suggested(category: Category, n: int = 3) -> list[float]:
    """Errors with one annotation, ``n`` suggested more, ``n`` random more; share of repeats won."""
    known = category.known
    rows = []
    for k, pool, test in category.all_draws():
        seen = known.seen.objects(pool)  # what can be suggested is what can be annotated
        part = category.fit(pool[:1], k)
        wise = [one.object for one in suggest(part, seen, known.traits, np.array([0]), n)]
        fits = (pool[:1], pool[[0, *wise]], pool[: n + 1])
        start, ours, random = (category.error(fit, test, k) for fit in fits)
        rows.append([start, ours, random, ours < random])
    return np.mean(rows, 0).tolist()


def by_score(categories: list[Category]) -> list[dict[str, float]]:
    """Mean score, expected error and error of each tenth of the answers, one and three marks."""
    columns = []
    for category in categories:
        for k, pool, test in category.all_draws():
            for shots in (1, 3):
                found = category.locate(category.fit(pool[:shots], k))
                error = category.errors(found.place, test, k)
                columns.append((found.score[test], found.expected_error[test], error))
    values = np.concatenate([np.stack(one) for one in columns], 1)
    order = np.argsort(values[0], kind="stable")
    means = [values[:, tenth].mean(1).tolist() for tenth in np.array_split(order, 10)]
    return [dict(zip(("score", "expected", "error"), one, strict=True)) for one in means]


def new_images(dataset: str, folder: str, category: Category) -> dict[str, float]:
    """Seconds to find a part on new objects, and of bare forward passes of the same inputs."""
    part = category.fit(category.annotated(0)[:3], 0)
    source = read_source(dataset, limit=N_NEW)
    n = len(source.objects)
    with Workspace(folder) as workspace:
        network = workspace.network()

        def located() -> None:
            for one in locate_batches(workspace, source, network=network):
                locate_part(part, seen_nodes(one.locations), category.known.traits)

        batch = torch.zeros(16, 3, *network.input.size)
        # Each object is two inputs: the image and the mirror image.
        plain, last = forward_passes(network, 2 * n, batch).values()
        tasks = {"located": Task(located), "plain": plain, "last": last}
        timers = {name: task.timer(network.device) for name, task in tasks.items()}
        times = in_turns(timers, 3, title="new objects")
    times["forward"] = np.minimum(times["plain"], times["last"]).tolist()
    median = medians(times)
    ratio = median["located"] / median["forward"]
    seconds, forward_s = median["located"], median["forward"]
    return {"objects": n, "seconds": seconds, "forward_s": forward_s, "ratio": ratio}


def left_out(categories: list[Category]) -> float:
    """The error at three annotations with the best settings of all other categories / defaults."""
    scaled = vars(PartConfig()).items()
    tried = [
        PartConfig(**{name: value * factor})
        for name, value in scaled
        if name not in ("candidates", "nodes")
        for factor in (0.5, 1, 2)
    ]
    errors = np.array([[three_shot(one, config) for config in tried] for one in categories])
    usual = np.array([three_shot(one, PartConfig()) for one in categories])
    relative = errors / usual[:, None]
    of_each = []
    for i in range(len(categories)):
        best_of_others = np.delete(relative, i, 0).mean(0).argmin()
        of_each.append(relative[i, best_of_others])
    return float(np.mean(of_each))


def three_shot(category: Category, config: PartConfig) -> float:
    draws = category.all_draws()
    return float(np.mean([category.error(pool[:3], test, k, config) for k, pool, test in draws]))
