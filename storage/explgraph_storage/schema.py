"""The tables. ``docs/storage.md`` describes them for readers of the file; a test keeps both alike.

The columns of ``nodes`` and ``edges`` are the attributes of `explgraph.graph` under their own
names, so a row is a node's attribute dict. Ids of nodes and edges count from 1 in the order in
which a graph must be filled to come back as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    select,
)
from sqlalchemy.types import TypeEngine

from explgraph.graph import EDGE_COLUMNS

_INTEGER = BigInteger().with_variant(Integer(), "sqlite")  # COCO's ids exceed 32 bits


def _of(kind: TypeEngine[Any]) -> Callable[..., list[Column[Any]]]:
    """Return a function that makes columns of one type; NULL only where it is asked for."""

    def columns(*names: str, nullable: bool = False, **options: Any) -> list[Column[Any]]:
        return [Column(name, kind, nullable=nullable, **options) for name in names]

    return columns


_integers, _reals, _texts = _of(_INTEGER), _of(Double()), _of(Text())
# None as NULL: SQLAlchemy would store JSON's "null", which IS NULL does not find.
_flags, _blobs, _json = _of(Boolean()), _of(LargeBinary()), _of(JSON(none_as_null=True))


def _key(name: str) -> Column[Any]:
    """A primary key that the database numbers itself."""
    return Column(name, _INTEGER, primary_key=True)


def _own_key(name: str, *refers: ForeignKey) -> Column[Any]:
    """A primary key that the caller gives."""
    # Without autoincrement=False PostgreSQL would get a sequence that nobody asks.
    return Column(name, _INTEGER, *refers, primary_key=True, autoincrement=False)


def _to(column: str, *, follows: bool = False) -> ForeignKey:
    """A reference; a row that ``follows`` goes when the one that it refers to goes."""
    # Where nothing follows, deleting what is still referred to is refused.
    return ForeignKey(column, ondelete="CASCADE" if follows else None)


def _refers(name: str, to: ForeignKey, *, index: bool = False) -> Column[Any]:
    # An index where rows follow: SQLite else searches the whole table for each row that goes.
    return Column(name, _INTEGER, to, index=index, nullable=False)


METADATA = MetaData()

# The schema versions that this file has gone through; the highest is its version.
SCHEMA_VERSIONS = Table("schema_version", METADATA, _own_key("version"), *_texts("applied_at"))

# Calls of a command that writes to the workspace, with all that the result depends on.
RUNS = Table(
    "runs",
    METADATA,
    _key("id"),
    *_texts("command", "status", "started_at"),
    *_texts("finished_at", nullable=True),
    *_json("config"),
    *_texts("extraction_fingerprint", "mining_fingerprint", "weights_sha256", nullable=True),
    *_json("versions"),
    *_integers("seed", nullable=True),
    *_texts("error", nullable=True),
    CheckConstraint("status IN ('running', 'finished', 'failed')", name="known_status"),
)

# The photographs.
IMAGES = Table(
    "images",
    METADATA,
    _own_key("id"),
    *_texts("path", unique=True),
    *_integers("width", "height"),
)

# Objects of the images; the id is the ``annotation_id`` of the locations table.
OBJECTS = Table(
    "objects",
    METADATA,
    _own_key("id"),
    _refers("image_id", _to("images.id", follows=True), index=True),
    *_reals("x", "y", "width", "height"),
    *_texts("label", nullable=True),
    *_json("landmarks"),
    *_flags("mirrored", nullable=True),
)

# Files and annotations that gave no object.
SKIPPED = Table("skipped", METADATA, _key("id"), *_texts("path", "reason"))

# The ledger of finished shards of the peak store, under the name that they had first.
SHARDS = Table(
    "parts",
    METADATA,
    _own_key("number"),
    *_texts("file", "fingerprint"),
    *_integers("n_objects", "n_peaks"),
    *_texts("sha256", "finished_at"),
)

# Files that the workspace holds or was made from, as they were, whatever their role: locations,
# deviations, photograph, annotations (the COCO file), weights; and "graph", the rows of its tables.
FILES = Table(
    "files",
    METADATA,
    Column("role", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    *_integers("bytes"),
    *_texts("sha256"),
)

# What ``graph.graph`` holds beside its layers: ``n_images``, ``config``, ...
GRAPH_ATTRIBUTES = Table(
    "graph_attributes",
    METADATA,
    Column("name", Text, primary_key=True),
    # Here None is JSON's "null": an attribute that is None comes back as None.
    Column("value", JSON, nullable=False),
)

# The mined layers, the top one at position 0, with the deviations of their units.
LAYERS = Table(
    "layers",
    METADATA,
    _own_key("position"),
    *_texts("name", unique=True),
    *_integers("channels", "height", "width"),
    *_reals("stride_row", "stride_col", "first_row", "first_col", "size_row", "size_col"),
    *_flags("fallback"),
    *_blobs("unit_std", nullable=True),  # float32, little endian, C order
    # (channels, height, width) with a background, (channels, 1, 1) without.
    *_json("unit_std_shape", nullable=True),
)

# The part patterns.
NODES = Table(
    "nodes",
    METADATA,
    _own_key("id"),
    *_texts("name", unique=True),
    Column("layer", Text, ForeignKey("layers.name"), nullable=False),
    *_integers("channel", "index"),
    *_reals("row", "col", "std", "weight", "none", "support", "score", "communality"),
    *_texts("kind"),
    *_blobs("loadings", nullable=True),  # float64, little endian: (2, q)
    Index("nodes_by_channel", "layer", "channel", "index", unique=True),
)

# From a node of one layer to a node of the next layer below.
EDGES = Table(
    "edges",
    METADATA,
    _own_key("id"),
    _refers("upper_id", _to("nodes.id")),
    _refers("lower_id", _to("nodes.id")),
    *_reals("d_row", "d_col", "std", "weight"),
    *_reals("co_firing", nullable=True),
    Index("edges_by_lower", "lower_id", "upper_id", unique=True),
    Index("edges_by_upper", "upper_id"),
)

# The places of each node on its best objects; rank 1 is the best.
TOP_PLACES = Table(
    "top_places",
    METADATA,
    _own_key("node_id", _to("nodes.id")),
    _own_key("rank"),
    _refers("object_id", _to("objects.id", follows=True)),
    *_reals("x", "y", "score"),
    Index("top_places_by_object", "object_id"),
    sqlite_with_rowid=False,  # sorted by its key, without a second copy of it
)

# Parts that someone named and marked, such as the head: each the Or above its templates.
SEMANTIC_PARTS = Table(
    "semantic_parts",
    METADATA,
    _key("id"),
    *_texts("name", unique=True),
    *_json("config"),
    *_reals("contrast"),
    *_texts("fitted_at"),
)

# Where a part was marked on an object.
PART_ANNOTATIONS = Table(
    "part_annotations",
    METADATA,
    _key("id"),
    _refers("part_id", _to("semantic_parts.id", follows=True)),
    _refers("object_id", _to("objects.id", follows=True), index=True),
    *_reals("x", "y"),
    Index("annotations_by_part", "part_id", "object_id", unique=True),
)

# What an annotation teaches: the And of the nodes that vote.
PART_TEMPLATES = Table(
    "part_templates",
    METADATA,
    _own_key("annotation_id", _to("part_annotations.id", follows=True)),
    *_reals("correction_row", "correction_col"),
    *_blobs("pose"),  # float64, little endian
)

# The votes of nodes in a template; rank 1 is the heaviest in the part.
PART_VOTES = Table(
    "part_votes",
    METADATA,
    _own_key("annotation_id", _to("part_templates.annotation_id", follows=True)),
    _own_key("rank"),
    _refers("node_id", _to("nodes.id")),
    *_reals("weight", "d_row", "d_col", "presence"),
    Index("votes_by_node", "node_id"),
    sqlite_with_rowid=False,
)

# What people call nodes and filters. They outlive the graph: see `explgraph_storage.names`.
NAMES = Table(
    "names",
    METADATA,
    Column("target", Text, primary_key=True),  # a node's id, or layer:channel
    *_texts("name", "origin", "given_at"),
    # By what the node is known again in another graph; NULL for a filter.
    *_reals("row", "col", "std", nullable=True),
    *_json("places", nullable=True),  # [[photograph, x, y], ...], its best ones
    *_texts("weights_sha256", nullable=True),
)

# Networks with filters silenced, damped or their last layer retrained: what was changed.
REPAIRS = Table(
    "repairs",
    METADATA,
    _key("id"),
    *_texts("method"),
    *_json("config", "figures"),
    *_blobs("weights"),  # safetensors: the tensors of the state dict that changed
    *_texts("weights_sha256", "made_at"),
)


def create_tables(connection: Connection) -> None:
    """Create every table, index and view of the newest schema."""
    METADATA.create_all(connection)
    create_view(connection)


def create_view(connection: Connection) -> None:
    """Create the view ``node_edges``."""
    # For people at an SQL prompt: edges with the names of their ends.
    upper, lower = NODES.alias("nodes_1"), NODES.alias("nodes_2")
    names = (upper.c.name.label("upper"), lower.c.name.label("lower"))
    query = select(*names, *(EDGES.c[name] for name in EDGE_COLUMNS))
    query = query.join_from(EDGES, upper, EDGES.c.upper_id == upper.c.id)
    query = query.join(lower, EDGES.c.lower_id == lower.c.id)
    text = str(query.compile(dialect=connection.dialect))
    connection.exec_driver_sql(f"CREATE VIEW node_edges AS {text}")
