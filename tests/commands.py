"""Runs explgraph's command line: in this process, or in another one that may be killed."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch

from explgraph.cli import main
from explgraph_storage import Store

torch.set_num_threads(1)  # on maps this small threads only wait for each other

ROOT = Path(__file__).parents[1]
TINY = ("--model", "tiny_network:make", "--layers", "features.2,features.4")


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
    answer = explgraph(*arguments, *(["--quiet"] if arguments[0] in ("mine", "locate", "saliency", "gradcam") else []))
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.startswith("explgraph: error: ")
    assert answer.err.count("\n") == 1
    return answer.err


SIGNAL_AT = """
import os, sys
from explgraph.progress import ProgressReport
number, stage, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
shown = ProgressReport.__call__
def report(self, name, done, total):
    shown(self, name, done, total)
    if name == stage and done >= count:
        os.kill(os.getpid(), number)
ProgressReport.__call__ = report
from explgraph.cli import main
from explgraph_storage import Store
sys.exit(main(sys.argv[4:]))
"""


def signalled(number, stage, count, *arguments):
    """Run a command in a process that sends itself a signal when ``stage`` has done ``count``; return its exit code and stderr."""
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "storage", ROOT / "tests"))
    command = [sys.executable, "-c", SIGNAL_AT, str(int(number)), stage, str(count), *map(str, arguments)]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, check=False
    )
    return ended.returncode, ended.stderr


def killed(stage, count, *arguments):
    """Run a command in a process that is killed (-9) when ``stage`` has done ``count``."""
    code, err = signalled(signal.SIGKILL, stage, count, *arguments)
    assert code == -signal.SIGKILL, err


def files_of(folder):
    """Return the names of all files below a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def contents(workspace):
    """Return what mining decided, bit for bit: the graph with every attribute, the facings, the bytes of the locations."""
    with Store.open(workspace / "graph.db") as store:
        graph, objects = store.load_graph(), store.read_objects()
        best = [store.read_node(name).top_places for name in graph]
    return {
        "nodes": list(graph.nodes(data=True)),
        "edges": list(graph.edges(data=True)),
        "graph": {key: value for key, value in graph.graph.items() if key != "config"},
        "best": best,
        "facings": [(o.id, o.mirrored) for o in objects],
        "locations": {path.name: path.read_bytes() for path in sorted((workspace / "locations").iterdir())},
    }
