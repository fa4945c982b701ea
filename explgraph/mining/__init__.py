"""Peaks -> facing, mixtures, pose, parents -> the explanatory graph.

`mine` is the way through, `layer` one layer on it. `facing` turns the images, `mixture` shares
out each channel's peaks among nodes, `pose` and `parents` say how the nodes move, `agreement`
which of them together, `place` finds them, `prune` drops what is chance, `account` says how much
is explained, `assemble` makes the graph, and `config` holds the settings. `at_hand` does all of
it for images in memory.
"""

from explgraph.mining.account import explain_images as explain_images
from explgraph.mining.account import image_shares as image_shares
from explgraph.mining.account import summarise as summarise
from explgraph.mining.at_hand import mine_images as mine_images
from explgraph.mining.config import MiningConfig as MiningConfig
from explgraph.mining.facing import SURE as SURE
from explgraph.mining.facing import FacingModel as FacingModel
from explgraph.mining.layer import MinedLayer as MinedLayer
from explgraph.mining.mine import Mined as Mined
from explgraph.mining.mine import mine as mine
from explgraph.mining.mixture import ChannelPeaks as ChannelPeaks
from explgraph.mining.mixture import Mixture as Mixture
from explgraph.mining.parents import NO_PARENT as NO_PARENT
from explgraph.mining.parents import Parents as Parents
from explgraph.mining.place import LayerModel as LayerModel
from explgraph.mining.place import place_layers as place_layers
