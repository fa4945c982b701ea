"""Peaks -> facing, mixtures, parents -> the explanatory graph."""

from explgraph.mining.miner import Mined as Mined
from explgraph.mining.miner import MinedLayer as MinedLayer
from explgraph.mining.miner import MiningConfig as MiningConfig
from explgraph.mining.miner import mine as mine
