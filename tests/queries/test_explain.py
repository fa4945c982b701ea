"""What `explain_images` and `try_repair` answer, as values."""

import json
from dataclasses import replace

import pytest
from builders.tiny_network import TOP, Tiny

from explgraph.errors import Skipped, UsageError
from explgraph.images import read_source
from explgraph.queries import (
    ChangedAnswer,
    ExplainedImage,
    ExplainOptions,
    Repair,
    explain_images,
    node_views,
    try_repair,
)
from explgraph.workspace import Workspace


@pytest.fixture
def opened(workspace):
    with Workspace(workspace) as one:
        yield one, one.network()


def test_answers_come_in_the_images_order_with_what_was_skipped(opened, scenes, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    images = [scenes.folder / "04.png", tmp_path / "broken.png", scenes.folder / "05.png"]
    first, second, third = explain_images(*opened, images, ExplainOptions(tested=5))
    assert isinstance(second, Skipped)
    assert second.path == str(images[1])
    assert [first.view.obj.path, third.view.obj.path] == [images[0], images[2]]
    assert repr(first).startswith(f"<04.png: {first.explanation.name}, ")


def test_the_record_and_the_text_say_what_the_values_say(opened, scenes, tmp_path):
    options = ExplainOptions(nodes=2, tested=5, ablate=(f"{TOP}:2",))
    images = [scenes.folder / "04.png"]
    (one,) = explain_images(*opened, images, options, out=tmp_path)
    assert isinstance(one, ExplainedImage)
    record = one.to_dict()
    assert json.loads((tmp_path / "04.explain.json").read_text()) == record
    assert one.figure.is_file()
    assert [(node["x"], node["y"]) for node in record["nodes"]] == one.points()
    assert record["ablated"]["removed"] == [f"{TOP}:2"]
    assert record["ablated"]["class"] in Tiny.classes
    text = one.to_text()
    assert record["facing_sureness"] == one.view.sureness
    for sureness, said in ((0.62, True), (0.9, False), (None, False)):
        other = replace(one, view=replace(one.view, sureness=sureness))
        assert ("Which way it faces is unsure (62%)." in other.to_text()) == said
        assert other.to_dict()["facing_sureness"] == sureness
    assert text.startswith(str(images[0]))
    assert f"Without {TOP}:2 the network says: {record['ablated']['class']}." in text


def test_views_of_a_node_are_asked_for_it_where_it_was_found(opened, scenes):
    workspace, network = opened
    node = max(workspace.graph, key=lambda name: workspace.graph.nodes[name]["score"])
    images = [scenes.folder / f"{k:02d}.png" for k in range(18)]  # more than one batch
    views = list(node_views(workspace, network, images, node=node))
    assert [view.obj.path for view in views] == images
    for view in views:
        assert view.target.name == node
        assert view.target.place.tolist() == view.places[view.nodes.index(node)].tolist()


def test_a_repair_counts_what_changed(opened, scenes):
    workspace, network = opened
    source = read_source(scenes.folder, limit=6)
    channels = [f"{TOP}:{k}" for k in range(10)]
    repair = try_repair(workspace, network, source, channels, target="creature")
    assert repair.images == 6
    assert len(repair.changed) >= abs(repair.correct_after - repair.correct_before)
    assert all(one.before != one.after for one in repair.changed)
    with pytest.raises(UsageError, match="has no class; put the images into subfolders"):
        try_repair(workspace, network, source, channels)


def test_a_repair_is_plain_values_for_json():
    changed = ChangedAnswer("a.png", wanted="creature", before="nothing", after="creature")
    record = Repair(("features.4:2",), 2, 1, 2, (changed,)).to_dict()
    counts = ["images", "correct_before", "correct_after"]
    assert list(record) == ["removed", *counts, "changed", "skipped"]
    assert record["changed"][0] == {
        "image": "a.png",
        "wanted": "creature",
        "before": "nothing",
        "after": "creature",
    }
