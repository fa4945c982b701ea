"""Figures, drawn from results with matplotlib; none touches its global state.

`canvas` is what all share, `heat_maps` lays maps over images, `attributions` puts several of one
image side by side, `nodes` draws places of nodes on images, `patches` shows what nodes look like,
`part` shows a semantic part with its votes, `markers` puts numbered discs on pictures,
`explanation` shows what a class rests on, `graph` draws the nodes of all layers. Each function
returns a `matplotlib.figure.Figure`; `save_figure` writes it.
"""

from explgraph.figures.attributions import show_attributions as show_attributions
from explgraph.figures.canvas import save_figure as save_figure
from explgraph.figures.explanation import explain_figure as explain_figure
from explgraph.figures.graph import choose_nodes as choose_nodes
from explgraph.figures.graph import graph_figure as graph_figure
from explgraph.figures.heat_maps import Panel as Panel
from explgraph.figures.heat_maps import maps_figure as maps_figure
from explgraph.figures.nodes import NodePanel as NodePanel
from explgraph.figures.nodes import found_parts_figure as found_parts_figure
from explgraph.figures.nodes import located_figure as located_figure
from explgraph.figures.nodes import node_figure as node_figure
from explgraph.figures.part import PartPanel as PartPanel
from explgraph.figures.part import part_figure as part_figure
from explgraph.figures.patches import PatchRow as PatchRow
from explgraph.figures.patches import contact_sheet as contact_sheet
from explgraph.figures.patches import cut_patch as cut_patch
