"""Boxes in photographs are asked as mining saw them; whole photographs get a hint."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from builders.commands import explgraph, files_of

from explgraph.attribution import explain
from explgraph.errors import UsageError
from explgraph.figures import explain_figure
from explgraph.images import load_image, read_source
from explgraph.locations import FOUND, locate_images
from explgraph.queries import (
    ExplainOptions,
    asked_source,
    box_hint,
    draw_heat_maps,
    explain_images,
    locate_source,
    node_views,
)
from explgraph.workspace import Workspace


@pytest.fixture
def opened(workspace):
    with Workspace(workspace) as one:
        yield one, one.network()


@pytest.fixture
def scene(scenes):
    """The three objects of one photograph."""
    return read_source(scenes.coco, objects=(1000, 1007, 1014)).objects


def test_a_box_is_seen_as_mining_saw_it(opened, scene):
    workspace, network = opened
    mined = workspace.known_objects()
    boxes = [one.box for one in scene]
    views = list(node_views(workspace, network, asked_source(scene[0].path, box=boxes)))
    for view, obj in zip(views, scene, strict=True):
        position = mined.ids.index(obj.annotation_id)
        assert view.frame == mined.frames[position]
        assert view.mirrored == mined.seen.mirrored[position]
        assert view.scores == pytest.approx(mined.seen.score[position], abs=1e-3)


def test_images_at_hand_are_located_by_their_boxes_alike(opened, scene):
    workspace, network = opened
    boxes = [one.box for one in scene]
    found = locate_images(network, scene[0].path, workspace.graph, box=boxes)
    rows = locate_source(workspace, scene[0].path, box=boxes, network=network).locations
    assert found.score.ravel() == pytest.approx([row["score"] for row in rows], abs=1e-5)
    assert found.found.ravel().tolist() == [row["found"] for row in rows]
    why = explain(network, scene[1].path, workspace.graph, box=scene[1].box, n_tested=3)
    assert why.nodes
    with pytest.raises(UsageError, match="a box goes with a photograph"):
        locate_images(network, torch.zeros(1, 3, 40, 56), workspace.graph, box=boxes[0])


def test_boxes_ids_and_a_coco_file_name_the_same_objects(opened, scenes, scene, tmp_path):
    workspace, network = opened
    ask = lambda out, images, **how: draw_heat_maps(
        "saliency", network, images, tmp_path / out, workspace=workspace, **how
    )
    by_box = ask("a", scene[1].path, box=scene[1].box).results[0]
    source = read_source(scenes.coco, objects=[1007])
    by_id = ask("b", source).results[0]
    assert np.array_equal(np.load(by_box.map), np.load(by_id.map))
    assert by_box.to_dict()["box"] == by_id.to_dict()["box"] == list(scene[1].box)
    assert by_id.to_dict()["object"] == 1007
    assert by_id.to_dict()["frame"] == "pixels of the photograph"
    names = [f"scene-00-1007.saliency.{suffix}" for suffix in ("json", "npy", "png")]
    assert files_of(tmp_path / "b") == names
    # Mining stretched its boxes, so that is what is shown, and nothing outside of the box speaks.
    x, y, width, height = scene[1].box
    outside = np.load(by_id.map)
    assert outside.shape == (58, 216)
    outside[int(y) : int(y + height) + 1, int(x) : int(x + width) + 1] = 0
    assert not outside.any()
    letterbox = ask("c", source, fit="letterbox").results[0]
    assert not np.array_equal(np.load(by_id.map), np.load(letterbox.map))


def test_whole_photographs_under_a_graph_of_boxes_get_a_hint(workspace, opened, scenes, scene):
    hint = box_hint(opened[0], asked_source([scene[0].path, scenes.folder / "04.png"]).objects)
    assert "mined from boxes" in hint
    assert "2 photographs are asked about as a whole" in hint
    assert "--box x,y,w,h" in hint
    assert box_hint(opened[0], scene) is None
    answer = explgraph("locate", workspace, scene[0].path)
    assert answer.err.count("explgraph: hint: the graph was mined from boxes") == 1
    answer = explgraph("locate", workspace, scene[0].path, "--json")
    assert answer.json()["hint"].startswith("the graph was mined from boxes")
    answer = explgraph("locate", workspace, scene[0].path, "--box", "3,4,50,50", "--json")
    assert answer.json()["hint"] is None


def test_a_graph_of_whole_photographs_gives_no_hint(folder_workspace, scenes):
    with Workspace(folder_workspace) as workspace:
        assert box_hint(workspace, read_source(scenes.folder).objects) is None


def test_every_answer_about_nodes_has_the_hint(opened, scene, tmp_path):
    workspace, network = opened
    whole = draw_heat_maps("nodemap", network, scene[0].path, tmp_path, workspace=workspace)
    boxed = draw_heat_maps(
        "nodemap", network, scene[0].path, tmp_path, workspace=workspace, box=scene[0].box
    )
    assert "mined from boxes" in whole.to_dict()["hint"]
    assert boxed.to_dict()["hint"] is None
    (record,) = boxed.to_dict()["results"]
    assert all(number > 0 for number in record["nodes_found"].values())
    # A class is asked of the network, not of the graph.
    found = draw_heat_maps("saliency", network, scene[0].path, tmp_path, workspace=workspace)
    assert found.hint is None


def test_nodes_below_the_threshold_are_not_found(workspace, opened, scenes, tmp_path):
    """On a photograph of blobs: the record, the map, the picture and the table say so."""
    blobs = sorted(scenes.background.iterdir())[0]
    where = locate_source(opened[0], blobs, network=opened[1])
    assert {row["found"] for row in where.locations} >= {False}
    assert all(row["found"] == (row["score"] >= FOUND) for row in where.locations)
    lost = min(where.locations, key=lambda row: row["score"])["node"]
    ask = ("--workspace", workspace, "--node", lost, "--out", tmp_path, "--box", "0,0,30,30")
    answer = explgraph("nodemap", blobs, *ask, "--json").json()["results"][0]
    assert answer["found"] is False
    assert answer["node_score"] < FOUND
    assert f"{lost} was not found: its score is" in answer["empty"]
    assert not np.load(answer["map"]).any()
    assert answer["boxes"] == []
    answer = explgraph("saliency", blobs, *ask, "--json").json()["results"][0]
    assert answer["found"] is False
    assert f"{lost} not found (score " in explgraph("saliency", blobs, *ask).out
    rows = explgraph("locate", workspace, blobs, "--top", "9999").out.splitlines()[1:]
    said = sum(line.endswith("not found") for line in rows)
    assert said == sum(not row["found"] for row in where.locations)


def test_a_node_that_is_found_says_so(workspace, opened, scene, tmp_path):
    (view,) = node_views(*opened, asked_source(scene[0].path, box=scene[0].box))
    best = view.nodes[int(view.scores.argmax())]
    (one,) = draw_heat_maps(
        "nodemap",
        opened[1],
        scene[0].path,
        tmp_path,
        box=scene[0].box,
        workspace=opened[0],
        node=best,
    ).results
    assert one.to_dict()["found"] is True


def test_explanations_of_boxes_say_which_and_where(opened, scene, tmp_path):
    boxes = [one.box for one in scene[:2]]
    options = ExplainOptions(tested=3, nodes=2)
    first, second = explain_images(*opened, scene[0].path, options, box=boxes, out=tmp_path)
    assert first.figure.name == "scene-00-1.explain.png"
    record = json.loads((tmp_path / "scene-00-2.explain.json").read_text())
    assert record == second.to_dict()
    assert (record["object"], record["box"]) == (2, list(boxes[1]))
    assert all("found" in node for node in record["nodes"])
    x, y = boxes[1][:2]
    assert second.to_text().startswith(f"{scene[0].path}, object 2 in the box {x:g},{y:g},")


def test_the_figure_of_an_explanation_shows_the_box_in_its_surroundings(opened, scene):
    (why,) = explain_images(*opened, scene[1].path, ExplainOptions(tested=3), box=scene[1].box)
    figure = explain_figure(load_image(why.view.obj), why.explanation, why.view)
    places = figure.axes[0]
    (drawn,) = places.patches
    x, _, width, height = scene[1].box
    box = (*drawn.get_xy(), drawn.get_width(), drawn.get_height())
    assert box == pytest.approx(scene[1].box)
    assert places.get_xlim()[0] == pytest.approx(max(x - max(width, height) / 2, 0), abs=1)
    assert places.get_ylim() == (58, 0)


def test_what_is_asked_must_fit(opened, scenes, scene):
    with pytest.raises(UsageError, match="a COCO file has its own boxes"):
        asked_source(scenes.coco, box=(1, 2, 30, 30))
    with pytest.raises(UsageError, match="got 3 boxes and 2 images"):
        asked_source([scene[0].path] * 2, box=[(1, 2, 30, 30)] * 3)
    with pytest.raises(UsageError, match="gives no object 3; its objects are 1000, 1007"):
        asked_source(scenes.coco, objects=[3])
    pair = asked_source([scene[0].path] * 2, box=[(1, 2, 30, 30), (5, 2, 30, 30)]).objects
    assert [one.box[0] for one in pair] == [1, 5]


@pytest.mark.parametrize(
    "box", ["zebra", (1, 2, 3), (1, 2, 0.5, 9), (1, 2, float("nan"), 9), [(1, 2, 3, 4), (1,)], []]
)
def test_a_box_that_is_none_is_misuse(scene, box):
    with pytest.raises(UsageError, match="a box must be x, y, width, height in pixels"):
        asked_source(scene[0].path, box=box)


def test_a_box_outside_of_the_photograph_is_skipped_and_named(opened, scene, tmp_path):
    answer = draw_heat_maps(
        "saliency", opened[1], scene[0].path, tmp_path, box=[(900, 2, 30, 30), (3, 2, 30, 30)]
    )
    assert len(answer.results) == 1
    assert "lies outside of the image" in answer.skipped[0].reason


def test_a_part_is_hidden_only_where_its_node_is_found(workspace, scenes, opened):
    where = locate_source(opened[0], read_source(scenes.coco, limit=8), network=opened[1])
    times = Counter(row["node"] for row in where.locations if row["found"])
    node, n = next((node, n) for node, n in times.items() if 2 <= n < 8)
    answer = explgraph(
        *("correspondence", scenes.coco, "--workspace", workspace, "--node", node),
        *("--limit", 8, "--random", 1, "--json"),
    )
    assert {row["n_images"] for row in answer.json()["results"]} == {n}
