"""Questions to a database that do not go through the store."""

import sqlite3
from contextlib import closing


def ask(file, statement):
    """Run one statement by means of Python's own sqlite3."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def run_script(file, script):
    """Run many statements."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script)


def traces(file):
    """What opening a database might change: the names, bytes and times of all files beside it."""
    files = sorted(file.parent.iterdir())
    return [(path.name, path.read_bytes(), path.stat().st_mtime_ns) for path in files]
