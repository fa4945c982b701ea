"""A workspace is a folder: what it holds, and the job that fills it.

`settings` says what a job is asked for, `job` runs it, `resume` tells which of its peaks are
there already, `best` keeps each node's best objects, and `workspace` reads what was mined.
`database` says where the tables are, `integrity` whether the files are as they were.
"""

from explgraph.workspace.database import open_database as open_database
from explgraph.workspace.database import remember_database as remember_database
from explgraph.workspace.database import set_aside_database as set_aside_database
from explgraph.workspace.integrity import ANNOTATIONS as ANNOTATIONS
from explgraph.workspace.integrity import DEVIATIONS as DEVIATIONS
from explgraph.workspace.integrity import LOCATIONS as LOCATIONS
from explgraph.workspace.integrity import PHOTOGRAPH as PHOTOGRAPH
from explgraph.workspace.integrity import ROLES as ROLES
from explgraph.workspace.integrity import WEIGHTS as WEIGHTS
from explgraph.workspace.integrity import faults_of as faults_of
from explgraph.workspace.integrity import record_files as record_files
from explgraph.workspace.integrity import shard_faults as shard_faults
from explgraph.workspace.job import MineReport as MineReport
from explgraph.workspace.job import mine_workspace as mine_workspace
from explgraph.workspace.resume import RELOCATE as RELOCATE
from explgraph.workspace.resume import Identity as Identity
from explgraph.workspace.resume import digest_objects as digest_objects
from explgraph.workspace.resume import stored_job as stored_job
from explgraph.workspace.settings import Compute as Compute
from explgraph.workspace.settings import MineJob as MineJob
from explgraph.workspace.workspace import Workspace as Workspace
