import json
import os

import pytest
from builders.real import SHARED
from PIL import Image

from explgraph.errors import SourceError, UsageError
from explgraph.images import ImageObject, read_source


def save(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path)
    return path


def coco(folder, **changes):
    save(folder / "pics" / "a.jpg")
    save(folder / "pics" / "b.jpg")
    data = {
        "images": [
            {"id": 7, "file_name": "pics/a.jpg", "width": 40, "height": 30},
            {"id": 3, "file_name": "pics/b.jpg", "width": 40, "height": 30},
        ],
        "annotations": [
            {
                "id": 11,
                "image_id": 3,
                "category_id": 1,
                "bbox": [1, 2, 10, 20],
                "keypoints": [3, 4.5, 2, 0, 0, 0],
            },
            {"id": 12, "image_id": 7, "category_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 0},
            {"id": 13, "image_id": 3, "category_id": 2, "bbox": [5, 5, 5.5, 5]},
        ],
        "categories": [
            {"id": 1, "name": "horse", "keypoints": ["head", "tail"]},
            {"id": 2, "name": "zebra"},
        ],
    }
    data.update(changes)
    path = folder / "ann.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def annotated(folder, **changes):
    """Return the source of a COCO file with two annotations, the second one changed."""
    first = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]}
    return read_source(coco(folder, annotations=[first, {**first, "id": 2, **changes}]))


# Folders


def test_every_image_of_a_folder_is_an_object_in_the_order_of_its_path(tmp_path):
    for name in ("b.png", "Zebra/2.jpg", "Zebra/10.JPG", "a/deep/x.webp"):
        save(tmp_path / name)
    source = read_source(tmp_path)
    assert [o.file_name for o in source.objects] == [
        "Zebra/10.JPG",
        "Zebra/2.jpg",
        "a/deep/x.webp",
        "b.png",
    ]
    assert (
        [o.annotation_id for o in source.objects]
        == [o.image_id for o in source.objects]
        == [1, 2, 3, 4]
    )
    assert [o.label for o in source.objects] == ["Zebra", "Zebra", "deep", None]
    assert {o.box for o in source.objects} == {None}
    assert (source.kind, source.root, source.skipped) == ("folder", tmp_path, ())
    assert all(o.path == tmp_path / o.file_name for o in source.objects)


def test_hidden_files_and_folders_are_ignored(tmp_path):
    for name in ("a.png", ".b.png", ".cache/c.png"):
        save(tmp_path / name)
    source = read_source(tmp_path)
    assert [o.file_name for o in source.objects] == ["a.png"]
    assert source.skipped == ()


def test_names_with_blanks_and_any_script_are_kept(tmp_path):
    names = ["Pferde 2/žluťoučký kůň.png", "馬/ 1 .png"]
    for name in names:
        save(tmp_path / name)
    assert [o.file_name for o in read_source(tmp_path).objects] == names


def test_other_files_are_skipped_and_named(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "README").write_text("no image")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    skipped = {s.path: s.reason for s in read_source(tmp_path).skipped}
    assert set(skipped) == {"notes.txt", "README", "gone.jpg", "pipe.png"}
    assert "'.txt'" in skipped["notes.txt"]
    assert "not a regular file" in skipped["pipe.png"]


