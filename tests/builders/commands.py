"""Runs explgraph's command line: in this process, or in another one that may be killed."""

import io
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass

from builders.real import ROOT

from explgraph.cli import main
from explgraph_storage import Store

TINY = ("--model", "builders.tiny_network:make", "--layers", "features.2,features.4")


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self):
        assert self.code == 0, self.err
        assert "NaN" not in self.out
        return json.loads(self.out)


def explgraph(*arguments):
    """Run one command in this process; misuse that the parser itself finds is an answer too."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as leave:
            code = leave.code
    return Answer(code, out.getvalue(), err.getvalue())


def refused(code, *arguments):
    """Run a command that must fail with ``code``; return its one line."""
    answer = explgraph(
        *arguments,
        *(["--quiet"] if arguments[0] in ("mine", "locate", "saliency", "gradcam") else []),
    )
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.startswith("explgraph: error: ")
    assert answer.err.count("\n") == 1
    return answer.err


KILL = """
import json, os, signal, sys
import torch
from explgraph import workspace
from explgraph.cli import main
from explgraph.progress import ProgressReport

def report(self, name, done, total):
    if [name, True] == [stage, done >= count]:
        os.kill(os.getpid(), signal.SIGKILL)

ProgressReport.__call__ = report
for stage, count in json.loads(sys.argv[1]):
    # Nothing ran yet, so there are no threads; loading torch anew would take seconds.
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os._exit(main(sys.argv[2:]))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), (stage, status)
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


def killed(points, *arguments):
    """Run a command once for each (stage, count), in a process killed (-9) when it is done."""
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "storage", ROOT / "tests"))
    command = [sys.executable, "-c", KILL, json.dumps(points), *map(str, arguments)]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert ended.returncode == 0, ended.stderr


def files_of(folder):
    """Return the names of all files below a folder, sorted."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def rows(workspace, statement):
    """Return what Python's own sqlite3 answers."""
    with closing(sqlite3.connect(workspace / "graph.db")) as connection:
        return connection.execute(statement).fetchall()


def contents(workspace):
    """What mining decided, bit for bit: the graph, the facings, the bytes of the locations."""
    with Store.open(workspace / "graph.db") as store:
        graph, objects = store.load_graph(), store.read_objects()
    return {
        "nodes": list(graph.nodes(data=True)),
        "edges": list(graph.edges(data=True)),
        "graph": {key: value for key, value in graph.graph.items() if key != "config"},
        "best": rows(workspace, "select * from top_places"),
        "facings": [(o.id, o.mirrored) for o in objects],
        "locations": {
            path.name: path.read_bytes() for path in sorted((workspace / "locations").iterdir())
        },
    }
