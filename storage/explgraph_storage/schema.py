"""The tables. ``docs/storage.md`` describes them for readers of the file; a test keeps both alike.

The columns of ``nodes`` and ``edges`` are the attributes of `explgraph.graph` under their own names, so a row is a node's
attribute dict. Ids of nodes and edges count from 1 in the order in which a graph must be filled to come back as it was.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from explgraph.graph import EDGE_ATTRIBUTES


class Base(DeclarativeBase):
    """Base of the models; ``float`` is an exact 64-bit column."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger().with_variant(
            Integer(), "sqlite"
        ),  # COCO's ids exceed 32 bits; SQLite's INTEGER has 64
        float: Double,
        str: Text,
    }


class SchemaVersion(Base):
    """One row per schema version that this file has gone through; the highest is its version."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    applied_at: Mapped[str]


class Run(Base):
    """One call of a command that writes to the workspace, with all that its result depends on."""

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint("status IN ('running', 'finished', 'failed')", name="known_status"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    command: Mapped[str]
    status: Mapped[str]
    started_at: Mapped[str]
    finished_at: Mapped[str | None]
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    extraction_fingerprint: Mapped[str | None]
    mining_fingerprint: Mapped[str | None]
    weights_sha256: Mapped[str | None]
    versions: Mapped[dict[str, Any]] = mapped_column(JSON)
    seed: Mapped[int | None]
    error: Mapped[str | None]


class Image(Base):
    """One photograph."""

    __tablename__ = "images"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str] = mapped_column(unique=True)
    width: Mapped[int]
    height: Mapped[int]


class Object(Base):
    """One object of an image; its id is the ``annotation_id`` of the locations table."""

    __tablename__ = "objects"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    x: Mapped[float]
    y: Mapped[float]
    width: Mapped[float]
    height: Mapped[float]
    label: Mapped[str | None]
    landmarks: Mapped[dict[str, Any]] = mapped_column(JSON)
    mirrored: Mapped[bool | None]


class SkippedFile(Base):
    """A file or annotation that gave no object."""

    __tablename__ = "skipped"
    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
    reason: Mapped[str]


class Part(Base):
    """A finished part of the extraction."""

    __tablename__ = "parts"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    file: Mapped[str]
    fingerprint: Mapped[str]
    n_objects: Mapped[int]
    n_peaks: Mapped[int]
    sha256: Mapped[str]
    finished_at: Mapped[str]


class GraphAttribute(Base):
    """What ``graph.graph`` holds beside its layers: ``n_images``, ``config``, ..."""

    __tablename__ = "graph_attributes"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSON, nullable=False)


class Layer(Base):
    """A mined layer, the top one at position 0, with the deviations that its responses were divided by."""

    __tablename__ = "layers"
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(unique=True)
    channels: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    stride_row: Mapped[float]
    stride_col: Mapped[float]
    first_row: Mapped[float]
    first_col: Mapped[float]
    size_row: Mapped[float]
    size_col: Mapped[float]
    fallback: Mapped[bool] = mapped_column(default=False)
    unit_std: Mapped[bytes | None]  # float32, little endian, C order
    unit_std_shape: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))


class Node(Base):
    """A part pattern."""

    __tablename__ = "nodes"
    __table_args__ = (Index("nodes_by_channel", "layer", "channel", "index", unique=True),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(unique=True)
    layer: Mapped[str] = mapped_column(ForeignKey("layers.name"))
    channel: Mapped[int]
    index: Mapped[int]
    row: Mapped[float]
    col: Mapped[float]
    std: Mapped[float]
    weight: Mapped[float]
    none: Mapped[float]
    support: Mapped[float]
    score: Mapped[float]
    communality: Mapped[float]
    kind: Mapped[str]
    loadings: Mapped[bytes | None]  # float64, little endian: (2, q)


class Edge(Base):
    """A relation from a node of one layer to a node of the next layer below."""

    __tablename__ = "edges"
    __table_args__ = (
        Index("edges_by_lower", "lower_id", "upper_id", unique=True),
        Index("edges_by_upper", "upper_id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    upper_id: Mapped[int] = mapped_column(ForeignKey("nodes.id"))
    lower_id: Mapped[int] = mapped_column(ForeignKey("nodes.id"))
    d_row: Mapped[float]
    d_col: Mapped[float]
    std: Mapped[float]
    weight: Mapped[float]


class TopPlaceRow(Base):
    """The place of a node on one of its best objects; rank 1 is the best."""

    __tablename__ = "top_places"
    __table_args__ = (
        Index("top_places_by_object", "object_id"),
        {"sqlite_with_rowid": False},  # sorted by its key, without a second copy of it
    )
    node_id: Mapped[int] = mapped_column(
        ForeignKey("nodes.id"), primary_key=True, autoincrement=False
    )
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    object_id: Mapped[int] = mapped_column(ForeignKey("objects.id", ondelete="CASCADE"))
    x: Mapped[float]
    y: Mapped[float]
    score: Mapped[float]


class SemanticPartRow(Base):
    """A part that someone named and marked, such as the head: the Or above its templates."""

    __tablename__ = "semantic_parts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    contrast: Mapped[float]
    fitted_at: Mapped[str]


class PartAnnotationRow(Base):
    """Where a part was marked on an object."""

    __tablename__ = "part_annotations"
    __table_args__ = (Index("annotations_by_part", "part_id", "object_id", unique=True),)
    id: Mapped[int] = mapped_column(primary_key=True)
    part_id: Mapped[int] = mapped_column(ForeignKey("semantic_parts.id", ondelete="CASCADE"))
    object_id: Mapped[int] = mapped_column(ForeignKey("objects.id", ondelete="CASCADE"), index=True)
    x: Mapped[float]
    y: Mapped[float]


class PartTemplateRow(Base):
    """What an annotation teaches: the And of the nodes that vote."""

    __tablename__ = "part_templates"
    annotation_id: Mapped[int] = mapped_column(
        ForeignKey("part_annotations.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    correction_row: Mapped[float]
    correction_col: Mapped[float]
    pose: Mapped[bytes]  # float64, little endian


class PartVoteRow(Base):
    """The vote of a node in a template; rank 1 has most to say in the part."""

    __tablename__ = "part_votes"
    __table_args__ = (Index("votes_by_node", "node_id"), {"sqlite_with_rowid": False})
    annotation_id: Mapped[int] = mapped_column(
        ForeignKey("part_templates.annotation_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id"))
    weight: Mapped[float]
    d_row: Mapped[float]
    d_col: Mapped[float]
    presence: Mapped[float]


def table_of(model: type[Base]) -> Table:
    """Return the table of a model, for Core statements."""
    return Base.metadata.tables[model.__tablename__]


def create_tables(connection: Connection) -> None:
    """Create every table, index and view of the newest schema."""
    Base.metadata.create_all(connection)
    connection.exec_driver_sql(f"CREATE VIEW node_edges AS {_node_edges(connection)}")


def _node_edges(connection: Connection) -> str:
    """Return the query behind ``node_edges``: edges with the names of their ends, for people at an SQL prompt."""
    upper, lower = aliased(Node), aliased(Node)
    columns = (table_of(Edge).c[name] for name in EDGE_ATTRIBUTES)
    query = select(upper.name.label("upper"), lower.name.label("lower"), *columns)
    query = query.join_from(Edge, upper, Edge.upper_id == upper.id).join(
        lower, Edge.lower_id == lower.id
    )
    return str(query.compile(dialect=connection.dialect))