def test_names_that_cannot_be_stored_are_skipped(tmp_path):
    save(tmp_path / "a.png")
    try:
        (tmp_path / os.fsdecode(b"b\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    source = read_source(tmp_path)
    assert [o.file_name for o in source.objects] == ["a.png"]
    assert [s.path for s in source.skipped] == ["b?.png"]


def test_links_that_lead_in_a_circle_end(tmp_path):
    save(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    assert [o.file_name for o in read_source(tmp_path).objects] == ["a/x.png"]


def test_linked_folders_are_followed(tmp_path):
    save(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [o.file_name for o in read_source(tmp_path / "source").objects] == ["link/x.png"]


def test_a_limit_takes_the_first_objects(tmp_path):
    for name in "dacb":
        save(tmp_path / f"{name}.png")
    assert [o.file_name for o in read_source(tmp_path, limit=2).objects] == ["a.png", "b.png"]
    assert [o.annotation_id for o in read_source(coco(tmp_path / "coco"), limit=2).objects] == [
        12,
        11,
    ]


def test_one_image_is_a_source_of_one_object(tmp_path):
    path = save(tmp_path / "a b.JPG")
    source = read_source(str(path))
    assert source.kind == "image"
    assert source.objects == (ImageObject(1, 1, "a b.JPG", path),)


def test_objects_can_be_compared_and_hashed(tmp_path):
    path = coco(tmp_path)
    assert set(read_source(path).objects) == set(read_source(path).objects)


# COCO


def test_every_annotated_box_is_an_object_grouped_by_image(tmp_path):
    source = read_source(coco(tmp_path))
    assert (source.kind, source.root, source.skipped) == ("coco", tmp_path, ())
    assert [(o.annotation_id, o.image_id, o.file_name) for o in source.objects] == [
        (12, 7, "pics/a.jpg"),
        (11, 3, "pics/b.jpg"),
        (13, 3, "pics/b.jpg"),
    ]
    assert [o.box for o in source.objects] == [(0, 0, 40, 30), (1, 2, 10, 20), (5, 5, 5.5, 5)]
    assert [o.label for o in source.objects] == ["horse", "horse", "zebra"]
    assert {o.recorded_size for o in source.objects} == {(40, 30)}


def test_keypoints_are_landmarks_by_name_without_those_not_annotated(tmp_path):
    assert [o.landmarks for o in read_source(coco(tmp_path)).objects] == [
        {},
        {"head": (3.0, 4.5)},
        {},
    ]


def test_images_may_lie_elsewhere(tmp_path):
    path = coco(tmp_path / "here").rename(tmp_path / "ann.json")
    assert [o.path for o in read_source(path, images=tmp_path / "here", limit=1).objects] == [
        tmp_path / "here/pics/a.jpg"
    ]
    with pytest.raises(SourceError, match=r"does not exist below"):
        read_source(path)
    with pytest.raises(SourceError, match="folder"):
        read_source(path, images=tmp_path / "nowhere")


def test_crowds_are_left_out(tmp_path):
    source = annotated(tmp_path, iscrowd=1)
    assert [o.annotation_id for o in source.objects] == [1]
    assert source.skipped == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bbox": [40, 0, 5, 5]}, "lies outside"),
        ({"bbox": [-9, 0, 5, 5]}, "lies outside"),
        ({"bbox": [3, 3, 0, 5]}, "at least 1 pixel"),
        ({"bbox": [3, 3, 5, -5]}, "at least 1 pixel"),
        ({"bbox": []}, "four numbers"),
        ({"bbox": None}, "four numbers"),
        ({"bbox": [3, 3, "5", 5]}, "four numbers"),
        ({"bbox": [3, 3, float("nan"), 5]}, "four numbers"),
        ({"bbox": [3, 3, float("inf"), 5]}, "four numbers"),
        ({"bbox": [3, 3, 10**400, 5]}, "four numbers"),
        ({"keypoints": [1, 2, 2, 4]}, "each of 2 names"),
        ({"image_id": 99}, "image_id 99"),
        ({"image_id": None}, "image_id None"),
    ],
)
def test_unusable_annotations_are_skipped_and_named(tmp_path, changes, reason):
    source = annotated(tmp_path, **changes)
    assert [o.annotation_id for o in source.objects] == [1]
    assert len(source.skipped) == 1
    assert "annotation 2" in source.skipped[0].reason
    assert reason in source.skipped[0].reason


def test_boxes_that_reach_over_the_border_are_kept_as_they_are(tmp_path):
    assert annotated(tmp_path, bbox=[-5, 20, 30, 30]).objects[1].box == (-5, 20, 30, 30)


@pytest.mark.parametrize("category", [5, None, [], "1"])
def test_unknown_categories_give_no_label(tmp_path, category):
    assert annotated(tmp_path, category_id=category).objects[1].label is None


def test_image_files_that_do_not_exist_are_skipped_once(tmp_path):
    path = coco(tmp_path)
    (tmp_path / "pics" / "b.jpg").unlink()
    source = read_source(path)
    assert [o.annotation_id for o in source.objects] == [12]
    assert [s.path for s in source.skipped] == ["pics/b.jpg"]
    assert "annotations: 2" in source.skipped[0].reason


@pytest.mark.parametrize("size", [{}, {"width": 0, "height": 0}, {"width": None, "height": "30"}])
def test_sizes_that_are_not_recorded_are_unknown(tmp_path, size):
    path = coco(tmp_path, images=[{"id": 7, "file_name": "pics/a.jpg", **size}])
    assert [o.recorded_size for o in read_source(path).objects] == [None]


# Misuse


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"no source at .*gone.*expected a folder"):
        read_source(tmp_path / "gone")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"no image in .*\.jpg"):
        read_source(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(SourceError, match=r"skipped 1, first a\.txt"):
        read_source(tmp_path)


def test_a_file_of_another_kind_is_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(
        SourceError, match=r"expected a folder of images, a COCO \.json file or an image"
    ):
        read_source(tmp_path / "a.csv")


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100_000])
def test_json_that_is_none_is_an_error(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SourceError, match="not a JSON file"):
        read_source(tmp_path / "a.json")


