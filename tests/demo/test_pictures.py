import json
from importlib.resources import files
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from creatures import DEMO_SPECIES, draw_background, draw_creature
from explgraph.demo import unpack_pictures
from explgraph.demo.pictures import ARCHIVE


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return unpack_pictures(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_packed_creatures_are_those_of_the_generator(pictures, seed):
    dataset = (pictures.mined, pictures.new)[seed]
    data = json.loads(dataset.read_text())
    assert len(data["images"]) == len(data["annotations"]) == (120, 12)[seed]
    for number in (0, 7, len(data["images"]) - 1):
        drawn = draw_creature(DEMO_SPECIES, seed=np.random.default_rng([seed, number]))
        packed = np.asarray(Image.open(dataset.parent / data["images"][number]["file_name"]))
        assert np.abs(packed.astype(int) - drawn.image).mean() < 4  # JPEG
        annotation = data["annotations"][number]
        assert annotation["bbox"] == list(drawn.box)
        places = np.reshape(annotation["keypoints"], (-1, 3))[:, :2]
        np.testing.assert_allclose(places, list(drawn.parts.values()), atol=0.006)


def test_the_packed_scenes_are_those_of_the_generator(pictures):
    paths = sorted(pictures.background.iterdir())
    assert len(paths) == 120
    drawn = draw_background(seed=np.random.default_rng([0, 7, 1]))
    assert np.abs(np.asarray(Image.open(paths[7])).astype(int) - drawn).mean() < 4


def test_pictures_are_unpacked_once_and_whole(tmp_path):
    first = unpack_pictures(tmp_path)
    photo = first.mined.parent / "creatures" / "00001.jpg"
    photo.write_bytes(b"changed")
    assert unpack_pictures(tmp_path) == first
    assert photo.read_bytes() == b"changed"
    first.new.unlink()  # as if the job was killed before the last file
    unpack_pictures(tmp_path)
    assert len(photo.read_bytes()) > 1000
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    with ZipFile(str(files("explgraph.demo") / ARCHIVE)) as archive:
        assert names == set(archive.namelist())


def test_the_archive_is_small():
    assert len((files("explgraph.demo") / ARCHIVE).read_bytes()) < 4_000_000
