"""What a mining job is asked for, and with what means it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from explgraph.errors import WorkspaceError
from explgraph.images import Fit
from explgraph.mining import MiningConfig
from explgraph.peaks import PeakSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")
_PATHS = ("source", "images", "background")


@dataclass(frozen=True)
class MineJob:
    """What `mine_workspace` is asked for.

    Args:
        source: folder of images, COCO file, or image.
        model: network spec.
        layers: dotted names, any order.
        weights: as in `explgraph.network.load_network`.
        input_size: (height, width), or None for the network's own.
        images: folder of a COCO file's images.
        background: folder of background photographs; None = deviations per channel over the
            objects themselves.
        n_peaks: peaks kept of each map.
        mirror: look at mirror images too; else the facing is told from flipped maps, if
            ``mining.facing`` is on.
        fit: "stretch" (as published) or "letterbox".
        limit: use only the first objects.
        mining: settings of mining; its seed also chooses the sample that stands in for a
            background.

    >>> job = MineJob(Path("/photos"), "vgg16", ("features.28",), input_size=(96, 128))
    >>> job.to_dict()["input_size"]
    [96, 128]
    >>> MineJob.from_dict(job.to_dict()) == job
    True
    """

    source: Path
    model: str
    layers: tuple[str, ...]
    weights: str | None = None
    input_size: tuple[int, int] | None = None
    images: Path | None = None
    background: Path | None = None
    n_peaks: int = 4
    mirror: bool = True
    fit: Fit = "stretch"
    limit: int | None = None
    mining: MiningConfig = field(default_factory=MiningConfig)

    @property
    def peak_settings(self) -> PeakSettings:
        """What extraction keeps."""
        # Sorted: layers that are named in another order are the same job.
        return PeakSettings(tuple(sorted(self.layers)), self.n_peaks, self.mirror, self.fit)

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON values, its paths absolute: it can be read from anywhere."""
        plain = asdict(self) | {"layers": list(self.layers)}
        if self.input_size is not None:
            plain["input_size"] = list(self.input_size)
        for key in _PATHS:
            plain[key] = None if plain[key] is None else str(Path(plain[key]).absolute())
        # Weights may also be the name of published ones, which is no path.
        if self.weights is not None and Path(self.weights).is_file():
            plain["weights"] = str(Path(self.weights).absolute())
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> MineJob:
        """Return the job that `to_dict` gave; what is missing has its default.

        Raises:
            WorkspaceError: a key is unknown, or one without a default is missing.
        """
        values = {**plain, "mining": built(MiningConfig, plain.get("mining", {}))}
        for key in ("layers", "input_size"):
            if values.get(key) is not None:
                values[key] = tuple(values[key])
        for key in _PATHS:
            if values.get(key) is not None:
                values[key] = Path(values[key])
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
