import csv
from dataclasses import replace

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from builders.places import HEAD, OTHER, PLACES

from explgraph.errors import UsageError
from explgraph.formats import PART_FORMATS, part_format, write_parts


@pytest.mark.parametrize(
    ("name", "read"), [("p.csv", pyarrow.csv.read_csv), ("p.parquet", pq.read_table)]
)
def test_tables_have_a_row_for_each_place(tmp_path, name, read):
    rows = read(write_parts(PLACES, tmp_path / name)).to_pylist()
    assert rows == [place.to_dict() for place in PLACES]
    assert len(rows[0]) == 11
    assert [(row["visible"], row["unsure"]) for row in rows] == [
        (True, False),
        (False, True),
        (True, True),
    ]


def test_a_table_without_places_has_its_columns(tmp_path):
    table = pq.read_table(write_parts((), tmp_path / "p.parquet"))
    assert table.column_names == list(HEAD.to_dict())
    assert table.num_rows == 0


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_no_cell_is_a_formula(tmp_path, first):
    name = f'{first}HYPERLINK("http://x","y").jpg'
    places = [
        replace(HEAD, image=name, part=f"{first}1+1", x=-2.5),
        replace(OTHER, image=f"a{first}b"),
    ]
    with write_parts(places, tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        one, other = csv.DictReader(file)
    assert (one["image"], one["part"]) == (f"'{name}", f"'{first}1+1")
    assert (one["x"], other["image"]) == ("-2.5", f"a{first}b")
    exact = pq.read_table(write_parts(places, tmp_path / "p.parquet")).to_pylist()
    assert exact[0]["image"] == name  # no spreadsheet reads Parquet


def test_the_format_is_named_or_told_from_the_suffix(tmp_path):
    for format, suffixes in PART_FORMATS.items():
        assert part_format(tmp_path / "p", format) == format
        assert all(part_format(tmp_path / f"p{suffix}") == format for suffix in suffixes)
    with pytest.raises(UsageError, match=r"must end in .json \(COCO\), .csv, .parquet or .xml"):
        part_format(tmp_path / "p.txt")
    with pytest.raises(UsageError, match="does not exist"):
        part_format(tmp_path / "none" / "p.csv")


def test_only_label_studio_takes_a_prefix(tmp_path):
    assert part_format(tmp_path / "p", "label-studio", image_prefix="https://x/") == "label-studio"
    with pytest.raises(UsageError, match="got it with coco"):
        part_format(tmp_path / "p.json", image_prefix="https://x/")
