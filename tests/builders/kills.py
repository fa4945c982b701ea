"""Runs commands that are killed (-9) at chosen moments, and one that is not."""

import json
import os
import subprocess
import sys

from builders.real import ROOT

KILL = """
import json, os, signal, sys
import torch
from sqlalchemy import event
from sqlalchemy.engine import Engine
# Loaded once: the children only run.
from explgraph.queries import evaluate, locate, part, part_locate
from explgraph.cli import main
import explgraph.figures

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")
seen, stop, sync = 0, 0, os.fsync

def moment(*_):
    global seen
    seen += 1
    if seen == stop:
        os.kill(os.getpid(), signal.SIGKILL)

def hear(name, given):
    # `open` for writing; the other events change the disk by themselves.
    if name in CHANGES or name == "open" and given[2] & (os.O_WRONLY | os.O_RDWR):
        moment()

def fsync(number):
    moment()
    sync(number)

def run(arguments, at):
    global stop
    stop = at
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        torch.set_num_threads(1)
        os.fsync = fsync
        for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(Engine, name, moment)
        sys.addaudithook(hear)
        code = main(arguments)
        sys.stdout.flush()
        os.write(writing, str(seen).encode())
        os._exit(code)
    os.close(writing)
    total = os.read(reading, 100)
    os.close(reading)
    return os.waitpid(child, 0)[1], total

for whole, *killed in json.load(sys.stdin):
    status, total = run(whole[0], 0)
    assert status == 0, (whole, status)
    for arguments, share in killed:
        status, _ = run(arguments, 1 + int(share * int(total)))
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (arguments, status)
    print("moments:", int(total))
"""


def killed_at(shares, groups):
    """Run the first command of each group to its end, and each other one until it is killed.

    The moments are those at which a command changes something: a file is opened to be written,
    renamed, removed or synced, a statement goes to the database. A share of 0.5 kills at the
    middle one of the moments that the first command had. Returns how many these were, per group.
    """
    asked = []
    for first, *others in groups:
        given = zip([first, *others], [0, *shares], strict=True)
        asked.append([[list(map(str, command)), share] for command, share in given])
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "storage", ROOT / "tests"))
    ended = subprocess.run(
        [sys.executable, "-c", KILL],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [int(n) for line in ended.stdout.splitlines() for n in line.split("moments: ")[1:]]
