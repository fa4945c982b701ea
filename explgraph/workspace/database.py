"""Where the tables of a workspace are: graph.db in its folder, or a database that it remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from explgraph.errors import StoreError, WorkspaceError
from explgraph.files import whole_file
from explgraph_storage import Store

OWN = "graph.db"  # in the workspace's folder
REMEMBERED = "database.url"  # likewise: one line, the URL of the tables if they are elsewhere


def open_database(
    folder: str | Path, db: str | None = None, *, mode: Literal["read", "write", "create"] = "read"
) -> Store:
    """The open store of a workspace.

    Args:
        folder: the workspace.
        db: SQLAlchemy URL of the tables; None where the workspace knows them itself.
        mode: see `Store.open`.

    Raises:
        WorkspaceError: the folder is no workspace.
        StoreError: the database cannot be opened.

    >>> with open_database(folder) as store:
    ...     store.has_graph()
    True
    """
    folder = Path(folder)
    if db is not None:
        return Store.open(db, mode=mode)
    known = remembered_database(folder)
    if known is None:
        if mode != "create" and not (folder / OWN).is_file():
            raise WorkspaceError(
                f"{folder} is not a workspace (no {OWN} in it); "
                f"'explgraph mine SOURCE --out {folder}' makes one"
            )
        return Store.open(folder / OWN, mode=mode)
    try:
        return Store.open(known, mode=mode)
    except StoreError as error:
        raise StoreError(
            f"{error} ({folder} was mined with --db {known}; where its tables have moved, "
            f"'explgraph relocate {folder} --db URL' makes it remember that)"
        ) from error


def remembered_database(folder: Path) -> str | None:
    """The URL of the database that a workspace remembers, if it is not its own."""
    file = folder / REMEMBERED
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise WorkspaceError(
            f"{file} cannot be read ({error}); say with --db where the tables are"
        ) from error


def remember_database(folder: Path, store: Store) -> None:
    """Have a workspace remember where its tables are, so that nobody must say it again.

    >>> with Store.open(out / "own.db", mode="create") as store:
    ...     remember_database(folder, store)
    >>> (folder / "database.url").read_text().endswith("/own.db\\n")
    True
    """
    file, own = folder / REMEMBERED, folder / OWN
    if store.file == own.resolve():
        file.unlink(missing_ok=True)
    elif remembered_database(folder) != store.url:
        with whole_file(file, sync=True) as temporary:
            temporary.write_text(store.url + "\n", encoding="utf-8")


def set_aside_database(folder: Path, db: str | None) -> Path:
    """Rename a database that cannot be read, see `Store.set_aside`; the new name.

    >>> set_aside_database(folder, None).name
    'graph.db.damaged'
    """
    return Store.set_aside(db or remembered_database(folder) or folder / OWN)
