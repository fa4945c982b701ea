"""Kills, second writers, readers meanwhile, foreign files, write-protected places, older and newer schemas."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from builders.graphs import assert_same, make_graph, sway
from builders.real import ROOT
from sqlalchemy import Column, Connection, Integer, MetaData, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from explgraph.errors import StoreError, UsageError
from explgraph_storage import SCHEMA_VERSION, Store
from explgraph_storage.engine import find_place, open_engine, transaction
from explgraph_storage.migrations import find_version, migrate
from explgraph_storage.schema import Base

LARGE = {"seed": 1, "nodes": 1200, "parents": 15}  # a second or so to save

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="signals, flock and users are those of POSIX"
)


@pytest.fixture
def file(tmp_path):
    """A database that holds a small graph."""
    with Store.open(tmp_path / "graph.db", mode="create") as store:
        store.save_graph(make_graph(0))
    return tmp_path / "graph.db"


def ask(file, statement):
    """Run one statement by means of Python's own sqlite3."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def start(code, *arguments):
    """Start a Python process that knows Store, make_graph and sys; its output is to be read line by line."""
    head = "import os, sys, time\nfrom explgraph_storage import Store\nfrom builders.graphs import make_graph\n"
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "storage", ROOT / "tests"))
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def wait_for_transaction(file, process):
    """Return once another process is in the middle of a write transaction."""
    probe = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        while process.poll() is None:
            try:
                probe.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return
            probe.execute("ROLLBACK")
            time.sleep(0.005)
        raise AssertionError("the process ended before it could be seen writing")
    finally:
        probe.close()


SAVE = f"""
graph = make_graph(**{LARGE})
store = Store.open(sys.argv[1], mode="write")
print("ready", flush=True)
sys.stdin.readline()
store.save_graph(graph)
store.close()
"""


def start_saving(file):
    process = start(SAVE, file)
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    wait_for_transaction(file, process)
    return process


def end(process):
    process.communicate()
    return process.returncode


def test_a_kill_in_the_middle_of_saving_leaves_the_former_graph_and_no_lock(file):
    process = start_saving(file)
    process.send_signal(signal.SIGKILL)
    assert end(process) == -signal.SIGKILL
    with Store.open(file) as store:
        assert_same(make_graph(0), store.load_graph())
    with Store.open(file, mode="write") as store:
        assert_same(make_graph(0), store.load_graph())
        store.save_graph(make_graph(2))
        assert_same(make_graph(2), store.load_graph())
    assert ask(file, "PRAGMA integrity_check") == [("ok",)]


def test_a_reader_sees_the_former_graph_while_a_new_one_is_saved_and_then_the_new_one(file):
    with Store.open(file) as store:
        process = start_saving(file)
        assert_same(make_graph(0), store.load_graph())
        with Store.open(file) as second:
            assert_same(make_graph(0), second.load_graph())
        assert end(process) == 0
        assert_same(make_graph(**LARGE), store.load_graph())


def test_a_second_writer_is_told_who_writes_at_once_and_a_reader_let_in(file):
    process = start(
        "store = Store.open(sys.argv[1], mode='write'); print('ready', flush=True); sys.stdin.readline()",
        file,
    )
    assert process.stdout.readline() == "ready\n"
    begin = time.monotonic()
    with pytest.raises(
        StoreError,
        match=rf"is being written by process {process.pid} on .*wait until it ends or stop it",
    ):
        Store.open(file, mode="write")
    assert time.monotonic() - begin < 2
    with Store.open(file) as store:
        assert store.has_graph()
    process.send_signal(signal.SIGKILL)
    end(process)
    Store.open(file, mode="write").close()


def test_two_stores_of_one_process_cannot_both_write_even_by_different_names(file, tmp_path):
    (tmp_path / "alias.db").symlink_to(file)
    with Store.open(file, mode="write"), pytest.raises(StoreError, match=f"process {os.getpid()} "):
        Store.open(tmp_path / "alias.db", mode="create")
    Store.open(f"sqlite:///{file}", mode="write").close()


def test_a_forked_child_does_not_keep_the_lock_of_its_dead_parent(file):
    code = "store = Store.open(sys.argv[1], mode='write')\npid = os.fork()\nif pid: print(pid, flush=True)\ntime.sleep(60)"
    parent = start(code, file)
    child = int(parent.stdout.readline())
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    Store.open(file, mode="write").close()
    os.kill(child, signal.SIGKILL)
    end(parent)


