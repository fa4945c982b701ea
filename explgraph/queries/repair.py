"""`repair`: a network with filters silenced or damped, or its last layer retrained, as weights.

What is chosen (a factor, a penalty, a method) is chosen on one half of the images and judged on the
other, so that the figures hold for images that had no say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from safetensors.torch import load, save, save_file
from torch import Tensor

from explgraph.attribution import Activation, as_scores, is_multi_label, probabilities
from explgraph.errors import Skipped, SourceError, UsageError
from explgraph.files import check_place, whole_file
from explgraph.images import AnyPath, ImageObject, Source, decode_batches
from explgraph.network import Network, State, changed, evaluation_mode, last_linear, scale_channel
from explgraph.progress import Report, silent
from explgraph.queries.ablate import parse_removed
from explgraph.queries.labels import Classes, class_numbers
from explgraph.queries.result import Record, Result
from explgraph.workspace import Workspace, open_database
from explgraph_storage import RepairRecord

Method = Literal["zero", "damp", "retrain", "best"]
METHODS: tuple[Method, ...] = ("zero", "damp", "retrain", "best")
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of damping; 1 leaves the network as it is
# Of retraining, in units of the features' mean square: from "fit anew" to "leave as it is".
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SUFFIXES = (".safetensors", ".pth", ".pt")
N_TRIED = 32  # images on which a filter's row of weights is looked for
BATCH = 64  # images per forward pass

Wanted = Int[np.ndarray, " image"]
Loss = Float[np.ndarray, " image"]


@dataclass(frozen=True)
class Accuracy(Result):
    """What a repair does to the accuracy, on images that had no part in choosing it.

    Args:
        images: how many.
        before: share that is classified rightly.
        after: likewise, with the repair.
        change: after less before.
        standard_error: of the change, image by image.
        loss_before: mean of -log of the right class's probability.
        loss_after: likewise.
    """

    images: int
    before: float
    after: float
    change: float
    standard_error: float
    loss_before: float
    loss_after: float


@dataclass(frozen=True)
class RepairedNetwork(Result):
    """A repaired network.

    Args:
        number: under which the workspace keeps it; None if it does not pay and is not kept.
        method: "zero", "damp" or "retrain".
        filters: LAYER:CHANNEL of those that were changed.
        setting: the factor of the filters, or the penalty of retraining.
        pays: whether the loss is less than before on the images that chose it; "zero" chooses
            nothing, so there it is on all images.
        accuracy: what it does.
        tried: the loss of all that was tried, on the images that chose.
        out: the file with the weights.
        skipped: images that could not be used.
    """

    number: int | None
    method: str
    filters: tuple[str, ...]
    setting: float
    pays: bool
    accuracy: Accuracy
    tried: tuple[Record, ...]
    out: Path | None = None
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class RepairList(Result):
    """The repairs of a workspace."""

    workspace: str
    repairs: tuple[Record, ...]


@dataclass(frozen=True)
class _Images:
    """Labelled images in memory, as bytes: number of the class, and of the photograph."""

    pixels: NDArray[np.uint8]
    wanted: Wanted
    photographs: Int[np.ndarray, " image"]

    def some(self, which: NDArray[Any]) -> _Images:
        return _Images(self.pixels[which], self.wanted[which], self.photographs[which])


@dataclass(frozen=True)
class _Tried:
    """A repair and what it costs on the images that choose."""

    method: str
    setting: float
    state: State
    loss: float


def repair_network(
    folder: AnyPath,
    source: Source,
    filters: Sequence[str] = (),
    method: Method = "zero",
    *,
    out: AnyPath | None = None,
    network: Network | None = None,
    target: str | None = None,
    classes: Classes | None = None,
    seed: int = 0,
    db: str | None = None,
    report: Report = silent,
) -> RepairedNetwork:
    """Repair a workspace's network on labelled images, keep the repair, and write the weights.

    * "zero" silences the filters, "damp" scales what they say by a factor that is chosen.
    * "retrain" fits the rows of the last layer for the classes shown: logistic regression on its
      inputs that is drawn to the weights as they are, so that other classes stay known.
    * "best" takes the one of them that does best on the images that choose.

    Args:
        folder: the workspace.
        source: images whose label is their class, see `explgraph.queries.class_numbers`.
        filters: LAYER:CHANNEL, or their names; not for "retrain".
        method: see above.
        out: FILE.safetensors, .pth or .pt: a state dict that ``load_state_dict`` takes.
        network: by default that of the workspace.
        target: the class of all images, if their labels do not say.
        classes: label -> class, where the labels are no names of classes.
        seed: of the halves.
        db: SQLAlchemy URL of the tables.

    Raises:
        UsageError: no filter or one too many, a node, a class that is unknown, too few images.
        SourceError: not one image could be read.

    >>> from explgraph.images import read_source
    >>> done = repair_network(folder, read_source(coco), ["features.14:3"], out=out / "new.pth")
    >>> done.number, done.accuracy.images, done.accuracy.before
    (1, 48, 1.0)
    """
    if method not in METHODS:
        raise UsageError(f"expected a method of {', '.join(METHODS)}, got {method!r}")
    if out is not None:
        _check_suffix(check_place(Path(out)))
    with Workspace(Path(folder), db=db) as workspace:
        places = _filters(workspace, filters, method)
        network = network or workspace.network()
        images, skipped = _read(workspace, network, source, target, classes, report)
    chosen, judges, tried = _choose(network, images, places, method, seed, report)
    if chosen.method == "zero" and method == "zero":
        judges = images
    accuracy = _judge(network, judges, chosen.state)
    pays = chosen.loss < tried[0].loss if method != "zero" else accuracy.change > 0
    changed_filters = () if chosen.method == "retrain" else tuple(map(str, filters))
    made = RepairedNetwork(
        number=None,
        method=chosen.method,
        filters=changed_filters,
        setting=chosen.setting,
        pays=pays,
        accuracy=accuracy,
        tried=tuple({"method": t.method, "setting": t.setting, "loss": t.loss} for t in tried),
        skipped=skipped,
    )
    if not pays and method != "zero":
        return made  # what was asked for is a repair, and this is none
    record = RepairRecord(
        method=made.method,
        config={"filters": list(changed_filters), "setting": made.setting, "asked": method},
        figures=asdict(accuracy),
        weights=save({name: one.cpu().contiguous() for name, one in chosen.state.items()}),
        weights_sha256=network.sha256,
    )
    with open_database(Path(folder), db, mode="write") as store:
        number = store.add_repair(record)
    path = None if out is None else _write(network, chosen.state, Path(out))
    return replace(made, number=number, out=path)


def list_repairs(workspace: Workspace) -> RepairList:
    """The repairs that the workspace keeps: number, method, what was chosen, what it does.

    >>> list_repairs(workspace).repairs
    ()
    """
    records = workspace.store.read_repairs()
    plain = tuple(
        {"number": one.id, "method": one.method, **one.config, **one.figures, "made": one.made_at}
        for one in records
    )
    return RepairList(str(workspace.folder), plain)


def remove_repair(folder: AnyPath, number: int, *, db: str | None = None) -> None:
    """Forget a repair; files that were written from it stay.

    Raises:
        UsageError: there is no such repair.

    >>> remove_repair(folder, 3)
    Traceback (most recent call last):
    explgraph.errors.UsageError: there is no repair 3; 'explgraph repair WORKSPACE' lists them
    """
    with open_database(Path(folder), db, mode="write") as store:
        if not store.remove_repair(number):
            raise _no_repair(number)


def _no_repair(number: int) -> UsageError:
    return UsageError(f"there is no repair {number}; 'explgraph repair WORKSPACE' lists them")


def write_repair(
    workspace: Workspace, number: int, out: AnyPath, *, network: Network | None = None
) -> Path:
    """Write the weights of a repair that the workspace keeps; the path of the file.

    Args:
        number: of the repair.
        out: see `repair_network`.
        network: by default that of the workspace.

    Raises:
        UsageError: there is no such repair, or it is of other weights.

    >>> write_repair(workspace, 3, out / "new.pth")
    Traceback (most recent call last):
    explgraph.errors.UsageError: there is no repair 3; 'explgraph repair WORKSPACE' lists them
    """
    path = _check_suffix(check_place(Path(out)))
    records = {one.id: one for one in workspace.store.read_repairs()}
    if number not in records:
        raise _no_repair(number)
    network = network or workspace.network()
    if records[number].weights_sha256 != network.sha256:
        raise UsageError(f"repair {number} is of another network than the workspace's now")
    return _write(network, load(records[number].weights), path)


def _filters(workspace: Workspace, filters: Sequence[str], method: Method) -> list[Activation]:
    """The channels meant, by place or by name."""
    if method == "retrain" and filters:
        raise UsageError("retraining changes the last layer and no filter; leave the filters out")
    if method != "retrain" and not filters:
        raise UsageError(f"which filter shall be repaired by {method!r}? Give LAYER:CHANNEL")
    named = {name: target for target, name in workspace.graph.names.items()}
    found = []
    for one in parse_removed(workspace.graph, [named.get(name, name) for name in filters]):
        if not isinstance(one, Activation):
            raise UsageError(
                f"{one} is a node, one place of a filter: weights can only hold whole filters, "
                f"such as {one.rpartition(':')[0]}"
            )
        found.append(one)
    return found


def _read(
    workspace: Workspace,
    network: Network,
    source: Source,
    target: str | None,
    classes: Classes | None,
    report: Report,
) -> tuple[_Images, tuple[Skipped, ...]]:
    """The images as the workspace's network is shown them, unmirrored, and what was skipped."""
    if target is not None and classes is not None:
        raise UsageError(
            "--target says that all images are of one class, --classes what their "
            "labels mean: give one of them"
        )
    numbers = class_numbers(network, source.objects, target=target, classes=classes)
    height, width = network.input.size
    pixels: list[NDArray[np.uint8]] = []
    read: list[ImageObject] = []
    skipped = list(source.skipped)
    fit = workspace.job.fit
    for batch in decode_batches(source.objects, height=height, width=width, fit=fit):
        pixels.append(batch.images)
        read += [source.objects[i] for i in batch.indices.tolist()]
        skipped += [Skipped(source.objects[i].file_name, why) for i, why in batch.skipped]
        report("read", len(read), len(source.objects))
    if not read:
        raise SourceError("not one image could be classified")
    wanted = np.array([numbers[target or one.label or ""] for one in read])
    photographs = np.array([one.image_id for one in read])
    return _Images(np.concatenate(pixels), wanted, photographs), tuple(dict.fromkeys(skipped))


