import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from builders.places import HEAD, OTHER, PLACES

from explgraph.errors import UsageError
from explgraph.formats import write_parts


def read(places, tmp_path):
    return ElementTree.parse(write_parts(places, tmp_path / "p.xml")).getroot()


def test_each_photograph_has_its_boxes_and_points(tmp_path):
    root = read(PLACES, tmp_path)
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    first, second = root.findall("image")
    assert first.attrib == {"id": "0", "name": "a.jpg", "width": "40", "height": "50"}
    assert second.attrib == {"id": "1", "name": "b.jpg", "width": "8", "height": "4"}
    (box,) = first.findall("box")
    corners = [float(box.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")]
    assert (box.get("label"), corners) == ("zebra", [1.0, 2.0, 31.0, 22.0])
    head, tail = first.findall("points")
    assert (head.get("label"), head.get("points"), head.get("occluded")) == (
        "head",
        "10.00,25.00",
        "0",
    )
    assert (tail.get("label"), tail.get("points"), tail.get("occluded")) == (
        "tail",
        "30.00,5.00",
        "1",
    )
    said = {one.get("name"): one.text for one in tail.findall("attribute")}
    assert said == {"score": "0.2500", "unsure": "true"}
    assert second.findall("box") == []  # the object is the photograph


def test_the_shapes_of_an_object_are_a_group(tmp_path):
    twin = [replace(place, annotation_id=5) for place in PLACES[:2]]
    first, second = read([*PLACES, *twin], tmp_path).findall("image")
    groups = lambda image: [shape.get("group_id") for shape in image]
    assert groups(first) == ["1"] * 3 + ["2"] * 3
    assert groups(second) == ["3"]


def test_the_labels_that_a_task_needs_are_listed(tmp_path):
    labels = {
        one.findtext("name"): (
            one.findtext("type"),
            [a.findtext("name") for a in one.iter("attribute")],
        )
        for one in read(PLACES, tmp_path).iter("label")
    }
    points = ("points", ["score", "unsure"])
    assert labels == {"zebra": ("rectangle", []), "head": points, "tail": points}


def test_names_are_escaped_or_refused(tmp_path):
    name, part = 'a "b" <c> & é\n.jpg', "<head> & 'neck'"
    root = read([replace(OTHER, image=name, part=part)], tmp_path)
    assert root.find("image").get("name") == name
    assert root.find("image/points").get("label") == part
    assert root.findtext("meta/task/labels/label/name") == part
    for bad in ("a\x01.jpg", "\ufffe.jpg"):
        with pytest.raises(UsageError, match="cannot hold the name"):
            write_parts([replace(HEAD, image=bad)], tmp_path / "bad.xml")
    assert not list(tmp_path.glob("*bad*"))


def test_a_file_without_places_is_whole(tmp_path):
    root = read((), tmp_path)
    assert root.findtext("meta/task/size") == "0"
    assert root.findall("image") == []
