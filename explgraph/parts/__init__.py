"""Semantic parts from one to a few annotations: the And-Or graph on top of the graph.

`and_or` is a part as data, `nodes` what it is built on. `fit` makes one from annotations (`marks`),
`likeness` compares objects, `locate` finds the part, `joint` several parts together, and `suggest`
says what to annotate next. `known` are the objects that the graph was mined from.
"""

from explgraph.parts.and_or import FoundPart as FoundPart
from explgraph.parts.and_or import PartConfig as PartConfig
from explgraph.parts.and_or import SemanticPart as SemanticPart
from explgraph.parts.fit import MIN_CONTRAST as MIN_CONTRAST
from explgraph.parts.fit import fit_part as fit_part
from explgraph.parts.joint import fit_star as fit_star
from explgraph.parts.joint import locate_jointly as locate_jointly
from explgraph.parts.known import KnownObjects as KnownObjects
from explgraph.parts.locate import locate_part as locate_part
from explgraph.parts.marks import Mark as Mark
from explgraph.parts.marks import Marked as Marked
from explgraph.parts.marks import check_marks as check_marks
from explgraph.parts.marks import fit_marks as fit_marks
from explgraph.parts.marks import mark_at as mark_at
from explgraph.parts.marks import marks_from_coco as marks_from_coco
from explgraph.parts.marks import read_marks as read_marks
from explgraph.parts.marks import same_mark as same_mark
from explgraph.parts.nodes import NodeTraits as NodeTraits
from explgraph.parts.nodes import SeenNodes as SeenNodes
from explgraph.parts.nodes import node_traits as node_traits
from explgraph.parts.nodes import turn as turn
from explgraph.parts.suggest import suggest as suggest
