"""images -> feature maps -> peaks -> mixtures -> graph -> answers -> files and pages."""

from explgraph.graph import ExplanatoryGraph as ExplanatoryGraph

__version__ = "0.1.0"
