"""The columns are those of the graph, and any database can have them."""

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from explgraph.graph import EDGE_COLUMNS, LAYER_ATTRIBUTES, LOADINGS, NODE_ATTRIBUTES
from explgraph_storage.schema import METADATA


def test_columns_are_the_attributes_of_the_graph_under_their_own_names():
    def columns(table, own):
        return {
            column.name: column.type.python_type
            for column in METADATA.tables[table].c
            if column.name not in own
        }

    assert columns("nodes", ("id", "name")) == {**NODE_ATTRIBUTES, LOADINGS: bytes}
    assert columns("edges", ("id", "upper_id", "lower_id")) == EDGE_COLUMNS
    of_layer = set(LAYER_ATTRIBUTES)
    pairs = {"stride", "first", "size"}
    expected = (of_layer - pairs) | {f"{name}_{axis}" for name in pairs for axis in ("row", "col")}
    assert columns("layers", ("position", "unit_std", "unit_std_shape")).keys() - {
        "fallback"
    } == expected - {"fallback"}


def test_the_schema_can_be_said_in_postgresql():
    for table in METADATA.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
        for index in table.indexes:
            assert "INDEX" in str(CreateIndex(index).compile(dialect=postgresql.dialect()))
