"""Whatever a COCO file holds, each annotation is an object, or the file or it is refused."""

import json
import math

import pytest
from builders.broken_json import bytes_of, changed, written
from builders.fuzzing import ALL, fault, structured
from builders.tiny_network import make
from hypothesis import given
from hypothesis import strategies as st

from explgraph import MineJob, Workspace, evaluate_workspace, mine_workspace
from explgraph.errors import ExplgraphError, MiningError
from explgraph.images import load_input, read_source
from explgraph.network import wrap
from explgraph.parts import marks_from_coco

WHOLE = {
    "images": [
        {"id": 50 + i, "file_name": f"scene-{i:02d}.png", "width": 216, "height": 58}
        for i in range(4)
    ],
    "annotations": [
        {
            "id": 1000 + 7 * i, "image_id": 50 + i % 4, "category_id": 1, "iscrowd": 0,
            "bbox": [5.5 + 70 * (i // 4), 3.25, 60.0, 50.5],
            "keypoints": [40.0 + i, 20.0, 2, 30.0 + i, 44.0, i % 3],
        }
        for i in range(12)
    ],
    "categories": [
        {"id": 1, "name": "creature", "keypoints": ["head", "leg"]},
        {"id": 2, "name": "nothing", "keypoints": []},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(scenes):
    return scenes.coco.parent


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("coco") / "broken.json"


@pytest.fixture(scope="module")
def opened(workspace):
    with Workspace(workspace) as one:
        one.known_objects()
        yield one


def check_objects(source):
    """Each object is what can be stored and looked at."""
    assert len({one.annotation_id for one in source.objects}) == len(source.objects)
    for one in source.objects:
        for number in (one.annotation_id, one.image_id):
            assert type(number) is int
            assert -(2**63) <= number < 2**63
        points = [value for point in one.landmarks.values() for value in point]
        assert all(map(math.isfinite, [*one.box, *points]))
        assert min(one.box[2:]) >= 1
        (one.file_name + (one.label or "") + "".join(one.landmarks)).encode()
        assert one.path.resolve().is_relative_to(source.root.resolve())
    for one in source.skipped:
        assert one.reason
        assert one.path
        json.dumps(one.to_dict()).encode()


def check_nothing_is_lost(document, source):
    """Each annotation that is no crowd's is an object, or it or its image is named."""
    names = {image["id"]: image.get("file_name") for image in document["images"]}
    there = {one.annotation_id for one in source.objects}
    said = " ".join(f"{one.path} {one.reason}" for one in source.skipped)
    for annotation in document["annotations"]:
        number, image = annotation["id"], annotation.get("image_id")
        if number in there or annotation.get("iscrowd"):
            continue
        by_image = isinstance(image, int) and (
            f"image {image}" in said or str(names.get(image)) in said
        )
        assert f"annotation {number}" in said or by_image, f"annotation {number} is lost"


@structured(350, quick=60)
@given(document=changed(WHOLE))
def test_a_broken_coco_file_is_refused_or_its_objects_are_sound(document, photos, file):
    def read():
        source = read_source(written(document, file), images=photos)
        check_objects(source)
        check_nothing_is_lost(document, source)
        for one in source.objects:
            ask = lambda one=one: load_input(one, height=16, width=16)
            assert fault(ask, one.path) is None

    assert fault(read, file) is None


@structured(150, quick=20)
@given(content=bytes_of(WHOLE))
def test_damaged_bytes_of_a_coco_file_are_refused_or_read(content, photos, file):
    file.write_bytes(content)
    assert fault(lambda: check_objects(read_source(file, images=photos)), file) is None


@structured(150, quick=15)
@given(data=st.data())
def test_landmarks_of_a_broken_coco_file_are_compared_or_refused(data, scenes, opened, tmp_path):
    whole = json.loads(scenes.coco.read_text())
    broken = tmp_path / "scenes.json"
    for name in ("categories", "annotations", "images"):
        if data.draw(st.booleans()):
            # The first few of many, so that changes meet what is asked below.
            few = 1 if name == "categories" else 4
            start = data.draw(changed(whole[name][:few]))
            whole[name][:few] = start if isinstance(start, list) else [start]
    if data.draw(st.integers(0, 9)):
        written(whole, broken)
    else:
        broken.write_bytes(data.draw(bytes_of(whole)))
    beside = tmp_path / "scene-00.png"
    if not beside.exists():
        for photo in scenes.coco.parent.glob("*.png"):
            (tmp_path / photo.name).symlink_to(photo)
    assert fault(lambda: evaluate_workspace(opened, broken).to_dict()) is None
    known = opened.known_objects()
    assert fault(lambda: marks_from_coco(broken, [1000, 1007, 1014], "head", known)) is None


@pytest.mark.skipif(not ALL, reason="mines a graph each")
@structured(40, quick=1)
@given(document=changed(WHOLE, most=1))
def test_what_is_wrong_with_a_coco_file_is_said_before_the_network_runs(
    document, photos, file, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("mined") / "ws"
    job = MineJob(written(document, file), wrap(make()), ("features.4",), images=photos)
    stages = []

    def mine():
        try:
            mine_workspace(folder, job, device="cpu", report=lambda *stage: stages.append(stage))
        except MiningError:  # too few objects are left
            return
        except ExplgraphError:
            assert {stage for stage, *_ in stages} <= {"network"}
            raise

    assert fault(mine) is None
