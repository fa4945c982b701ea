"""Running a network from the middle.

Some questions change a network's maps in one place only. Ablation sets a few channels of one layer
to zero: the layers before it give what they gave. Occlusion greys one square of the image: a cell
whose receptive field misses the square keeps its value. Hooks cannot use this. They can replace an
output, but only after the layers before it have run, and always on whole maps.

**What it buys.** Ablation at a late layer costs the layers behind it instead of the whole network.
Occlusion computes small crops in the early layers, where the maps are large. The figures are in
docs/benchmarks/speed.md.

**How.** `chain` traces the forward pass with `torch.fx` into a list of steps and finds the places
where a single value is all that later steps need. There the chain can be cut. `plan` decides for a
set of squares where to cut: it counts operations and the cells that have to be copied. `crops` runs
the stages between the cuts on crops around the changed cells, each with the margin that its
receptive fields need, and pastes what comes out into the maps of the untouched image. Once most of
a map has changed, the rest runs whole. The same idea, layer by layer, is Nakandala, Kumar,
Papakonstantinou, "Incremental and approximate inference for faster occlusion-based deep CNN
explanations", SIGMOD 2019, section 4.

**When it cannot be done.** The whole network runs then, and the answer is the same, only later:

* The forward pass cannot be traced: it looks at values, or takes more than the image.
* The layer lies inside a block, which is taken whole, or later steps also need something else.
* For crops: a receptive field covers everything (global pooling, attention), the strides do not
  divide, or the network does not take an input of another size. Normalisations over the whole map
  and gates change all cells; they are found out by an input that is not a number.
"""

from explgraph.network.partial.chain import Chain as Chain
from explgraph.network.partial.chain import last_module as last_module
from explgraph.network.partial.chain import rest_of as rest_of
from explgraph.network.partial.chain import trace_chain as trace_chain
from explgraph.network.partial.crops import IncrementalPass as IncrementalPass
from explgraph.network.partial.plan import Square as Square
