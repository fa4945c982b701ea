"""Peaks -> facing, mixtures, parents -> the explanatory graph."""

from explgraph.mining.config import MinedLayer as MinedLayer
from explgraph.mining.config import MiningConfig as MiningConfig
from explgraph.mining.mine import Mined as Mined
from explgraph.mining.mine import mine as mine
