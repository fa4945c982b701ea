"""Older databases become new ones when they are written to, and are left alone until then."""

import pytest
from builders.databases import VERSION_4, ask, run_script, traces
from builders.graphs import assert_same, make_graph, sway, without_co_firing
from sqlalchemy import Column, Connection, Integer, MetaData, Table

from explgraph.errors import StoreError
from explgraph_storage import SCHEMA_VERSION, Store
from explgraph_storage.engine import find_place, open_engine, transaction
from explgraph_storage.migrations import find_version, migrate


def test_a_newer_schema_is_refused(file):
    ask(file, "INSERT INTO schema_version VALUES (99, '2099-01-01T00:00:00Z')")
    for mode in ("read", "write", "create"):
        with pytest.raises(
            StoreError, match=rf"at most {SCHEMA_VERSION}, got 99.*upgrade explgraph"
        ):
            Store.open(file, mode=mode)


def add_colours(connection: Connection) -> None:
    Table("colours", MetaData(), Column("id", Integer, primary_key=True)).create(connection)


def fail(connection: Connection) -> None:
    add_colours(connection)
    raise RuntimeError("migration broke off")


def test_an_older_database_runs_through_the_migrations_that_it_has_not_seen(file):
    place = find_place(file)
    engine = open_engine(place, writing=True)
    steps = [lambda connection: None] * (SCHEMA_VERSION - 1) + [add_colours]
    for _ in range(2):
        with transaction(engine, place, writing=True) as connection:
            migrate(connection, steps)
            assert find_version(connection, SCHEMA_VERSION + 1) == SCHEMA_VERSION + 1
    engine.dispose()
    with pytest.raises(StoreError, match="upgrade"):
        Store.open(file)


def test_a_migration_that_breaks_off_changes_nothing(file):
    place = find_place(file)
    engine = open_engine(place, writing=True)
    with (
        pytest.raises(RuntimeError, match="broke off"),
        transaction(engine, place, writing=True) as connection,
    ):
        migrate(connection, [lambda connection: None] * (SCHEMA_VERSION - 1) + [fail])
    engine.dispose()
    with Store.open(file) as store:
        assert_same(make_graph(0), store.load_graph())
    assert ("colours",) not in ask(file, "SELECT name FROM sqlite_schema")


VERSION_2 = (
    VERSION_4
    + """
DROP TABLE files;
DROP TABLE part_votes;
DROP TABLE part_templates;
DROP TABLE part_annotations;
DROP TABLE semantic_parts;
DELETE FROM schema_version;
INSERT INTO schema_version VALUES (2, '2026-01-01T00:00:00Z');
"""
)
# The nodes as version 1 had them; it had no semantic parts, all other tables are the same.
VERSION_1 = (
    VERSION_2
    + """
CREATE TEMPORARY TABLE kept AS
SELECT id, name, layer, channel, "index", "row", col, std, weight, none, support, score, kind
FROM nodes;
DROP TABLE nodes;
CREATE TABLE nodes (
    id INTEGER NOT NULL, name TEXT NOT NULL, layer TEXT NOT NULL,
    channel INTEGER NOT NULL, "index" INTEGER NOT NULL,
    "row" DOUBLE NOT NULL, col DOUBLE NOT NULL, std DOUBLE NOT NULL, weight DOUBLE NOT NULL,
    none DOUBLE NOT NULL, support DOUBLE NOT NULL, score DOUBLE NOT NULL, kind TEXT NOT NULL,
    PRIMARY KEY (id), UNIQUE (name), FOREIGN KEY(layer) REFERENCES layers (name)
);
INSERT INTO nodes SELECT * FROM kept;
CREATE UNIQUE INDEX nodes_by_channel ON nodes (layer, channel, "index");
DELETE FROM schema_version;
INSERT INTO schema_version VALUES (1, '2025-01-01T00:00:00Z');
"""
)


