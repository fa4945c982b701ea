import json
from dataclasses import replace

import pytest
from builders.places import HEAD, PLACES

from explgraph.formats import write_parts


def tasks(places, tmp_path, **options):
    written = write_parts(places, tmp_path / "p.json", format="label-studio", **options)
    return json.loads(written.read_text())


def test_label_studio_gets_percent_of_the_photograph(tmp_path):
    first, second = tasks(PLACES, tmp_path)
    assert (first["data"], second["data"]) == ({"image": "a.jpg"}, {"image": "b.jpg"})
    (prediction,) = first["predictions"]
    assert prediction["score"] == 0.25
    values = [one["value"] for one in prediction["result"]]
    assert [(one["x"], one["y"]) for one in values] == [(25.0, 50.0), (75.0, 10.0)]
    assert values[1]["keypointlabels"] == ["tail"]


def test_what_is_doubtful_says_so_in_its_notes(tmp_path):
    first, second = (task["predictions"][0]["result"] for task in tasks(PLACES, tmp_path))
    notes = [region.get("meta") for region in (*first, *second)]
    assert notes == [None, {"text": ["not visible"]}, {"text": ["unsure"]}]


@pytest.mark.parametrize(
    ("prefix", "image"),
    [
        (None, "a b/50%#1.jpg"),
        ("", "a b/50%#1.jpg"),
        ("https://host/photos/", "https://host/photos/a%20b/50%25%231.jpg"),
        ("/data/local-files/?d=set/", "/data/local-files/?d=set/a%20b/50%25%231.jpg"),
        ("s3://bucket/", "s3://bucket/a b/50%#1.jpg"),
    ],
)
def test_a_prefix_says_where_the_photographs_are(tmp_path, prefix, image):
    (task,) = tasks([replace(HEAD, image="a b/50%#1.jpg")], tmp_path, image_prefix=prefix)
    assert task["data"] == {"image": image}
