"""What commands print stays whole where it is piped."""

import io
import json

import pytest

from explgraph.cli.printing import (
    described_lines,
    print_columns,
    print_described,
    print_skipped,
    say,
)
from explgraph.errors import Skipped


def test_columns_are_aligned_and_never_cut(capsys):
    long = "photos/" + "very-long-name-" * 20 + "[bold].jpg"
    print_columns([("image", "x"), (long, "1.0"), ("b.jpg", "12.5")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{long}  1.0"
    assert (
        len({line.rindex(cell) for line, cell in zip(lines, ("x", "1.0", "12.5"), strict=True)})
        == 1
    )
    assert not any(line.endswith(" ") for line in lines)


def test_described_values_are_the_same_as_text_and_as_json(capsys):
    described = {"node": "a:1:0", "std": 0.123456, "parents": ({"node": "b:1:0", "weight": None},)}
    print_described(described, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(described))
    print_described(described, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "node: a:1:0",
        "std: 0.1235",
        "parents:",
        "  node   weight",
        "  b:1:0  -",
    ]


def test_records_within_records_are_indented():
    assert described_lines({"explained": {"part": 0.5, "none": ()}}) == [
        "explained:",
        "  part: 0.5",
        "  none: -",
    ]


def test_only_the_first_skipped_files_are_named(capsys):
    print_skipped([Skipped(f"{i}.jpg", "broken") for i in range(12)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "skipped 12:"
    assert lines[-1] == "  ... and 2 more (--json names all)"
    assert len(lines) == 12
    print_skipped([])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_terminal_lacks_are_escaped(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", stream)
    say("größer 斑馬.jpg")
    stream.flush()
    shown = "größer 斑馬.jpg\n".encode(encoding, "backslashreplace")
    assert stream.buffer.getvalue() == shown
