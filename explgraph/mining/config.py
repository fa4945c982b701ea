"""The settings of mining, and one mined layer: what the miner hands to the assembly of the graph."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from explgraph.graph import Account
from explgraph.mining.mixture import Mixture
from explgraph.mining.parents import Parents
from explgraph.mining.place import Places
from explgraph.mining.placing import LayerModel
from explgraph.peaks import LayerPeaks


@dataclass(frozen=True)
class MiningConfig:
    """Settings of mining; defaults are published values where a source is given, else measured (docs/mining-notes.md)."""

    nodes: int = 4  # part patterns per channel at most; published 20-40, measured: fewer, steadier nodes know more
    n_rounds: int = 20  # EM rounds per layer [paper: T = 20]
    tol: float = 1e-4  # nats per activation entity; EM stops earlier when a round gains less
    n_parents: int = 15  # M [paper]
    n_candidates: int = 600  # upper nodes among which parents are chosen [code]
    facing: bool = True  # resolve which images show the object mirrored
    pose_rounds: int = (
        3  # times the pose is fitted to all nodes, each followed by EM about where it expects them
    )
    pose_em_rounds: int = 6
    std_init: float = 0.08  # fraction of the input
    std_min_cells: float = 0.5  # sigma's lower bound, cells of the layer
    std_max: float = 0.15  # sigma's upper bound, fraction of the input
    min_support: float = (
        5.0  # a node found in fewer images (effective number) explains nothing and is dropped
    )
    min_evidence: float = 6.0  # a node that adds less to the log-likelihood, in ln(peaks of the channel), is no more than chance
    min_images: int = 10  # below this a mean place and its spread mean nothing
    seed: int = 0

    @property
    def texture_std(self) -> float:
        """Sigma from which a node is called texture: its upper bound, up to rounding."""
        return 0.999 * self.std_max

    def __post_init__(self) -> None:
        """Check the settings; raises ValueError."""
        if (
            self.nodes < 1
            or self.n_rounds < 1
            or self.n_parents < 1
            or self.n_candidates < 1
            or self.pose_rounds < 1
        ):
            raise ValueError(
                f"nodes, n_rounds, n_parents, n_candidates and pose_rounds must be at least 1, got {self}"
            )


@dataclass(frozen=True)
class MinedLayer:
    """One layer after mining; node arrays have the axis node = channel * n_nodes + index.

    Args:
        peaks: geometry of the layer (its `layer`).
        model: the channels' mixtures, the nodes' loadings and parents.
        places: of every node in every image, in the resolved facing.
        score: S_V(I), (node, image).
        explained: how much of each channel the nodes explain.
        lower_bound: mean log-likelihood per activation entity before each EM round, one list per run of EM with fixed parents.
        converged: whether the last run of EM converged.
    """

    peaks: LayerPeaks
    model: LayerModel
    places: Places
    score: Tensor
    explained: Account
    lower_bound: list[list[float]]
    converged: bool

    @property
    def mixture(self) -> Mixture:
        """The channels' mixtures, without shifts."""
        return self.model.mixture

    @property
    def parents(self) -> Parents | None:
        """Of the nodes, into the layer above; None in the top layer."""
        return self.model.parents
