"""Only programs change the allocator. Each test runs a process, as there is no way back."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Whether glibc maps a large block by itself, so that the system has it back when it is freed.
RETURNS_MEMORY = """
import ctypes

libc = ctypes.CDLL(None)

class Info(ctypes.Structure):
    _fields_ = [(f"field{i}", ctypes.c_size_t) for i in range(10)]

libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def returns_memory():
    before = libc.mallinfo2().field3
    block = libc.malloc(64 << 20)
    mapped = libc.mallinfo2().field3 - before
    libc.free(block)
    return mapped == 1
"""
LIBRARY_CALLS = """
import sys
import torch
from pathlib import Path
from PIL import Image
from torch import nn
from explgraph.attribution import gradcam
from explgraph.images import read_source
from explgraph.network import InputSpec, Network, measure_geometry
from explgraph.peaks import PeakSettings, measure_unit_std, stream_peaks

for colour in ("red", "blue"):
    Image.new("RGB", (9, 9), colour).save(Path(sys.argv[1]) / f"{colour}.png")
objects = read_source(sys.argv[1]).objects
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
network = Network(model, "own", None, InputSpec(8, 8), None, torch.device("cpu"))
geometry = measure_geometry(network, ["0"])
seen = []
note = lambda *_: seen.append(returns_memory())
std = measure_unit_std(network, objects, geometry=geometry, per_unit=True, report=note)
settings = PeakSettings(("0",), n_peaks=1)
for _ in stream_peaks(
    network, objects, geometry=geometry, unit_std=std, settings=settings, batch_size=1, workers=1
):
    note()
gradcam(network, torch.zeros(1, 3, 8, 8), target=0, layer="0")
note()
assert len(seen) >= 4 and all(seen), seen
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into glibc")


def run(code, *arguments):
    path = f"{ROOT}:{ROOT / 'storage'}"
    command = [sys.executable, "-c", RETURNS_MEMORY + code, *arguments]
    subprocess.run(command, env={"PYTHONPATH": path}, check=True)


def test_a_program_can_keep_freed_memory():
    run(
        "from explgraph.memory import keep_freed_memory\n"
        "assert returns_memory()\n"
        "assert keep_freed_memory()\n"
        "assert not returns_memory()\n"
    )


def test_library_calls_leave_the_allocator_alone(tmp_path):
    run(LIBRARY_CALLS, str(tmp_path))
