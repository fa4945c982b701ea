"""The settings of mining."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MiningConfig:
    """Settings of mining: published values where a source is given, else measured.

    The measurements are in docs/mining-notes.md.

    Args:
        nodes: part patterns per channel at most. Published 20-40; fewer, steadier nodes know more.
        n_rounds: EM rounds per layer [paper: T = 20].
        tol: EM stops when a round gains less, nats per activation entity.
        n_parents: M [paper], at most: only nodes that agree by more than chance are parents.
        facing: resolve which images show the object mirrored.
        pose_rounds: how often the pose is fitted to all nodes, each time followed by EM.
        pose_em_rounds: rounds of that EM.
        std_init: sigma at the start, fraction of the input.
        std_min_cells: lower bound of sigma, cells of the layer.
        std_max: upper bound of sigma, fraction of the input.
        min_support: images (effective number) in which a node must be found, else it is dropped.
        min_evidence: what a node must add to the log-likelihood of images that it was not fitted
            to, in ln(peaks of its channel), to be kept by itself.
        false_share: nodes with less evidence are kept where at most this share of a layer's nodes
            with as much is chance.
        min_images: below this a mean place and its spread mean nothing.
        seed: of all that is random.

    >>> MiningConfig(nodes=2).n_rounds
    20
    """

    # 8 double the graph and hardly lower the landmark error.
    nodes: int = 4
    n_rounds: int = 20
    tol: float = 1e-4
    n_parents: int = 15
    facing: bool = True
    pose_rounds: int = 3
    pose_em_rounds: int = 6
    std_init: float = 0.08
    std_min_cells: float = 0.5
    std_max: float = 0.15  # raised to 0.3 it changed nothing
    min_support: float = 5.0
    # On peaks at random places the best of 2,500 nodes reached 4.2.
    min_evidence: float = 6.0
    false_share: float = 0.05
    min_images: int = 10
    seed: int = 0

    @property
    def texture_std(self) -> float:
        """Sigma from which a node is called texture: its upper bound, up to rounding."""
        return 0.999 * self.std_max

    def __post_init__(self) -> None:
        """Check the settings; raises ValueError."""
        counts = (self.nodes, self.n_rounds, self.n_parents, self.pose_rounds)
        if min(counts) < 1:
            raise ValueError(
                f"nodes, n_rounds, n_parents and pose_rounds must be at least 1, got {self}"
            )
