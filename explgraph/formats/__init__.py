"""Files for other programs: a mined graph, and the places of semantic parts.

`graph_files` knows the formats of a graph and writes one; `gexf`, `graphml`, `json`, `dot` and
`parquet` are these formats, and `layout` says where their drawings put the nodes. `part_tables`
does so for the places of parts (`part_place`): tables, `coco`, `cvat` and `label_studio`.
"""

from explgraph.formats.graph_files import FORMATS as FORMATS
from explgraph.formats.graph_files import export_graph as export_graph
from explgraph.formats.graph_files import graph_format as graph_format
from explgraph.formats.parquet import edges_file as edges_file
from explgraph.formats.part_place import UNSURE as UNSURE
from explgraph.formats.part_place import PartPlace as PartPlace
from explgraph.formats.part_tables import PART_FORMATS as PART_FORMATS
from explgraph.formats.part_tables import part_format as part_format
from explgraph.formats.part_tables import write_parts as write_parts
from explgraph.formats.rater_page import rater_page as rater_page
