"""What a mining job is asked for, and with what means it computes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from explgraph.errors import UsageError, WorkspaceError
from explgraph.images import AnyPath, Fit, Source, read_source
from explgraph.mining import MiningConfig
from explgraph.network import Model, Network, load_network, wrap
from explgraph.peaks import PeakSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")
_PATHS = ("source", "images", "background")
_TUPLES = ("input_size", "mean", "std")  # lists in JSON
_RETIRED = ("n_candidates",)  # settings of mining that older versions stored


@dataclass(frozen=True)
class MineJob:
    """What `mine_workspace` is asked for.

    Args:
        source: folder of images, COCO file, image, or a list of images.
        model: network spec; or a network or module at hand, which later questions need again
            (`Workspace.network`).
        layers: dotted names, any order; by default the last of each of the network's last two
            stages, see `explgraph.network.last_stages`.
        weights: as in `explgraph.network.load_network`.
        input_size: (height, width), or None for the network's own.
        mean: of each channel of the network's input, in 0..1, or None for its own.
        std: likewise.
        images: folder of a COCO file's images.
        background: folder of background photographs; None = deviations per channel over the
            objects themselves.
        n_peaks: peaks kept of each map.
        mirror: look at mirror images too; else the facing is told from flipped maps, if
            ``mining.facing`` is on.
        fit: "stretch" (as published) or "letterbox".
        limit: use only the first objects.
        allow_outside: see `explgraph.images.read_source`.
        mining: settings of mining; its seed also chooses the sample that stands in for a
            background.

    >>> job = MineJob(Path("/photos"), "vgg16", ("features.28",), input_size=(96, 128))
    >>> job.to_dict()["input_size"]
    [96, 128]
    >>> MineJob.from_dict(job.to_dict()) == job
    True
    """

    source: AnyPath | Sequence[AnyPath]
    model: str | Model
    layers: Sequence[str] = ()
    weights: AnyPath | None = None
    input_size: tuple[int, int] | None = None
    images: AnyPath | None = None
    background: AnyPath | None = None
    n_peaks: int = 4
    mirror: bool = True
    fit: Fit = "stretch"
    limit: int | None = None
    mining: MiningConfig = field(default_factory=MiningConfig)
    allow_outside: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Bring lists and strings to one form: jobs that ask for the same are equal."""
        set_ = lambda name, value: object.__setattr__(self, name, value)
        if isinstance(self.layers, str):
            raise UsageError(f"layers must be a list of names, got the string {self.layers!r}")
        set_("layers", tuple(self.layers))
        for name in _PATHS:
            value = getattr(self, name)
            if value is not None:
                set_(name, _paths(value))
        if not isinstance(self.model, str):
            if self.weights is not None:
                raise UsageError("weights go with the name of a network; load them into the module")
            model = wrap(self.model, input_size=self.input_size, mean=self.mean, std=self.std)
            set_("model", model)

    def moved(
        self,
        *,
        source: AnyPath | None = None,
        images: AnyPath | None = None,
        weights: AnyPath | None = None,
        background: AnyPath | None = None,
    ) -> MineJob:
        """The same job with its files at other places; None: where they were.

        >>> job = MineJob("/old/zebra.json", "vgg16", ("features.28",), images="/old/photos")
        >>> str(job.moved(images="/new").images)
        '/new'
        >>> str(MineJob("/old", "vgg16", ("features.28",)).moved(images="/new").source)
        '/new'
        """
        changed: dict[str, Any] = {"background": background, "weights": weights}
        now = _paths(self.source)
        if source is not None:
            changed |= {"source": source, "images": images}
        elif images is not None and isinstance(now, tuple):
            root = os.path.commonpath([path.absolute().parent for path in now])
            changed["source"] = [Path(images) / path.absolute().relative_to(root) for path in now]
        elif images is not None and not self.annotations:
            changed["source"] = images
        elif images is not None and isinstance(now, Path):
            beside = Path(images) / now.name
            # A COCO file that moved with its photographs need not be named.
            is_along = not now.is_file() and beside.is_file()
            changed |= {"source": beside} if is_along else {"images": images}
        return replace(self, **{key: value for key, value in changed.items() if value is not None})

    def read_source(self) -> Source:
        """The objects that are mined; see `explgraph.images.read_source` for the errors."""
        return read_source(
            self.source, images=self.images, limit=self.limit, allow_outside=self.allow_outside
        )

    @property
    def source_name(self) -> str:
        """The source in words."""
        source = _paths(self.source)
        return f"{len(source)} files in {self.root}" if isinstance(source, tuple) else str(source)

    @property
    def root(self) -> Path:
        """The folder that the names of the images are relative to, absolute."""
        source = _paths(self.source)
        if isinstance(source, tuple):
            return Path(os.path.commonpath([path.absolute().parent for path in source])).resolve()
        root = self.images or (source if source.is_dir() else source.parent)
        return Path(root).resolve()

    @property
    def annotations(self) -> dict[str, Path]:
        """The COCO file by its name, if the source is one."""
        source = _paths(self.source)
        is_coco = isinstance(source, Path) and source.suffix.lower() == ".json"
        return {source.name: source} if is_coco and isinstance(source, Path) else {}

    @property
    def weights_file(self) -> dict[str, Path]:
        """The file of weights by its name, if it is one and there."""
        path = None if self.weights is None else Path(self.weights)
        # Names of published weights and tags are no files.
        return {path.name: path} if path is not None and os.path.isfile(path) else {}

    def load_network(self, device: str) -> Network:
        """The network; one that is at hand computes where it is."""
        if isinstance(self.model, str):
            return self.load(weights=self.weights, device=device)
        return wrap(self.model)

    def load(self, *, weights: AnyPath | None, device: str) -> Network:
        """The network by its spec, with its input as in the job."""
        shown = {name: getattr(self, name) for name in ("input_size", "mean", "std")}
        return load_network(self.spec, weights=weights, device=device, **shown)

    @property
    def spec(self) -> str:
        """The network in words; one that was handed over cannot be loaded by it."""
        return self.model if isinstance(self.model, str) else wrap(self.model).spec

    @property
    def peak_settings(self) -> PeakSettings:
        """What extraction keeps."""
        # Sorted: layers that are named in another order are the same job.
        return PeakSettings(tuple(sorted(self.layers)), self.n_peaks, self.mirror, self.fit)

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON values, its paths absolute: it can be read from anywhere."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        plain |= {"layers": list(self.layers), "mining": asdict(self.mining), "model": self.spec}
        for key in _TUPLES:
            if plain[key] is not None:
                plain[key] = list(plain[key])
        for key in _PATHS:
            if isinstance(plain[key], tuple):
                plain[key] = [str(path.absolute()) for path in plain[key]]
            elif plain[key] is not None:
                plain[key] = str(plain[key].absolute())
        # Weights may also be the name of published ones, which is no path.
        if self.weights is not None:
            path = Path(self.weights)
            plain["weights"] = str(path.absolute() if os.path.isfile(path) else self.weights)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> MineJob:
        """Return the job that `to_dict` gave; what is missing has its default.

        Raises:
            WorkspaceError: a key is unknown, or one without a default is missing.
        """
        stored = plain.get("mining", {})
        mining = {key: value for key, value in stored.items() if key not in _RETIRED}
        values = {**plain, "mining": built(MiningConfig, mining)}
        for key in _TUPLES:
            if values.get(key) is not None:
                values[key] = tuple(values[key])
        return built(cls, values)


@dataclass(frozen=True)
class Compute:
    """The means of a job; its result does not depend on them.

    >>> Compute("cpu", batch_size=16, workers=2).device
    'cpu'
    """

    device: str  # "auto", "cpu", "cuda", ...
    batch_size: int  # objects per forward pass
    workers: int  # decoding threads


def built(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings with these values, or a WorkspaceError that names what does not fit."""
    names = [one.name for one in fields(kind)]
    if unknown := [key for key in values if key not in names]:
        raise WorkspaceError(
            f"the stored job has unknown settings: {', '.join(unknown)}; another version of "
            "explgraph wrote it: use that one, or mine anew with --restart"
        )
    try:
        return kind(**values)
    except TypeError as error:
        raise WorkspaceError(
            f"the stored job is not complete ({error}); mine anew with --restart"
        ) from error


def _paths(value: AnyPath | Sequence[AnyPath]) -> Path | tuple[Path, ...]:
    return Path(value) if isinstance(value, str | os.PathLike) else tuple(map(Path, value))