@pytest.mark.parametrize(
    "data", [[], 3, {}, {"images": []}, {"annotations": []}, {"images": {}, "annotations": []}]
)
def test_json_that_is_not_coco_is_an_error(tmp_path, data):
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(SourceError, match="not a COCO file"):
        read_source(tmp_path / "a.json")


def test_annotation_ids_must_be_unique_whole_numbers(tmp_path):
    with pytest.raises(SourceError, match="annotation ids must be unique, but 1 occurs twice"):
        annotated(tmp_path, id=1)
    with pytest.raises(SourceError, match=r"annotation number 1 .* whole number"):
        annotated(tmp_path, id="2")
    with pytest.raises(SourceError, match="image ids must be unique"):
        read_source(coco(tmp_path, images=[{"id": 7, "file_name": "a"}] * 2))


def test_coco_without_any_usable_object_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="gives no object"):
        read_source(coco(tmp_path, annotations=[]))


def test_impossible_options_are_refused(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="at least 1"):
        read_source(tmp_path, limit=0)
    with pytest.raises(UsageError, match=r"COCO \.json file only"):
        read_source(tmp_path, images=tmp_path)


@pytest.mark.real
@pytest.mark.skipif(
    not (SHARED / "data/animals").is_dir(), reason="no real photographs beside the checkout"
)
def test_real_annotations_are_read():
    source = read_source(SHARED / "data/animals/n02391049.json")
    assert len(source.objects) > 200
    assert source.skipped == ()
    assert {o.label for o in source.objects} == {"zebra"}
    assert set().union(*(o.landmarks for o in source.objects)) == {"head", "part2"}


