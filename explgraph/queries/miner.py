"""Mining as an estimator of scikit-learn: fit a graph, turn images into scores of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from explgraph.errors import UsageError
from explgraph.graph import ExplanatoryGraph
from explgraph.locations import NodeLocations, locate_images
from explgraph.mining import MiningConfig, mine_images
from explgraph.network import Model

Output = Literal["scores", "places"]


class ExplanatoryGraphMiner(TransformerMixin, BaseEstimator):
    """Part patterns of a network as features of images, in scikit-learn's manner.

    Args:
        model: a network; or a plain module, see `explgraph.wrap`.
        layers: dotted names of one to four layers.
        background: images without such objects; see `explgraph.mine_images`.
        nodes: part patterns per channel at most.
        n_peaks: peaks kept of each map.
        mirror: look at mirror images too.
        output: what `transform` gives of each node: "scores", how surely it was found, 0..1; or
            "places", its (row, column), fractions of the input.
        batch_size: images per forward pass.
        random_state: seed of mining, a whole number.

    Attributes:
        graph_: the explanatory graph.

    >>> files = [*pictures.iterdir()] * 3
    >>> miner = ExplanatoryGraphMiner(network, ["features.14"], nodes=1).fit(files)
    >>> scores = miner.transform(files[:2])
    >>> scores.shape == (2, len(miner.graph_)) == (2, len(miner.get_feature_names_out()))
    True
    """

    graph_: ExplanatoryGraph

    def __init__(
        self,
        model: Model | None = None,
        layers: Sequence[str] = (),
        *,
        background: Any = None,
        nodes: int = 4,
        n_peaks: int = 4,
        mirror: bool = True,
        output: Output = "scores",
        batch_size: int = 16,
        random_state: int = 0,
    ) -> None:
        self.model = model
        self.layers = layers
        self.background = background
        self.nodes = nodes
        self.n_peaks = n_peaks
        self.mirror = mirror
        self.output = output
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Mine the graph of the images; ``y`` is not looked at.

        Args:
            X: images, see `explgraph.network.ImageSet`: (n, 3, height, width) as the network
                takes them, RGB uint8 (n, height, width, 3), a Dataset, a DataLoader, files.
            y: nothing.

        Raises:
            UsageError: no model, or images of another kind; others as `explgraph.mine_images`.
        """
        self.graph_ = mine_images(
            self._model(),
            X,
            self.layers,
            background=self.background,
            n_peaks=self.n_peaks,
            mirror=self.mirror,
            mining=MiningConfig(nodes=self.nodes, seed=self.random_state),
            batch_size=self.batch_size,
        )
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """What `output` says of every node in each image, (n, features)."""
        if self.output not in ("scores", "places"):
            raise UsageError(f"output must be 'scores' or 'places', got {self.output!r}")
        found = self.locate(X)
        return found.score if self.output == "scores" else found.place.reshape(len(found.place), -1)

    def locate(self, X: Any) -> NodeLocations:
        """Where every node is in each image, and how surely."""
        check_is_fitted(self)
        return locate_images(self._model(), X, self.graph_, batch_size=self.batch_size)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The id of each node; with ``output="places"`` followed by "row" and by "col"."""
        check_is_fitted(self)
        nodes = self.graph_.ordered_nodes()
        if self.output == "places":
            nodes = tuple(f"{name} {axis}" for name in nodes for axis in ("row", "col"))
        return np.array(nodes, dtype=object)

    def _model(self) -> Model:
        if self.model is None:
            raise UsageError(
                "ExplanatoryGraphMiner needs a network: ExplanatoryGraphMiner(model, layers)"
            )
        return self.model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True  # images are no table: their own checks refuse what is wrong
        tags.transformer_tags.preserves_dtype = []
        return tags
