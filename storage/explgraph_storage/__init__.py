"""The database of a workspace: one SQLite file, or another SQLAlchemy URL.

`Store` is all there is to call. `schema` holds the tables and `migrations` brings older ones up to
date; `engine` connects, `database` opens, locks and gives transactions. `ledger`, `sources`,
`graphs` (with `graph_rows`), `parts` and `names` write and read their tables; `records` is what
they take and give.
"""

from explgraph_storage.engine import REPAIR as REPAIR
from explgraph_storage.migrations import SCHEMA_VERSION as SCHEMA_VERSION
from explgraph_storage.records import FileRecord as FileRecord
from explgraph_storage.records import ImageRecord as ImageRecord
from explgraph_storage.records import NameRecord as NameRecord
from explgraph_storage.records import NodeRecord as NodeRecord
from explgraph_storage.records import ObjectRecord as ObjectRecord
from explgraph_storage.records import PartAnnotation as PartAnnotation
from explgraph_storage.records import PartTemplate as PartTemplate
from explgraph_storage.records import Relation as Relation
from explgraph_storage.records import RepairRecord as RepairRecord
from explgraph_storage.records import RunRecord as RunRecord
from explgraph_storage.records import SemanticPartRecord as SemanticPartRecord
from explgraph_storage.records import ShardRecord as ShardRecord
from explgraph_storage.records import TopPlace as TopPlace
from explgraph_storage.records import TopPlaces as TopPlaces
from explgraph_storage.store import Store as Store
