"""Peaks -> facing, mixtures, parents -> the explanatory graph."""

from explgraph.mining.layer import MinedLayer as MinedLayer
from explgraph.mining.layer import MiningConfig as MiningConfig
from explgraph.mining.miner import Mined as Mined
from explgraph.mining.miner import mine as mine
