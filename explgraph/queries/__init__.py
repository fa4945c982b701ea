"""Questions: functions of a workspace or a network, one module per command."""

from explgraph.queries.ablate import try_repair as try_repair
from explgraph.queries.correspondence import correspondence_table as correspondence_table
from explgraph.queries.correspondence import parse_box as parse_box
from explgraph.queries.describe import describe_channel as describe_channel
from explgraph.queries.describe import describe_node as describe_node
from explgraph.queries.describe import describe_workspace as describe_workspace
from explgraph.queries.evaluate import Evaluation as Evaluation
from explgraph.queries.evaluate import evaluate_workspace as evaluate_workspace
from explgraph.queries.explain import explain_images as explain_images
from explgraph.queries.locate import locate_source as locate_source
from explgraph.queries.locate import locate_to_file as locate_to_file
from explgraph.queries.locate import location_rows as location_rows
from explgraph.queries.node_views import node_views as node_views
from explgraph.queries.node_views import with_node as with_node
from explgraph.queries.part_locate import locate_parts as locate_parts
from explgraph.queries.part_picture import draw_part as draw_part
from explgraph.queries.parts import Annotations as Annotations
from explgraph.queries.parts import fit_workspace_part as fit_workspace_part
from explgraph.queries.parts import suggest_images as suggest_images
from explgraph.queries.patches import DrawLocations as DrawLocations
from explgraph.queries.patches import draw_nodes as draw_nodes