@pytest.fixture
def old_file(file):
    """The database of ``file`` as a program of version 1 would have written it."""
    run_script(file, VERSION_1)
    assert ask(
        file,
        "SELECT count(*) FROM pragma_table_info('nodes') WHERE name IN ('communality', 'loadings')",
    ) == [(0,)]
    return file


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_database_is_not_read_and_not_changed(file, version):
    run_script(file, VERSION_1 if version == 1 else VERSION_2)
    before = traces(file)
    words = (
        f"has schema version {version}, this explgraph reads {SCHEMA_VERSION}; "
        "run the same 'explgraph mine' command again"
    )
    with pytest.raises(StoreError, match=words):
        Store.open(file)
    assert traces(file) == before


def test_whoever_migrates_a_database_is_told_so(old_file):
    with Store.open(old_file, mode="write") as store:
        assert store.migrated_from == 1
    with Store.open(old_file, mode="write") as store:
        assert store.migrated_from is None
    with Store.open(old_file) as store:
        assert store.migrated_from is None


@pytest.mark.parametrize("mode", ["write", "create"])
def test_a_graph_of_version_1_is_loaded_and_does_not_sway(old_file, mode):
    expected = without_co_firing(make_graph(0))
    for name in expected:
        expected.nodes[name]["communality"] = 0.0
    with Store.open(old_file, mode=mode) as store:
        assert_same(expected, store.load_graph())
        name = next(iter(expected))
        assert store.read_node(name).attributes == expected.nodes[name]
    assert ask(old_file, "SELECT version FROM schema_version ORDER BY version") == [
        (1,),
        (2,),
        (3,),
        (4,),
        (5,),
    ]
    assert ask(old_file, "PRAGMA integrity_check") == [("ok",)]
    assert ask(old_file, "PRAGMA foreign_key_check") == []


def test_a_database_of_version_1_becomes_one_like_a_new_one(old_file, tmp_path):
    columns = "SELECT name, \"notnull\", pk FROM pragma_table_info('nodes') ORDER BY name"
    with Store.open(old_file, mode="write") as store:
        store.save_graph(sway(make_graph(3)))
    with Store.open(old_file) as store:
        assert_same(sway(make_graph(3)), store.load_graph())
    Store.open(tmp_path / "new.db", mode="create").close()
    assert ask(old_file, columns) == ask(tmp_path / "new.db", columns)


def test_a_database_of_version_2_gets_the_tables_of_semantic_parts(file, tmp_path):
    run_script(file, VERSION_2)
    tables = (
        'SELECT m.name, c.name, c."notnull", c.pk FROM sqlite_schema m, '
        "pragma_table_info(m.name) c ORDER BY m.name, c.cid"
    )
    with Store.open(file, mode="write") as store:
        assert store.read_semantic_parts() == ()
        assert_same(without_co_firing(make_graph(0)), store.load_graph())
    Store.open(tmp_path / "new.db", mode="create").close()
    assert ask(file, tables) == ask(tmp_path / "new.db", tables)
    assert ask(file, "SELECT version FROM schema_version ORDER BY version") == [
        (2,),
        (3,),
        (4,),
        (5,),
    ]


@pytest.mark.parametrize("mode", ["read", "write"])
def test_edges_of_version_4_know_no_co_firing_and_are_otherwise_what_they_were(file, mode):
    expected = without_co_firing(make_graph(0))
    with Store.open(file, mode="write") as store:
        store.save_graph(expected)  # its digest is that of version 4
    run_script(file, VERSION_4)
    upper, lower = next(iter(expected.edges))
    with Store.open(file, mode=mode) as store:
        assert store.check_digest()
        assert_same(expected, store.load_graph())
        below = {one.name: one.attributes for one in store.read_node(upper).children}
        assert below[lower] == expected.edges[upper, lower]


def test_the_co_firing_of_edges_belongs_to_the_digest(file):
    with Store.open(file, mode="write") as store:
        store.save_graph(make_graph(0))
        assert store.check_digest()
    ask(file, "UPDATE edges SET co_firing = co_firing + 1 WHERE id = 2")
    with Store.open(file) as store, pytest.raises(StoreError, match="what was mined"):
        store.check_digest()