def test_a_list_of_files_is_read_in_its_order(tmp_path):
    for name in ("b.png", "a/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "note.txt").write_text("")
    given = [tmp_path / "b.png", str(tmp_path / "a" / "c.png"), tmp_path / "b.png"]
    source = read_source([*given, tmp_path / "note.txt", tmp_path / "none.png"])
    assert [one.file_name for one in source.objects] == ["b.png", "a/c.png"]
    assert [one.path for one in source.skipped] == ["note.txt", "none.png"]
    assert source.root == tmp_path
    assert len(read_source(given, limit=1).objects) == 1
    with pytest.raises(SourceError, match="none of 1 files is an image: note"):
        read_source([tmp_path / "note.txt"])
    with pytest.raises(SourceError, match="got an empty list"):
        read_source([])
    with pytest.raises(UsageError, match="got it with a list"):
        read_source(given, images=tmp_path)


def test_files_outside_of_the_folder_are_read_only_if_that_is_allowed(tmp_path):
    outside = save(tmp_path / "private" / "o.jpg")
    folder = tmp_path / "data"
    save(folder / "pics" / "a.jpg")
    os.symlink(outside.parent, folder / "link")
    names = {
        "../private/o.jpg": False,
        "pics/../../private/o.jpg": False,
        "link/../private/o.jpg": False,  # .. of what the link leads to
        str(outside): False,
        str(folder / "pics" / "a.jpg"): False,
        "pics/../pics/a.jpg": True,
        "./pics/a.jpg": True,
        "link/o.jpg": True,
    }
    path = coco(
        folder,
        images=[{"id": k, "file_name": name} for k, name in enumerate(names)],
        annotations=[
            {"id": k, "image_id": k, "category_id": 1, "bbox": [0, 0, 9, 9]}
            for k in range(len(names))
        ],
    )
    source = read_source(path)
    assert [one.image_id for one in source.objects] == [
        k for k, inside in enumerate(names.values()) if inside
    ]
    refused = {one.path: one.reason for one in source.skipped}
    assert refused.keys() == {name for name, inside in names.items() if not inside}
    assert "image 0: its file_name leads out of" in refused["../private/o.jpg"]
    assert all("--allow-outside" in reason for reason in refused.values())
    allowed = read_source(path, allow_outside=True)
    assert len(allowed.objects) == len(names)
    assert not allowed.skipped


@pytest.mark.parametrize("kind", ["images", "annotations", "categories"])
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_ids_beyond_64_bits_are_refused_by_name(tmp_path, kind, number):
    entry = {"id": number, "name": "fox", "file_name": "pics/a.jpg"}
    with pytest.raises(SourceError, match=r"number 0 must be .* at most 64 bits") as caught:
        read_source(coco(tmp_path, **{kind: [entry]}))
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_the_largest_ids_are_read(tmp_path):
    source = annotated(tmp_path, id=2**63 - 1)
    assert [one.annotation_id for one in source.objects] == [1, 2**63 - 1]


@pytest.mark.parametrize(
    "change", [{"name": "z\ud800"}, {"name": "z", "keypoints": ["a", "\udfff"]}, {"name": "\0"}]
)
def test_names_that_cannot_be_stored_are_refused_by_their_category(tmp_path, change):
    with pytest.raises(SourceError, match=r"category 4 has the name .*cannot be stored; rename"):
        read_source(coco(tmp_path, categories=[{"id": 4, **change}]))


def test_a_file_name_that_cannot_be_stored_is_skipped_and_named(tmp_path):
    images = [{"id": 7, "file_name": "pics/a.jpg"}, {"id": 3, "file_name": "\ud800.jpg"}]
    (one,) = read_source(coco(tmp_path, images=images)).skipped
    assert "image 3: its file_name is not valid Unicode" in one.reason


def test_the_landmarks_of_a_coco_file_are_named_in_its_order_whatever_its_encoding(tmp_path):
    path = coco(tmp_path)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text(json.dumps(json.loads(path.read_bytes())), encoding=encoding)
        assert read_source(path).landmarks == ("head", "tail")
    assert read_source(tmp_path / "pics").landmarks == ()


def test_two_keypoints_of_one_name_are_refused(tmp_path):
    twice = [{"id": 1, "name": "horse", "keypoints": ["head", "head"]}]
    with pytest.raises(SourceError, match="category 1 names the keypoint 'head' twice; rename one"):
        read_source(coco(tmp_path, categories=twice))