def _choose(
    network: Network,
    images: _Images,
    places: Sequence[Activation],
    method: Method,
    seed: int,
    report: Report,
) -> tuple[_Tried, _Images, list[_Tried]]:
    """The repair of least loss on one half, the other half, and all that was tried.

    The first that was tried is the network as it is.
    """
    first, second = _halves(images, seed)
    choosing = images if method == "zero" else images.some(first)
    tried = [_Tried("none", 1.0, {}, float(_losses(network, choosing)[1].mean()))]
    if method != "retrain":
        factors = (0.0,) if method == "zero" else FACTORS[:-1]
        sample = network.preprocess(torch.from_numpy(choosing.pixels[:N_TRIED]))
        for factor in factors:
            report("scale", len(tried), len(factors))
            state = _scaled(network, sample, places, factor)
            with changed(network, state):
                loss = float(_losses(network, choosing)[1].mean())
            tried.append(_Tried("damp" if factor else "zero", factor, state, loss))
    if method in ("retrain", "best"):
        report("retrain", 0, 0)
        # Of a network without a linear layer at its end only filters can be repaired.
        try:
            tried += _retrained(network, choosing, seed)
        except UsageError:
            if method == "retrain":
                raise
    # Of equal ones the network as it is; "zero" was asked for, whatever it costs.
    best = tried[1] if method == "zero" else min(tried, key=lambda one: one.loss)
    return best, images.some(second), tried


