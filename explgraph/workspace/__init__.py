"""A workspace is a folder: what it holds, and the job that fills it.

`settings` says what a job is asked for, `job` runs it, `resume` tells which of its peaks are
there already, `best` keeps each node's best objects, and `workspace` reads what was mined.
"""

from explgraph.workspace.database import open_database as open_database
from explgraph.workspace.job import MineReport as MineReport
from explgraph.workspace.job import mine_workspace as mine_workspace
from explgraph.workspace.settings import Compute as Compute
from explgraph.workspace.settings import MineJob as MineJob
from explgraph.workspace.workspace import Workspace as Workspace
