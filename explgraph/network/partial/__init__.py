"""Running a network from the middle: as a chain of stages, and on crops of maps."""

from explgraph.network.partial.chain import Chain as Chain
from explgraph.network.partial.chain import last_module as last_module
from explgraph.network.partial.chain import rest_of as rest_of
from explgraph.network.partial.chain import trace_chain as trace_chain
from explgraph.network.partial.crops import IncrementalPass as IncrementalPass
from explgraph.network.partial.crops import Square as Square
