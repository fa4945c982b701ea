import json
from dataclasses import replace

from builders.places import HEAD, OTHER, PLACES, TAIL

from explgraph.formats import write_parts


def test_coco_has_one_annotation_for_each_object(tmp_path):
    data = json.loads(write_parts(PLACES, tmp_path / "p.json").read_text())
    assert data["categories"][0]["keypoints"] == ["head", "tail"]
    assert [(one["id"], one["width"], one["height"]) for one in data["images"]] == [
        (9, 40, 50),
        (3, 8, 4),
    ]
    first, second = data["annotations"]
    assert (first["id"], first["image_id"], first["num_keypoints"]) == (4, 9, 2)
    assert first["keypoints"] == [10.0, 25.0, 2, 30.0, 5.0, 1]  # 1: not visible
    assert (first["bbox"], first["area"]) == ([1.0, 2.0, 30.0, 20.0], 600.0)
    assert (first["score"], first["part_scores"]) == (0.25, {"head": 0.75, "tail": 0.25})
    assert second["keypoints"] == [0.0, 0.0, 0, 1.0, 2.0, 2]  # 0: not located


def categories(places, tmp_path):
    """Category of each object, and what the file says the categories are."""
    data = json.loads(write_parts(places, tmp_path / "p.json").read_text())
    return (
        [one["category_id"] for one in data["annotations"]],
        {one["id"]: one["name"] for one in data["categories"]},
    )


def test_objects_keep_the_category_of_their_source(tmp_path):
    lion = replace(OTHER, label="lion", category_id=1)
    assert categories([HEAD, TAIL, lion], tmp_path) == ([17, 1], {1: "lion", 17: "zebra"})


def test_objects_without_a_category_get_free_ids(tmp_path):
    # A category that the source does not declare; no category; subfolders, which have no ids.
    assert categories([replace(HEAD, label=None)], tmp_path) == ([17], {17: "object"})
    assert categories([OTHER], tmp_path) == ([1], {1: "object"})
    folders = [
        replace(OTHER, annotation_id=number, label=name)
        for number, name in enumerate(("zebra", "lion", "zebra"))
    ]
    assert categories(folders, tmp_path) == ([2, 1, 2], {1: "lion", 2: "zebra"})
    mixed = [replace(HEAD, category_id=1), OTHER]
    assert categories(mixed, tmp_path) == ([1, 2], {1: "zebra", 2: "object"})
