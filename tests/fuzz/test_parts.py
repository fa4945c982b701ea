"""Whatever splits, marks and stored parts say, each question is answered or refused in words."""

import json
import math
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders.broken_json import TEXTS, changed, written
from builders.commands import explgraph
from builders.damage import damage_parts
from builders.fuzzing import cases, fault, structured
from hypothesis import given
from hypothesis import strategies as st

from explgraph import Marked, Workspace
from explgraph.images import read_source
from explgraph.parts import Mark, check_marks, fit_marks, locate_part, mark_at
from explgraph.queries import (
    describe_part,
    draw_part,
    evaluate_few_shot,
    fit_workspace_part,
    list_parts,
    locate_parts,
    remove_workspace_part,
    suggest_images,
)
from explgraph.queries.part_records import part_of_nodes

IDS = [1000 + 7 * i for i in range(30)]
SPLITS = [
    {"split": 0, "part": "head", "shots": 2, "fit": IDS[:2], "test": IDS[2:6]},
    {"split": 1, "part": "leg", "shots": 1, "fit": IDS[:1], "test": IDS[7:9]},
]


@pytest.fixture(scope="module")
def whole(workspace, scenes, tmp_path_factory):
    """A workspace with a semantic part."""
    folder = shutil.copytree(workspace, tmp_path_factory.mktemp("whole") / "ws")
    marks = ("--annotations", scenes.coco, "--ids", "1000,1021,1042")
    assert explgraph("part", "fit", folder, "--name", "head", *marks).code == 0
    return folder


@pytest.fixture(scope="module")
def opened(whole):
    with Workspace(whole) as one:
        yield one


@pytest.fixture(scope="module")
def known(opened):
    return opened.known_objects()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@structured(250, quick=40)
@given(splits=changed(SPLITS) | changed({"scenes": SPLITS, "other": []}))
def test_broken_splits_are_refused_or_scored_as_they_say(splits, scenes, opened, out):
    file, found = written(splits, out / "splits.json"), out / "found.parquet"
    found.unlink(missing_ok=True)

    def ask():
        evaluate_few_shot(opened, scenes.coco, file, found).to_dict()

    assert fault(ask, file, "object") is None
    if found.exists():
        entries = splits["scenes"] if isinstance(splits, dict) else splits
        rows = pq.read_table(found).to_pydict()
        wanted = [(one["split"], number) for one in entries for number in one["test"]]
        assert list(zip(rows["split"], rows["annotation_id"], strict=True)) == wanted
        for name in ("x", "y", "score", "expected_error"):
            assert np.isfinite(rows[name]).all()


points = st.floats(-1e3, 1e3) | st.sampled_from((0.0, -0.0, math.nan, math.inf, 1e308, 5e-324))
marks = st.lists(st.builds(Mark, st.sampled_from((*IDS, 0, -1, 2**70)), points, points), max_size=4)


@structured(300, quick=40)
@given(given_marks=marks)
def test_any_marks_are_refused_or_fit_a_part_that_can_be_found(given_marks, known):
    def ask():
        checked = check_marks("head", given_marks, known)
        part = fit_marks("head", checked, known)
        found = locate_part(part, known.seen, known.traits)
        for values in (part.weight, part.correction, found.place, found.score):
            assert np.isfinite(values).all()
        assert ((found.place >= 0) & (found.place <= 1)).all()

    assert fault(ask) is None


@structured(300, quick=60)
@given(
    text=st.text()
    | st.tuples(
        st.sampled_from(("scene-00.png", "coco/scene-01.png", "scene", ".png", *TEXTS)),
        st.sampled_from((":", "::", "", "\n")),
        st.lists(points.map(str) | st.sampled_from(TEXTS) | st.text(max_size=3), max_size=3),
    ).map(lambda one: one[0] + one[1] + ",".join(one[2]))
)
def test_any_text_is_a_mark_in_its_box_or_refused(text, known):
    def ask():
        mark = mark_at(text, known)
        check_marks("head", [mark], known)

    assert fault(ask) is None


@structured(40, quick=5)
@given(
    names=st.text() | st.sampled_from(TEXTS),
    at=st.lists(st.sampled_from(("scene-00.png:20,30", "scene-01.png:22,31", "scene-01:9")))
    | st.lists(st.text()),
    ids=st.lists(st.sampled_from((*IDS, -1, 2**70)), max_size=3),
    add=st.booleans(),
)
def test_whatever_is_fitted_can_be_read_again(names, at, ids, add, whole, scenes, out):
    folder = out / "ws"
    if not folder.exists():
        shutil.copytree(whole, folder)
    dataset = scenes.coco if ids else None

    def ask():
        fit_workspace_part(folder, names, Marked(dataset, tuple(ids), "head", tuple(at)), add=add)
        with Workspace(folder) as workspace:
            described = describe_part(workspace, names).to_dict()
        json.dumps(described, allow_nan=False).encode()

    assert fault(ask) is None


def questions(folder, scenes, out):
    """Yield each question to the parts of a workspace as a function."""
    source = read_source(scenes.coco, limit=6)

    def of(question, *given_, **named):
        with Workspace(folder) as workspace:
            return question(workspace, *given_, **named)

    yield "list", lambda: of(list_parts).to_dict()
    yield "show", lambda: of(describe_part, "head").to_dict()
    yield "suggest", lambda: of(suggest_images, "head", top=2).to_dict()
    yield "locate", lambda: check_found(of(locate_parts, ["head"], source, network=None))
    yield "part of nodes", lambda: of(part_of_nodes)
    yield "draw", lambda: of(draw_part, "head", out / "head.png")
    yield "fit", lambda: fit_workspace_part(folder, "head", Marked()).to_dict()
    yield "remove", lambda: remove_workspace_part(folder, "head")


def check_found(found):
    for one in found.places:
        assert all(map(math.isfinite, (one.x, one.y, one.score, one.expected_error)))
        assert 0 <= one.score <= 1


@pytest.mark.parametrize("first", cases(240, quick=6)[::6])
def test_damaged_parts_are_answered_or_refused_in_words(whole, scenes, tmp_path, first):
    folder = shutil.copytree(whole, tmp_path / "ws")
    wrong = []
    for seed in range(first, first + 6):
        shutil.copy(whole / "graph.db", folder)
        how = damage_parts(folder / "graph.db", seed)
        for name, ask in questions(folder, scenes, tmp_path):
            # The picture takes a second; a few show what it makes of damage.
            if name == "draw" and seed % 6:
                continue
            if (why := fault(ask)) is not None:
                wrong.append(f"{seed}: {how}: {name}: {why}")
    assert not wrong, "\n" + "\n".join(wrong)