def _halves(images: _Images, seed: int) -> tuple[Wanted, Wanted]:
    """Two halves of each class, by photograph: objects of one look alike.

    Raises:
        UsageError: a half would be empty.
    """
    rng = np.random.default_rng(seed)
    first: list[int] = []
    for number in np.unique(images.wanted):
        shown = rng.permutation(np.unique(images.photographs[images.wanted == number]))
        first += shown[: (len(shown) + int(rng.integers(2))) // 2].tolist()
    chooses = np.isin(images.photographs, first)
    if chooses.all() or not chooses.any():
        raise UsageError(
            "one half of the images chooses the repair, the other judges it: give at least two "
            "photographs, better some dozens of each class"
        )
    return np.flatnonzero(chooses), np.flatnonzero(~chooses)


def _scaled(network: Network, sample: Tensor, places: Sequence[Activation], factor: float) -> State:
    """The tensors with all filters scaled; each is looked for in the network so far."""
    state: State = {}
    for one in places:
        with changed(network, state):
            assert isinstance(one.channel, int)  # as `parse_removed` gives them
            state = state | scale_channel(network, sample, one.layer, one.channel, factor)
    return state


@torch.no_grad()
def _losses(network: Network, images: _Images) -> tuple[NDArray[np.bool_], Loss]:
    """Of each image whether it is classified rightly, and -log of its class's probability."""
    right, losses = [], []
    with evaluation_mode(network.model):
        for batch, wanted in _batches(network, images):
            scores = as_scores(network, network.model(batch).float())
            share = probabilities(network, scores).gather(1, wanted[:, None])[:, 0]
            right.append((scores.argmax(1) == wanted).cpu().numpy())
            losses.append(-share.clamp_min(1e-12).log().double().cpu().numpy())
    return np.concatenate(right), np.concatenate(losses)


def _batches(network: Network, images: _Images) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(images.wanted), BATCH):
        here = slice(start, start + BATCH)
        wanted = torch.from_numpy(images.wanted[here]).to(network.device)
        yield network.preprocess(torch.from_numpy(images.pixels[here])), wanted


