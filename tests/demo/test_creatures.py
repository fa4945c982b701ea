import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from creatures import (
    PARTS,
    SPECIES,
    creature,
    demo_dataset,
    draw_background,
    draw_creature,
    write_background,
    write_dataset,
)

SIZE = (150, 200)


@pytest.mark.parametrize("species", SPECIES)
def test_parts_lie_on_the_creature_and_inside_its_box(species):
    for seed in range(4):
        creature = draw_creature(species, seed=seed, size=SIZE)
        x, y, width, height = creature.box
        assert 0 <= x < x + width <= SIZE[1]
        assert 0 <= y < y + height <= SIZE[0]
        assert tuple(creature.parts) == PARTS
        for name, (column, row) in creature.parts.items():
            assert x <= column <= x + width, (name, seed)
            assert y <= row <= y + height, (name, seed)
            near = creature.mask[int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2]
            assert near.any(), (name, seed)


def test_the_creature_stands_out_from_what_is_behind_it(monkeypatch):
    with_creature = draw_creature("fox", seed=3, size=SIZE, facing="right")
    paint = creature._paint

    def paint_nothing_visible(easel, figure, scale, offset):
        return paint(creature.Easel(SIZE, light=(0, 0)), figure, scale, offset)

    monkeypatch.setattr(creature, "_paint", paint_nothing_visible)
    without = draw_creature("fox", seed=3, size=SIZE, facing="right")
    differs = np.abs(with_creature.image.astype(int) - without.image).max(2) > 12
    assert differs[with_creature.mask].mean() > 0.9
    assert differs[~with_creature.mask].mean() < 0.02


def test_the_same_seed_draws_the_same_picture():
    first, second, other = (draw_creature("zebra", seed=seed, size=SIZE) for seed in (7, 7, 8))
    assert np.array_equal(first.image, second.image)
    assert first.parts == second.parts
    assert not np.array_equal(first.image, other.image)


def test_both_facings_occur_about_equally():
    left = sum(
        draw_creature("heron", seed=seed, size=(60, 80)).facing == "left" for seed in range(50)
    )
    assert 15 <= left <= 35


def test_the_other_facing_is_the_mirror_image():
    left, right = (
        draw_creature("deer", seed=5, size=SIZE, facing=facing) for facing in ("left", "right")
    )
    assert np.array_equal(left.image, right.image[:, ::-1])
    assert np.array_equal(left.mask, right.mask[:, ::-1])
    assert left.hidden == right.hidden
    for name in PARTS:
        assert left.parts[name] == pytest.approx(
            (SIZE[1] - right.parts[name][0], right.parts[name][1])
        )


@pytest.mark.parametrize("species", SPECIES)
def test_the_head_is_ahead_of_the_front_leg(species):
    for seed in range(8):
        creature = draw_creature(species, seed=seed, size=(90, 120))
        ahead = (creature.parts["head"][0] - creature.parts["front_leg"][0]) / creature.box[2]
        assert (ahead if creature.facing == "right" else -ahead) > 0, seed


def test_a_mixture_wears_the_head_of_another_species():
    fox = SPECIES["fox"]
    plain = draw_creature(fox, seed=2, size=SIZE, facing="right")
    mixed = draw_creature(replace(fox, head="rooster"), seed=2, size=SIZE, facing="right")
    assert not np.array_equal(plain.image, mixed.image)


def test_wrong_requests_are_refused_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"unknown species 'fix'.*fox"):
        draw_creature("fix", seed=0)
    with pytest.raises(ValueError, match="at least 48"):
        draw_creature("fox", seed=0, size=(20, 200))
    with pytest.raises(ValueError, match="facing"):
        draw_creature("fox", seed=0, facing="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n >= 1"):
        write_dataset(tmp_path / "none", species="fox", n=0)
    with pytest.raises(ValueError, match="unknown species"):
        write_dataset(tmp_path / "none", species=["fox", "fix"], n=4)
    with pytest.raises(ValueError, match="n >= 1"):
        write_background(tmp_path / "none", n=0)
    assert not (tmp_path / "none").exists()


def test_the_dataset_is_valid_coco(tmp_path):
    path = write_dataset(tmp_path, species=["fox", "heron"], n=12, seed=4, size=SIZE)
    data = json.loads(path.read_text())
    assert [category["name"] for category in data["categories"]] == ["fox", "heron"]
    assert all(
        category["keypoints"][:2] == ["head", "front_leg"] for category in data["categories"]
    )
    assert [annotation["category_id"] for annotation in data["annotations"]] == [1, 2] * 6
    images = {image["id"]: image for image in data["images"]}
    for annotation in data["annotations"]:
        image = images[annotation["image_id"]]
        with Image.open(tmp_path / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (SIZE[1], SIZE[0])
        x, y, width, height = annotation["bbox"]
        assert min(x, y) >= 0
        assert x + width <= image["width"]
        assert y + height <= image["height"]
        keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)
        assert len(keypoints) == annotation["num_keypoints"] == len(PARTS)
        assert ((keypoints[:, :2] >= (x, y)) & (keypoints[:, :2] <= (x + width, y + height))).all()
        assert set(keypoints[:, 2]) <= {1, 2}
        assert 0 < annotation["area"] <= width * height


def test_a_longer_dataset_begins_with_the_shorter_one(tmp_path):
    short, long = (
        write_dataset(tmp_path / str(n), species="civet", n=n, seed=1, size=(60, 80))
        for n in (3, 5)
    )
    assert (
        json.loads(long.read_text())["annotations"][:3]
        == json.loads(short.read_text())["annotations"]
    )
    assert (tmp_path / "3/creatures/00003.jpg").read_bytes() == (
        tmp_path / "5/creatures/00003.jpg"
    ).read_bytes()


def test_a_broken_off_dataset_has_no_coco_file(tmp_path):
    (tmp_path / "creatures/00002.jpg").mkdir(parents=True)
    with pytest.raises(OSError, match="00002"):
        write_dataset(tmp_path, species="fox", n=3, size=(60, 80))
    assert not list(tmp_path.glob("*.json*"))


def test_backgrounds_show_no_creature_and_differ(tmp_path):
    folder = write_background(tmp_path / "plain", n=4, seed=2, size=(60, 80))
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.jpg"))]
    assert [picture.shape for picture in pictures] == [(60, 80, 3)] * 4
    assert not np.array_equal(pictures[0], pictures[1])
    assert draw_background(seed=1).shape == (180, 240, 3)


def test_the_demo_dataset_is_one_species_with_as_many_backgrounds(tmp_path):
    coco, background = demo_dataset(tmp_path, n=3, seed=1)
    data = json.loads(coco.read_text())
    assert len(data["annotations"]) == len(list(background.glob("*.jpg"))) == 3
    assert len(data["categories"]) == 1
