"""Which classes the labels of a source mean."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from explgraph.errors import SourceError, UsageError
from explgraph.images import ImageObject
from explgraph.queries import class_numbers, read_classes

timm = pytest.importorskip("timm")
# Known from ILSVRC's devkit, not from timm.
KNOWN = {"n01440764": 0, "n02391049": 340, "n02129165": 291, "n15075141": 999}


def network(classes):
    return SimpleNamespace(name="net", classes=classes)


def photo(folder, label):
    return ImageObject(1, 1, f"{label}/a.jpg", Path(folder) / label / "a.jpg", label=label)


@pytest.fixture
def thousand():
    return network(tuple(f"class {number:03d}" for number in range(1000)))


@pytest.fixture
def without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.data.imagenet_info", None)


def test_a_thousand_wnid_folders_are_the_classes_in_order(tmp_path, thousand, without_timm):
    wnids = [f"n{7 * number + 10_000_000:08d}" for number in range(1000)]
    for wnid in reversed(wnids):
        (tmp_path / wnid).mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "n00000001").write_text("no folder")
    asked = [photo(tmp_path, wnids[number]) for number in (999, 3, 3, 0)]
    assert class_numbers(thousand, asked) == {wnids[999]: 999, wnids[3]: 3, wnids[0]: 0}
    (tmp_path / "n99999999").mkdir()  # which of them are the classes?
    with pytest.raises(UsageError, match=r"which class of net 'n10006993' is cannot be told"):
        class_numbers(thousand, asked)


def test_a_few_wnid_folders_are_known_to_timm(tmp_path, thousand):
    for wnid in KNOWN:
        (tmp_path / wnid).mkdir()
    assert class_numbers(thousand, [photo(tmp_path, wnid) for wnid in KNOWN]) == KNOWN
    with pytest.raises(UsageError, match="cannot be told"):
        class_numbers(thousand, [photo(tmp_path, next(iter(KNOWN))), photo(tmp_path, "n00000002")])


def test_without_timm_and_with_other_classes_wnids_are_refused(tmp_path, thousand, monkeypatch):
    (tmp_path / "n02391049").mkdir()
    asked = [photo(tmp_path, "n02391049")]
    for other in (network(("zebra", "lion")), network(None)):
        with pytest.raises(UsageError, match="a line such as 'n02391049 zebra'"):
            class_numbers(other, asked)
    assert class_numbers(network(("lion", "n02391049")), asked) == {"n02391049": 1}
    monkeypatch.setitem(sys.modules, "timm.data.imagenet_info", None)
    with pytest.raises(UsageError, match="--classes"):
        class_numbers(thousand, asked)


def test_a_file_says_what_the_labels_mean(tmp_path):
    net = network(("lion", "zebra", "great white shark"))
    asked = [photo(tmp_path, label) for label in ("n02391049", "sharks", "lion")]
    wanted = {"n02391049": 1, "sharks": 2, "lion": 0}
    for name, text in (
        ("a.txt", "n02391049 zebra\n\nsharks\tgreat white shark\nlion 0\n"),
        ("b.txt", "lion\nn02391049\r\nsharks\n"),
        ("c.json", '{"n02391049": "zebra", "sharks": 2, "lion": "lion"}'),
        ("d.json", '{"0": ["lion", "x"], "1": ["n02391049", "y"], "2": ["sharks", "z"]}'),
    ):
        (tmp_path / name).write_text(text)
        assert class_numbers(net, asked, classes=read_classes(tmp_path / name)) == wanted, name
    with pytest.raises(UsageError, match="which class of net 'lion' is cannot be told"):
        class_numbers(net, asked, classes={"n02391049": 1, "sharks": 2})
    with pytest.raises(UsageError, match="'tiger' is not a class"):
        class_numbers(net, asked, classes={"n02391049": "tiger"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", ""),
        ("a.txt", "lion 0\nzebra\n"),
        ("a.json", "[1]"),
        ("a.json", '{"lion": null}'),
        ("a.json", '{"first": ["lion"]}'),
        ("a.json", "["),
        ("a.txt", None),
    ],
)
def test_a_file_that_says_nothing_is_refused(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match="does not say which class each label means"):
        read_classes(tmp_path / name)


def test_a_label_that_means_two_classes_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("lion 0\nlion 1\n")
    with pytest.raises(UsageError, match="says twice which class 'lion' means"):
        read_classes(tmp_path / "a.txt")


def test_the_file_of_keras_is_read(tmp_path):
    plain = {str(number): [f"n{number:08d}", "name"] for number in range(1000)}
    (tmp_path / "imagenet_class_index.json").write_text(json.dumps(plain))
    read = read_classes(tmp_path / "imagenet_class_index.json")
    assert read == {f"n{number:08d}": number for number in range(1000)}
