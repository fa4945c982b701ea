"""Figures, drawn from results with matplotlib; none touches its global state."""

from explgraph.figures.canvas import save_figure as save_figure
from explgraph.figures.explanation import explain_figure as explain_figure
from explgraph.figures.graph import graph_figure as graph_figure
from explgraph.figures.heat_maps import Panel as Panel
from explgraph.figures.heat_maps import maps_figure as maps_figure
from explgraph.figures.nodes import contact_sheet as contact_sheet
from explgraph.figures.nodes import cut_patch as cut_patch
from explgraph.figures.nodes import node_figure as node_figure
from explgraph.figures.part import PartPanel as PartPanel
from explgraph.figures.part import part_figure as part_figure
