"""A CNN by its spec, with named layers: loading, hooks, and where each cell of a map looks at.

`load` finds the network that a spec names, in the `zoo` of published ones or through a `factory` of
one's own, and `weights` fits a state dict to it. `wrap` takes a module as it is. `network` is what
comes out, and `inputs` makes images of any kind what it takes. `layers` runs it and hands out the
maps of named layers. `geometry` measures which pixels each cell looks at, by running the network on
coordinates (`receptive`), and `stages` chooses layers to mine. `partial` is a room of its own:
running from the middle.
"""

from explgraph.network.changes import State as State
from explgraph.network.changes import changed as changed
from explgraph.network.changes import last_linear as last_linear
from explgraph.network.changes import scale_channel as scale_channel
from explgraph.network.geometry import list_layers as list_layers
from explgraph.network.geometry import list_vectors as list_vectors
from explgraph.network.geometry import measure_geometry as measure_geometry
from explgraph.network.inputs import PICTURES as PICTURES
from explgraph.network.inputs import ImageSet as ImageSet
from explgraph.network.inputs import Picture as Picture
from explgraph.network.inputs import require_finite as require_finite
from explgraph.network.known import once as once
from explgraph.network.known import recall as recall
from explgraph.network.layers import evaluation_mode as evaluation_mode
from explgraph.network.layers import feature_maps as feature_maps
from explgraph.network.layers import find_layers as find_layers
from explgraph.network.layers import forward_errors as forward_errors
from explgraph.network.layers import watch_layers as watch_layers
from explgraph.network.layout import Layout as Layout
from explgraph.network.layout import has_plain_maps as has_plain_maps
from explgraph.network.layout import has_vectors as has_vectors
from explgraph.network.layout import layout_of as layout_of
from explgraph.network.layout import learn_layouts as learn_layouts
from explgraph.network.load import load_network as load_network
from explgraph.network.network import InputSpec as InputSpec
from explgraph.network.network import Network as Network
from explgraph.network.network import blank_input as blank_input
from explgraph.network.network import fast_layout as fast_layout
from explgraph.network.network import wide_dtype as wide_dtype
from explgraph.network.stages import last_stages as last_stages
from explgraph.network.wrap import Model as Model
from explgraph.network.wrap import wrap as wrap
