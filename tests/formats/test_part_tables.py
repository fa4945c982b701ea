import json

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from explgraph.errors import UsageError
from explgraph.formats import PART_FORMATS, PartPlace, part_format, write_parts

HEAD = PartPlace(
    4,
    "a.jpg",
    "head",
    10.0,
    25.0,
    0.75,
    0.0625,
    True,
    2,
    False,
    9,
    (40, 50),
    (1.0, 2.0, 30.0, 20.0),
)
TAIL = PartPlace(
    4, "a.jpg", "tail", 30.0, 5.0, 0.25, 0.5, False, 2, False, 9, (40, 50), (1.0, 2.0, 30.0, 20.0)
)
OTHER = PartPlace(
    7, "b.jpg", "tail", 1.0, 2.0, 0.5, 0.125, True, 3, True, 3, (8, 4), (0.0, 0.0, 8.0, 4.0)
)
PLACES = (HEAD, TAIL, OTHER)


@pytest.mark.parametrize(
    ("name", "read"), [("p.csv", pyarrow.csv.read_csv), ("p.parquet", pq.read_table)]
)
def test_tables_have_a_row_for_each_place(tmp_path, name, read):
    rows = read(write_parts(PLACES, tmp_path / name)).to_pylist()
    assert rows == [place.to_dict() for place in PLACES]
    assert len(rows[0]) == 10


def test_a_table_without_places_has_its_columns(tmp_path):
    table = pq.read_table(write_parts((), tmp_path / "p.parquet"))
    assert table.column_names == list(HEAD.to_dict())
    assert table.num_rows == 0


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


def test_label_studio_gets_percent_of_the_photograph(tmp_path):
    written = write_parts(PLACES, tmp_path / "p.json", format="label-studio")
    first, second = json.loads(written.read_text())
    assert (first["data"], second["data"]) == ({"image": "a.jpg"}, {"image": "b.jpg"})
    (prediction,) = first["predictions"]
    assert prediction["score"] == 0.25
    values = [one["value"] for one in prediction["result"]]
    assert [(one["x"], one["y"]) for one in values] == [(25.0, 50.0), (75.0, 10.0)]
    assert values[1]["keypointlabels"] == ["tail"]


def test_the_format_is_named_or_told_from_the_suffix(tmp_path):
    for format, suffixes in PART_FORMATS.items():
        assert part_format(tmp_path / "p", format) == format
        assert all(part_format(tmp_path / f"p{suffix}") == format for suffix in suffixes)
    with pytest.raises(UsageError, match=r"must end in .json \(COCO\), .csv or .parquet"):
        part_format(tmp_path / "p.xml")
    with pytest.raises(UsageError, match="does not exist"):
        part_format(tmp_path / "none" / "p.csv")
