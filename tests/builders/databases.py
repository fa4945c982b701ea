"""Questions to a database that do not go through the store."""

import sqlite3
from contextlib import closing

# What version 5 brought, taken away again.
VERSION_4 = """
DROP TABLE names;
DROP TABLE repairs;
DROP VIEW node_edges;
ALTER TABLE edges DROP COLUMN co_firing;
CREATE VIEW node_edges AS SELECT id AS upper, id AS lower, weight FROM edges;
DELETE FROM schema_version;
INSERT INTO schema_version VALUES (4, '2026-01-01T00:00:00Z');
"""


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
