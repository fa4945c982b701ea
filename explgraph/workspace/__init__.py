"""A workspace is a folder: what it holds, and the job that fills it."""

from explgraph.workspace.job import MineJob as MineJob
from explgraph.workspace.job import MineReport as MineReport
from explgraph.workspace.job import mine_workspace as mine_workspace
from explgraph.workspace.known import read_known as read_known
from explgraph.workspace.workspace import Workspace as Workspace
