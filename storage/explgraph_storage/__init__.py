"""The database of a workspace: one SQLite file (or another SQLAlchemy URL) that holds runs, objects, the graph and its places.

`Store` is all there is to call; the other names are the records that it takes and gives.

>>> with Store.open("sqlite://", mode="create") as store:
...     store.has_graph()
False
"""

from explgraph_storage.migrations import SCHEMA_VERSION as SCHEMA_VERSION
from explgraph_storage.records import ImageRecord as ImageRecord
from explgraph_storage.records import NodeRecord as NodeRecord
from explgraph_storage.records import ObjectRecord as ObjectRecord
from explgraph_storage.records import PartAnnotation as PartAnnotation
from explgraph_storage.records import PartRecord as PartRecord
from explgraph_storage.records import PartTemplate as PartTemplate
from explgraph_storage.records import Relation as Relation
from explgraph_storage.records import RunRecord as RunRecord
from explgraph_storage.records import SemanticPartRecord as SemanticPartRecord
from explgraph_storage.records import TopPlace as TopPlace
from explgraph_storage.records import TopPlaces as TopPlaces
from explgraph_storage.store import Store as Store
