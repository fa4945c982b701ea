"""The settings of mining, and one mined layer: what the miner hands to the assembly of the graph."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from explgraph.mining.mixture import Mixture
from explgraph.mining.parents import Parents
from explgraph.mining.places import Places
from explgraph.peaks.peaks import LayerPeaks


@dataclass(frozen=True)
class MiningConfig:
    """Settings of mining; defaults are published values where a source is given, else measured (docs/mining-notes.md)."""

    nodes: int = 4  # part patterns per channel at most; published 20-40, measured: fewer, steadier nodes know more
    n_rounds: int = 20  # EM rounds per layer [paper: T = 20]
    tol: float = 1e-4  # nats per activation entity; EM stops earlier when a round gains less
    n_parents: int = 15  # M [paper]
    n_candidates: int = 600  # upper nodes among which parents are chosen [code]
    parent_rounds: int = 2  # times the parents are chosen anew, each followed by EM
    parent_em_rounds: int = 6
    facing_rounds: int = 6  # times the nodes of the top layer vote on each image's facing
    std_init: float = 0.08  # fraction of the input
    std_min_cells: float = 0.5  # sigma's lower bound, cells of the layer
    std_max: float = 0.15  # sigma's upper bound, fraction of the input
    min_support: float = 5.0  # a node found in fewer images (effective number) explains nothing and is dropped
    min_images: int = 10  # below this a mean place and its spread mean nothing
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings; raises ValueError."""
        if self.nodes < 1 or self.n_rounds < 1 or self.n_parents < 1 or self.n_candidates < 1:
            raise ValueError(f"nodes, n_rounds, n_parents and n_candidates must be at least 1, got {self}")


@dataclass(frozen=True)
class MinedLayer:
    """One layer after mining; node arrays have the axis node = channel * n_nodes + index.

    Args:
        peaks: geometry of the layer (its `layer`).
        mixture: the channels' mixtures, shifts left out.
        parents: of the nodes, into the layer above; None in the top layer.
        places: of every node in every image, in the resolved facing.
        lower_bound: mean log-likelihood per activation entity before each EM round, one list per run of EM with fixed parents.
        converged: whether the last run of EM converged.
    """

    peaks: LayerPeaks
    mixture: Mixture
    parents: Parents | None
    places: Places
    lower_bound: list[list[float]]
    converged: bool

    @property
    def displacement(self) -> tuple[Tensor, Tensor]:
        """p_V(I) - mu_V, (node, image), rows and columns."""
        row, col = self.mixture.row.flatten()[:, None], self.mixture.col.flatten()[:, None]
        return self.places.row - row, self.places.col - col
