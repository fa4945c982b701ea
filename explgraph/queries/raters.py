"""`evaluate --raters` and `--answers`: do people see one part in a node's best patches?"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from explgraph.errors import SourceError, UsageError, WorkspaceError
from explgraph.evaluation import N_BEST, RatersScore, score_answers
from explgraph.files import make_folder, whole_file, write_json
from explgraph.formats import rater_page
from explgraph.graph import layer_of
from explgraph.images import AnyPath
from explgraph.queries.album import Album
from explgraph.queries.evaluate import raw_filters
from explgraph.queries.result import Result
from explgraph.workspace import Workspace

N_ROWS = 20  # of nodes, and as many of raw filters: about half an hour's work
KINDS = ("nodes", "raw filters")
COLUMNS = ("sheet", "rater", "row", "same")  # of answers as CSV
NONE = "none"  # in a cell: no two patches show the same part


@dataclass(frozen=True)
class _Row:
    """What a row of the sheet shows: of which node or filter, and where on its best objects."""

    kind: str
    what: str
    places: tuple[tuple[int, float, float], ...]  # annotation id, x, y


@dataclass(frozen=True)
class RatersSheet(Result):
    """What `write_raters` wrote.

    Args:
        sheet: the page that raters fill in.
        template: the same as a table, for raters who prefer one.
        key: which row is what; not for raters.
        rows: of the sheet, half of them nodes.
    """

    sheet: Path
    template: Path
    key: Path
    rows: int


def write_raters(
    workspace: Workspace, out: AnyPath, *, rows: int = N_ROWS, seed: int = 0
) -> RatersSheet:
    """Write a blinded sheet of nodes' patches and raw filters' patches, in random order.

    Both kinds are drawn at random from each layer, as `score_purity` judges all of them, and shown
    by their 20 best patches, turned to the common facing. The key lies beside the
    folder and not in it, so that the folder can be handed on.

    Args:
        out: folder for the page and a table; OUT.key.json gets the key.
        rows: of each kind.
        seed: of the draw.

    Raises:
        WorkspaceError: none of the photographs is where it was when it was mined.

    >>> done = write_raters(workspace, out / "sheet", rows=2)
    >>> done.rows, done.sheet.name, done.key.name
    (4, 'index.html', 'sheet.key.json')
    """
    out, rng = Path(out), np.random.default_rng(seed)
    chosen = [*_nodes(workspace, rows, rng), *_filters(workspace, rows, rng)]
    chosen = [chosen[k] for k in rng.permutation(len(chosen))]
    patches = _cut(workspace, chosen)
    digest = hashlib.sha256(repr(chosen).encode()).hexdigest()[:12]
    make_folder(out)
    sheet, template = out / "index.html", out / "template.csv"
    key = out.with_name(out.name + ".key.json")
    with whole_file(sheet) as temporary:
        temporary.write_text(rater_page(digest, patches), encoding="utf-8")
    with whole_file(template) as temporary:
        blank = (f"{digest},,{number}," for number in range(1, len(chosen) + 1))
        temporary.write_text("\n".join([",".join(COLUMNS), *blank, ""]), encoding="utf-8")
    known = {
        str(number): {"kind": row.kind, "what": row.what, "patches": len(row.places)}
        for number, row in enumerate(chosen, 1)
    }
    write_json({"sheet": digest, "rows": known}, key)
    return RatersSheet(sheet, template, key, len(chosen))


def score_raters(answers: Sequence[AnyPath], key: AnyPath) -> RatersScore:
    """What the raters' answers to a sheet come to.

    Args:
        answers: a file of each rater, as the page saves it (JSON, CSV), or the template filled in.
        key: of the sheet, see `write_raters`.

    Raises:
        SourceError: a file cannot be read.
        UsageError: answers to another sheet, two of one rater, or none at all.

    >>> from explgraph.files import write_json
    >>> done = write_raters(workspace, out / "sheet", rows=1)
    >>> sheet = json.loads(done.key.read_text())["sheet"]
    >>> said = {"sheet": sheet, "rater": "ann", "answers": {"1": [1, 2, 3], "2": []}}
    >>> score_raters([write_json(said, out / "ann.json")], done.key).raters
    1
    """
    try:
        known = json.loads(Path(key).read_text(encoding="utf-8"))
        sheet, rows = known["sheet"], known["rows"]
        kind_of = {row: one["kind"] for row, one in rows.items()}
        patches = {row: one["patches"] for row, one in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{key} is no key of a sheet ({error!r:.200})") from error
    # In the order of the kinds, so that the difference is nodes less raw filters.
    kind_of = dict(sorted(kind_of.items(), key=lambda one: KINDS.index(one[1])))
    said: dict[str, dict[str, frozenset[int]]] = {}
    for path in answers:
        rater, found = _read_answers(Path(path), sheet)
        if rater in said:
            raise UsageError(f"{path}: {rater!r} has answered already; each rater needs a name")
        said[rater] = found
    return score_answers(kind_of, patches, said)


def _nodes(workspace: Workspace, n: int, rng: np.random.Generator) -> list[_Row]:
    graph, store = workspace.graph, workspace.store
    rows = []
    for layer, share in _shares(workspace, n):
        for name in _drawn(list(graph.nodes_of(layer)), share, rng):
            best = store.read_node(name).top_places[:N_BEST]
            rows.append(_Row(KINDS[0], name, tuple((p.object_id, p.x, p.y) for p in best)))
    return rows


def _filters(workspace: Workspace, n: int, rng: np.random.Generator) -> list[_Row]:
    ids = [one.id for one in workspace.objects_read]
    rows = []
    for layer, share in _shares(workspace, n):
        place, value = raw_filters(workspace, workspace.graph.layer(layer), range(len(ids)))
        best = np.argsort(-value, axis=0, kind="stable")[:N_BEST]
        active = np.flatnonzero(value.max(0) > 0).tolist()  # a silent filter shows nothing
        for channel in _drawn(active, share, rng):
            at = [(i, *place[i, channel].tolist()) for i in best[:, channel].tolist()]
            rows.append(
                _Row(KINDS[1], f"{layer}:{channel}", tuple((ids[i], x, y) for i, x, y in at))
            )
    return rows


def _shares(workspace: Workspace, n: int) -> list[tuple[str, int]]:
    """How many rows each layer with nodes gets; the first get one more if need be."""
    layers = list(dict.fromkeys(map(layer_of, workspace.graph.ordered_nodes())))
    return [(name, (n + len(layers) - 1 - k) // len(layers)) for k, name in enumerate(layers)]


def _drawn(among: Sequence[Any], n: int, rng: np.random.Generator) -> list[Any]:
    return [among[k] for k in rng.permutation(len(among))[:n]]


def _cut(workspace: Workspace, rows: Sequence[_Row]) -> list[list[Any]]:
    """The patches of each row; every photograph is read once."""
    album = Album(workspace)
    wanted = sorted(
        (one.places[k][0], number, k)
        for number, one in enumerate(rows)
        for k in range(len(one.places))
    )
    cut: dict[tuple[int, int], Any] = {}
    for object_id, number, k in wanted:
        patch = album.patch(object_id, *rows[number].places[k][1:])
        if patch is None:
            raise WorkspaceError(
                f"the photographs are no longer where they were ({workspace.job.source_name}); put "
                f"them back, or: explgraph relocate {workspace.folder} --images FOLDER"
            )
        cut[number, k] = patch
    return [[cut[n, k] for k in range(len(one.places))] for n, one in enumerate(rows)]


def _read_answers(path: Path, sheet: str) -> tuple[str, dict[str, frozenset[int]]]:
    """The rater's name, and the patches (counted from 0) that each answered row says are alike."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            lines = list(csv.DictReader(text.splitlines(), strict=True))
            sheets, raters = ({line[key] for line in lines} for key in COLUMNS[:2])
            cells = {line["row"]: line["same"].lower().split() for line in lines if line["same"]}
            found = {
                row: [] if cell == [NONE] else [int(k) for k in cell] for row, cell in cells.items()
            }
        else:
            plain = json.loads(text)
            sheets, raters, found = {plain["sheet"]}, {plain["rater"]}, plain["answers"]
        if len(raters) != 1 or not all(isinstance(one, str) for one in raters):
            raise ValueError(f"expected the name of one rater, got {sorted(map(str, raters))}")
        same = {str(row): frozenset(int(k) - 1 for k in said) for row, said in found.items()}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        csv.Error,
    ) as e:
        raise SourceError(f"{path} holds no answers to a sheet of raters ({e!r:.200})") from e
    if sheets != {sheet}:
        raise UsageError(
            f"{path} answers another sheet ({', '.join(map(str, sheets))}) than {sheet}"
        )
    (rater,) = raters
    return rater.strip() or path.stem, same
