"""Kills, second writers, readers meanwhile, foreign files, write-protected places."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from builders.databases import ask, traces
from builders.graphs import assert_same, make_graph
from builders.real import ROOT
from sqlalchemy import text

from explgraph.errors import StoreError, UsageError
from explgraph_storage import Store

LARGE = {"seed": 1, "nodes": 1200, "parents": 15}  # a second or so to save

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="signals, flock and users are those of POSIX"
)


def start(code, *arguments):
    """Start a Python process that knows Store, make_graph and sys; read its output line by line."""
    head = (
        "import os, sys, time\n"
        "from explgraph_storage import Store\n"
        "from builders.graphs import make_graph\n"
    )
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


HOLD = """
store = Store.open(sys.argv[1], mode="write")
print("ready", flush=True)
sys.stdin.readline()
"""

FORK = """
store = Store.open(sys.argv[1], mode="write")
pid = os.fork()
if pid: print(pid, flush=True)
time.sleep(60)
"""


def test_a_second_writer_is_told_who_writes_at_once_and_a_reader_let_in(file):
    process = start(HOLD, file)
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
    parent = start(FORK, file)
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


def test_reading_changes_nothing(file):
    before = traces(file)
    with Store.open(file) as store, Store.open(file) as second:
        store.load_graph()
        second.read_node("top:0:0")
    assert traces(file) == before


def test_a_reader_beside_a_writer_changes_nothing_in_the_database(file):
    with Store.open(file, mode="write"):
        before = file.read_bytes(), file.stat().st_mtime_ns
        with Store.open(file) as store:
            store.load_graph()
        assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_a_killed_writer_leaves_its_name_and_no_lock(file):
    process = start(HOLD, file)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    end(process)
    lock = file.with_name("graph.db.lock")
    assert f"process {process.pid} on" in lock.read_text()
    with Store.open(file, mode="write"), pytest.raises(StoreError, match=f"process {os.getpid()} "):
        Store.open(file, mode="write")
    assert lock.read_bytes() == b""


def test_a_store_is_closed_in_another_thread_than_it_was_opened_in(file):
    store = Store.open(file, mode="write")
    thread = threading.Thread(target=store.close)
    thread.start()
    thread.join()
    Store.open(file, mode="write").close()


def test_nothing_but_the_database_and_its_lock_file_stays_behind(file):
    with Store.open(file) as store:
        store.load_graph()
    assert sorted(path.name for path in file.parent.iterdir()) == ["graph.db", "graph.db.lock"]
    assert (file.parent / "graph.db.lock").read_bytes() == b""


def test_a_reader_cannot_write_and_a_closed_store_does_nothing(file):
    store = Store.open(file)
    with pytest.raises(StoreError, match="open for reading; open it with mode='write'"):
        store.clear_shards()
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
            b"this is text, long enough to be taken for the header of a database file, and more"
            * 9,
            "not a SQLite database",
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


def test_a_file_written_by_the_store_follows_its_pragmas(file):
    with Store.open(file, mode="write") as store, store._reading() as connection:
        values = {
            name: connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "synchronous")
        }
    assert values == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1}
    assert ask(file, "PRAGMA foreign_key_check") == []


def test_a_name_that_is_too_long_for_a_file_is_no_database(tmp_path):
    with pytest.raises(StoreError, match="check the path"):
        Store.open(tmp_path / ("x" * 5000))