def test_a_lock_held_by_another_program_is_named_as_such(file):
    shell = sqlite3.connect(file, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    begin = time.monotonic()
    with pytest.raises(StoreError, match="another program holds a lock"):
        Store.open(file, mode="write")
    assert time.monotonic() - begin < 20
    shell.close()
    Store.open(file, mode="write").close()


def test_threads_share_a_reader(file):
    failures = []

    def read():
        try:
            assert_same(make_graph(0), store.load_graph())
        except BaseException as error:
            failures.append(error)

    with Store.open(file) as store:
        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_nothing_but_the_database_and_its_lock_file_stays_behind(file):
    with Store.open(file) as store:
        store.load_graph()
    assert sorted(path.name for path in file.parent.iterdir()) == ["graph.db", "graph.db.lock"]
    assert (file.parent / "graph.db.lock").read_bytes() == b""


def test_a_reader_cannot_write_and_a_closed_store_does_nothing(file):
    store = Store.open(file)
    with pytest.raises(StoreError, match="open for reading; open it with mode='write'"):
        store.clear_parts()
    with pytest.raises(StoreError, match="write-protected"), store._reading() as connection:
        connection.execute(text("DELETE FROM nodes"))
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.has_graph()


def test_a_write_protected_folder_can_be_read(file):
    """A second process, as another user if this one is root, who may write everywhere."""
    code = """
if os.getuid() == 0: os.setgid(65534); os.setuid(65534)
with Store.open(sys.argv[1]) as store: print(store.load_graph().number_of_nodes(), flush=True)
try: Store.open(sys.argv[1], mode="write")
except Exception as error: print(type(error).__name__, error)
"""
    folder = file.parent
    (folder / "graph.db.lock").unlink()
    opened = [
        parent
        for parent in folder.parents
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001
    ]
    modes = {parent: parent.stat().st_mode for parent in (*opened, folder, file)}
    try:
        for parent in opened:
            parent.chmod(0o755)
        folder.chmod(0o555)
        file.chmod(0o444)
        process = start(code, file)
        output, _ = process.communicate()
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert output.splitlines()[0] == "36"
    assert output.splitlines()[1].startswith("StoreError")
    assert "open it for reading, or copy it" in output.splitlines()[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"this is text, long enough to be taken for the header of a database file, and then some more of it"
            * 9,
            "no SQLite database",
        ),
        (b"", "is an empty database"),
    ],
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content, message):
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    for mode in ("read", "write"):
        with pytest.raises(StoreError, match=message):
            Store.open(file, mode=mode)
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_foreign_database_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "other.db"
    ask(file, "CREATE TABLE nodes (x)")
    content = file.read_bytes()
    for mode in ("read", "write", "create"):
        with pytest.raises(
            StoreError, match=r"got another program's \(tables: nodes\); name another file"
        ):
            Store.open(file, mode=mode)
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_truncated_database_is_called_damaged(file):
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(StoreError, match="damaged"), Store.open(file) as store:
        store.load_graph()


def test_an_empty_file_is_filled_in_create_mode(tmp_path):
    file = tmp_path / "new" / "graph.db"
    with Store.open(file, mode="create") as store:
        assert not store.has_graph()
    (tmp_path / "empty.db").touch()
    Store.open(tmp_path / "empty.db", mode="create").close()
    with Store.open(tmp_path / "empty.db") as store:
        assert not store.has_graph()


def test_missing_places_and_wrong_names_are_explained(tmp_path):
    with pytest.raises(StoreError, match="no database at"):
        Store.open(tmp_path / "graph.db")
    with pytest.raises(StoreError, match="is a folder, expected a database file"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match="neither a path nor a database URL"):
        Store.open("://graph.db")
    with pytest.raises(StoreError, match="plain path"):
        Store.open("sqlite:///file:graph.db?mode=ro&uri=true")
    with pytest.raises(StoreError, match="nosuch"):
        Store.open("nosuch://host/graph")
    with pytest.raises(UsageError, match="got 'append'"):
        Store.open(tmp_path / "graph.db", mode="append")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot make the folder"):
        Store.open(tmp_path / "file" / "sub" / "graph.db", mode="create")


def test_odd_file_names_are_only_names(tmp_path):
    file = tmp_path / "a ?b#c%41 é.db"
    Store.open(file, mode="create").close()
    assert file.exists()
    Store.open(file).close()


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


VERSION_2 = """
DROP TABLE part_votes;
DROP TABLE part_templates;
DROP TABLE part_annotations;
DROP TABLE semantic_parts;
DELETE FROM schema_version;
INSERT INTO schema_version VALUES (2, '2026-01-01T00:00:00Z');
"""
# The table of nodes as version 1 had it; the tables of semantic parts were not there, all others are the same.
VERSION_1 = (
    VERSION_2
    + """
CREATE TEMPORARY TABLE kept AS SELECT id, name, layer, channel, "index", "row", col, std, weight, none, support, score, kind FROM nodes;
DROP TABLE nodes;
CREATE TABLE nodes (
    id INTEGER NOT NULL, name TEXT NOT NULL, layer TEXT NOT NULL, channel INTEGER NOT NULL, "index" INTEGER NOT NULL,
    "row" DOUBLE NOT NULL, col DOUBLE NOT NULL, std DOUBLE NOT NULL, weight DOUBLE NOT NULL, none DOUBLE NOT NULL,
    support DOUBLE NOT NULL, score DOUBLE NOT NULL, kind TEXT NOT NULL,
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
    connection = sqlite3.connect(file)
    connection.executescript(VERSION_1)
    connection.close()
    assert ask(
        file,
        "SELECT count(*) FROM pragma_table_info('nodes') WHERE name IN ('communality', 'loadings')",
    ) == [(0,)]
    return file


@pytest.mark.parametrize("mode", ["read", "write", "create"])
def test_a_graph_of_version_1_is_loaded_and_does_not_sway(old_file, mode):
    expected = make_graph(0)
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
    connection = sqlite3.connect(file)
    connection.executescript(VERSION_2)
    connection.close()
    tables = 'SELECT m.name, c.name, c."notnull", c.pk FROM sqlite_schema m, pragma_table_info(m.name) c ORDER BY m.name, c.cid'
    with Store.open(file) as store:
        assert store.read_semantic_parts() == ()
        assert_same(make_graph(0), store.load_graph())
    Store.open(tmp_path / "new.db", mode="create").close()
    assert ask(file, tables) == ask(tmp_path / "new.db", tables)
    assert ask(file, "SELECT version FROM schema_version ORDER BY version") == [(2,), (3,)]


def test_the_schema_can_be_said_in_postgresql():
    for table in Base.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
        for index in table.indexes:
            assert "INDEX" in str(CreateIndex(index).compile(dialect=postgresql.dialect()))


def test_a_file_written_by_the_store_follows_its_pragmas(file):
    with Store.open(file, mode="write") as store, store._reading() as connection:
        values = {
            name: connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "synchronous")
        }
    assert values == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1}
    assert ask(file, "PRAGMA foreign_key_check") == []
