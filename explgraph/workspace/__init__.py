"""A workspace is a folder: the job that fills it, and the questions asked of it."""

from explgraph.workspace.corresponding import correspondence_table as correspondence_table
from explgraph.workspace.corresponding import parse_box as parse_box
from explgraph.workspace.describing import describe_channel as describe_channel
from explgraph.workspace.describing import describe_node as describe_node
from explgraph.workspace.describing import describe_workspace as describe_workspace
from explgraph.workspace.drawing import DrawLocations as DrawLocations
from explgraph.workspace.drawing import draw_nodes as draw_nodes
from explgraph.workspace.explaining import explain_images as explain_images
from explgraph.workspace.locating import locate_source as locate_source
from explgraph.workspace.locating import locate_to_file as locate_to_file
from explgraph.workspace.locating import location_rows as location_rows
from explgraph.workspace.mining_job import MineJob as MineJob
from explgraph.workspace.mining_job import MineReport as MineReport
from explgraph.workspace.mining_job import Report as Report
from explgraph.workspace.mining_job import mine_workspace as mine_workspace
from explgraph.workspace.mining_job import silent as silent
from explgraph.workspace.node_views import node_views as node_views
from explgraph.workspace.node_views import with_node as with_node
from explgraph.workspace.part_locating import locate_parts as locate_parts
from explgraph.workspace.parts import Annotations as Annotations
from explgraph.workspace.parts import fit_workspace_part as fit_workspace_part
from explgraph.workspace.parts import suggest_images as suggest_images
from explgraph.workspace.repairing import try_repair as try_repair
from explgraph.workspace.scoring import Evaluation as Evaluation
from explgraph.workspace.scoring import evaluate_workspace as evaluate_workspace
from explgraph.workspace.workspace import Workspace as Workspace
