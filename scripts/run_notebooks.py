#!/usr/bin/env python
"""Runs the notebooks of docs/notebooks and stores what they show: scripts/run_notebooks.py

The outputs are stored, so that who reads a notebook on the web sees its pictures without running
it. They are kept small: a test sets the limit.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from examples import NOTEBOOKS, ROOT


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in ``folder``; raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    # The kernel is another process, which must find this checkout too.
    paths = [str(ROOT), str(ROOT / "storage"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    env["OMP_NUM_THREADS"] = "1"  # the demo's arrays are small: half the time of two threads
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(env=env)
    return notebook


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what changes from run to run: times, and the Python that ran it."""
    notebook.metadata = {"kernelspec": dict(notebook.metadata.kernelspec)}
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = {}, f"cell-{number}"
        # Progress, which the next run would show otherwise.
        cell.get("outputs", [])[:] = [
            one for one in cell.get("outputs", []) if one.get("name") != "stderr"
        ]
    return notebook


def main() -> None:
    """Run and store all."""
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(tidy(run(path, Path(folder))), path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
