"""The programs of the comparison run, agree, and stand in its page as they were measured."""

import re
from pathlib import Path

import pytest
import torch
from builders import tiny_squeezenet

from benchmarks import peers
from benchmarks.peer_programs import PROGRAMS, TOOLS, body, count_lines

PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    pytest.importorskip("torchcam", minversion="0.5", reason="older ones are called otherwise")
    generator = torch.Generator().manual_seed(0)
    # A bright square in noise: other places than its answer less.
    images = 0.5 * torch.randn(14, 3, 224, 224, generator=generator)
    images[:, :, 60:120, 90:170] += 2
    given = peers.Given(
        tiny_squeezenet.make(),
        images[:2],
        [1, 2],
        images[2:],
        tmp_path_factory.mktemp("peers"),
        names=list(tiny_squeezenet.CLASSES),
    )
    return peers.measure(given, rounds=1)


def agreements(figures):
    for task, found in figures["tasks"].items():
        for tool, methods in found["agreement"].items():
            for method, one in methods.items():
                yield f"{task}, {tool}: {method}", one


def test_every_program_agrees_with_ours(figures):
    compared = dict(agreements(figures))
    assert len(compared) == 20
    # Where the others' Grad-CAM++ differs from the paper: docs/benchmarks/attribution.md.
    same = {name: one for name, one in compared.items() if "++" not in name}
    apart = {name: one for name, one in same.items() if one["largest_difference"] > 1e-4}
    assert not apart


def test_every_task_is_answered_or_said_not_to_be_offered(figures):
    for task, found in figures["tasks"].items():
        assert {*found["lines"], *found["not_offered"]} == set(TOOLS), task
        assert found["seconds"].keys() == found["lines"].keys()
        assert min(found["seconds"].values()) > 0


def test_the_figures_are_printed_as_tables(figures):
    about = {"weights": "random", "images": 2, "threads": 1, "rounds": 1}
    words = peers.text({**about, **figures})
    assert all(f"| {task} |" in words for task in PROGRAMS)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[-2][:40])
def test_the_programs_of_the_page_are_those_that_were_measured(block):
    known = {body(one) for tasks in PROGRAMS.values() for one in tasks.values() if callable(one)}
    known.add(body(peers.graph_explgraph))
    assert block.strip() in known


def test_the_page_shows_all_of_ours():
    shown = {block.strip() for block in BLOCKS}
    assert all(body(of_tools["explgraph"]) in shown for of_tools in PROGRAMS.values())


def test_the_lines_of_the_page_are_those_of_the_programs():
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    # The first table of the page has these rows, a later one has some of them again.
    table = {task: cells.split(" | ") for task, cells in rows[::-1] if task in PROGRAMS}
    assert table.keys() == PROGRAMS.keys()
    for task, cells in table.items():
        for tool, cell in zip(TOOLS, cells, strict=True):
            program = PROGRAMS[task][tool]
            expected = f"{count_lines(program)}, " if callable(program) else "not offered"
            assert cell.startswith(expected), (task, tool)