def _judge(network: Network, images: _Images, state: State) -> Accuracy:
    right, loss = _losses(network, images)
    with changed(network, state):
        right_after, loss_after = _losses(network, images)
    gained = right_after.astype(float) - right
    n = len(gained)
    error = float(gained.std(ddof=1) / n**0.5) if n > 1 else float("nan")
    before, after = float(right.mean()), float(right_after.mean())
    change = float(gained.mean())
    return Accuracy(n, before, after, change, error, float(loss.mean()), float(loss_after.mean()))


def _retrained(network: Network, images: _Images, seed: int) -> list[_Tried]:
    """The last layer fitted with each penalty, and the loss on images that it was not fitted to."""
    parts = []
    name = ""
    for batch, _ in _batches(network, images):
        name, features = last_linear(network, batch)
        parts.append(features.double().cpu())
    with evaluation_mode(network.model), torch.no_grad():
        scores = as_scores(network, network.model(batch[:1]).float())
    if is_multi_label(network, scores):
        raise UsageError("only a network of exclusive classes can be retrained")
    own = network.model.state_dict()
    weight = own[f"{name}.weight"].double().cpu()
    bias = own.get(f"{name}.bias")
    old = torch.cat(
        [weight, (torch.zeros(len(weight)) if bias is None else bias.cpu())[:, None]], 1
    )
    # Without a bias of its own the layer gets none.
    ones = torch.ones(len(images.wanted), 1) * (bias is not None)
    features = torch.cat([torch.cat(parts), ones], 1)
    wanted = torch.from_numpy(images.wanted)
    halves = [torch.from_numpy(half) for half in _halves(images, seed + 1)]
    tried = []
    for penalty in PENALTIES:
        losses = []
        for fit, test in (halves, halves[::-1]):
            rows = _fit(features[fit], wanted[fit], old, penalty)
            said = torch.nn.functional.cross_entropy(
                features[test] @ rows.T, wanted[test], reduction="sum"
            )
            losses.append(float(said))
        rows = _fit(features, wanted, old, penalty)
        state = {f"{name}.weight": rows[:, :-1].to(own[f"{name}.weight"])}
        if bias is not None:
            state[f"{name}.bias"] = rows[:, -1].to(bias)
        tried.append(_Tried("retrain", penalty, state, sum(losses) / len(wanted)))
    return tried


def _fit(features: Tensor, wanted: Tensor, old: Tensor, penalty: float) -> Tensor:
    """Logistic regression drawn to the rows ``old``: those of classes that are not shown stay.

    It minimises mean cross-entropy + penalty * |features|^2 / 2 * |rows - old|^2. scikit-learn's is
    drawn to zero instead: the network would forget what these few images do not show.
    """
    shown = wanted.unique()
    moved = torch.zeros(len(shown), features.shape[1], dtype=torch.float64, requires_grad=True)
    known = features @ old.T
    strength = penalty * features.square().sum(1).mean() / 2
    optimiser = torch.optim.LBFGS(
        [moved], max_iter=200, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        scores = known.index_add(1, shown, features @ moved.T)
        value = torch.nn.functional.cross_entropy(scores, wanted)
        value = value + strength * moved.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)
    return old.index_add(0, shown, moved.detach())


def _check_suffix(path: Path) -> Path:
    if path.suffix not in SUFFIXES:
        raise UsageError(f"weights are written to {', '.join(SUFFIXES)}, got {path.name!r}")
    return path


def _write(network: Network, state: State, path: Path) -> Path:
    """The whole state dict with the changed tensors in it."""
    # Clones: safetensors refuses tensors that share their memory.
    whole = {
        name: state.get(name, one).detach().to(one.dtype).cpu().clone().contiguous()
        for name, one in network.model.state_dict().items()
    }
    with whole_file(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(whole, temporary)
        else:
            torch.save(whole, temporary)
    return path
