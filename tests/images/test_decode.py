import threading

import numpy as np
import pytest
from builders.dots import DOT, SIZE, dot_image, exif, find_dot, load, noise, obj, saved
from builders.real import SHARED
from PIL import Image

from explgraph.errors import ImageError, UsageError
from explgraph.images import (
    FITS,
    PADDING,
    ImageObject,
    decode,
    decode_batches,
    load_input,
    read_source,
)
from explgraph.images.picture import Picture

BOX = (100.25, 40.5, 120.5, 95.75)

INPUT = {"height": 112, "width": 128}


# Places


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("box", [None, BOX, (-30.0, -20.0, 400.0, 300.0)])
def test_a_dot_is_found_where_it_is(tmp_path, fit, box):
    pixels, frame, size = load(saved(tmp_path / "a.png", dot_image()), fit=fit, box=box)
    pixels[(pixels == PADDING).all(-1)] = 0
    assert size == SIZE
    np.testing.assert_allclose(frame.to_image(find_dot(pixels)), DOT, atol=0.03)


@pytest.mark.parametrize("fit", FITS)
def test_a_dot_in_the_mirrored_input_is_found_where_it_is(tmp_path, fit):
    pixels, frame, _ = load(
        saved(tmp_path / "a.png", dot_image()), fit=fit, box=BOX, height=101, width=128
    )
    pixels[(pixels == PADDING).all(-1)] = 0
    np.testing.assert_allclose(
        frame.to_image(find_dot(pixels[:, ::-1]), mirrored=True), DOT, atol=0.03
    )


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_stored_picture_turn_the_orientation_off(tmp_path, orientation):
    path = saved(tmp_path / "a.jpg", dot_image(), exif=exif(orientation), quality=95)
    pixels, frame, size = load(path, box=BOX, recorded_size=SIZE)
    assert size == SIZE
    np.testing.assert_allclose(frame.to_image(find_dot(pixels)), DOT, atol=0.05)
    assert load(path, recorded_size=SIZE[::-1])[2] == SIZE[::-1]


def test_records_of_another_size_are_an_error(tmp_path):
    path = saved(tmp_path / "a.png", dot_image())
    with pytest.raises(
        ImageError, match="record says 520 x 360 pixels, but the file has 260 x 180"
    ):
        load(path, recorded_size=(520, 360))


def test_letterbox_pads_what_the_box_does_not_fill(tmp_path):
    pixels, frame, _ = load(
        saved(tmp_path / "a.png", Image.new("RGB", (100, 30), "red")),
        fit="letterbox",
        height=90,
        width=100,
    )
    assert frame.content == (0, 30, 100, 30)
    assert (pixels[30:60] == (255, 0, 0)).all()
    assert (pixels[:30] == PADDING).all()
    assert (pixels[60:] == PADDING).all()


# What cannot be used


@pytest.mark.parametrize("box", [(260.0, 0.0, 20.0, 20.0), (0.0, 179.5, 20.0, 20.0)])
def test_boxes_outside_of_the_image_are_named(tmp_path, box):
    with pytest.raises(ImageError, match="outside of the image of 260 x 180"):
        load(saved(tmp_path / "a.png", dot_image()), box=box)


def test_impossible_inputs_are_refused(tmp_path):
    path = saved(tmp_path / "a.png", dot_image())
    with pytest.raises(UsageError, match="at least 1 x 1"):
        load(path, height=0)
    with pytest.raises(UsageError, match="fit must be"):
        decode_batches([obj(path)], **INPUT, fit="crop")
    for name in ("batch_size", "workers"):
        with pytest.raises(UsageError, match=f"{name} must be at least 1"):
            decode_batches([obj(path)], **INPUT, **{name: 0})


def test_a_single_pixel_can_be_looked_at(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("RGB", (1, 1), "blue"))
    for fit in FITS:
        assert load(path, fit=fit)[2] == (1, 1)


# Batches


@pytest.fixture
def objects(tmp_path):
    """Eleven objects; 2 and 3 (one broken file) and 7 (a box outside) cannot be used."""
    result = []
    for number in range(11):
        path = tmp_path / f"{number - (number == 3)}.png"
        if number in (2, 3):
            path.write_bytes(b"broken")
        elif number != 3:
            noise((50 + number, 40)).save(path)
        box = (90.0, 0.0, 9.0, 9.0) if number == 7 else (2.5, 3.25, 20.0 + number, 30.0)
        result.append(obj(path, number, box=box))
    return result


def decoding_threads():
    return [
        thread for thread in threading.enumerate() if thread.name.startswith("explgraph-decode")
    ]


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 2), (3, 5), (100, 2)])
def test_batches_hold_every_object_once_in_order(objects, batch_size, workers):
    batches = list(decode_batches(objects, **INPUT, batch_size=batch_size, workers=workers))
    assert len(batches) == -(-len(objects) // batch_size)
    assert [i for b in batches for i in b.indices] == [0, 1, 4, 5, 6, 8, 9, 10]
    assert [i for b in batches for i, _ in b.skipped] == [2, 3, 7]
    for batch in batches:
        assert len(batch.images) == len(batch.indices) == len(batch.frames) == len(batch.sizes)
        for pixels, number, frame, size in zip(
            batch.images, batch.indices, batch.frames, batch.sizes, strict=True
        ):
            alone, alone_frame, alone_size = load_input(objects[number], **INPUT)
            np.testing.assert_array_equal(pixels, alone)
            assert (frame, size) == (alone_frame, alone_size)
    assert not decoding_threads()


def test_a_batch_without_readable_objects_is_empty(objects):
    (batch,) = decode_batches(objects[2:4], **INPUT)
    assert batch.images.shape == (0, 112, 128, 3)
    assert batch.images.dtype == np.uint8
    assert [number for number, _ in batch.skipped] == [0, 1]


def test_no_objects_give_no_batches():
    assert list(decode_batches([], **INPUT)) == []


def test_closing_early_ends_the_threads(objects):
    batches = decode_batches(objects * 20, **INPUT, batch_size=2)
    next(batches)
    assert decoding_threads()
    batches.close()
    assert not decoding_threads()


def test_no_more_than_two_batches_are_ahead(objects):
    class Watched(list):
        furthest = 0

        def __getitem__(self, part):
            self.furthest = max(self.furthest, part.stop)
            return super().__getitem__(part)

    watched = Watched(objects * 10)
    batches = decode_batches(watched, **INPUT, batch_size=4)
    for number, _ in zip(range(1, 6), batches, strict=False):
        assert watched.furthest == 4 * (number + 2)
    batches.close()


def test_errors_that_are_not_of_the_image_come_through(objects):
    broken = ImageObject(99, 99, "x.png", None)
    with pytest.raises(AttributeError):
        list(decode_batches([*objects, broken], **INPUT, batch_size=4))
    assert not decoding_threads()


def test_neighbouring_objects_of_one_file_share_its_decoding(tmp_path, monkeypatch):
    opened = []

    class Counted(Picture):
        def __init__(self, path):
            opened.append(path.name)
            super().__init__(path)

    monkeypatch.setattr(decode, "Picture", Counted)
    paths = [saved(tmp_path / f"{name}.png", dot_image()) for name in "ab"]
    same = [obj(paths[number // 5], number, box=(number, 1.0, 50.0, 40.0)) for number in range(10)]
    assert sum(len(batch.images) for batch in decode_batches(same, **INPUT)) == 10
    assert sorted(opened) == ["a.png", "b.png"]


def test_boxes_of_different_size_in_one_photograph_are_as_if_alone(tmp_path):
    path = saved(tmp_path / "a.jpg", noise((1200, 900)), quality=80)
    boxes = [None, (10.0, 20.0, 60.0, 70.0), (5.0, 5.0, 500.0, 500.0), (0.0, 0.0, 1200.0, 900.0)]
    same = [obj(path, number, box=box) for number, box in enumerate(boxes)]
    (batch,) = decode_batches(same, height=60, width=64)
    for pixels, one in zip(batch.images, same, strict=True):
        np.testing.assert_array_equal(pixels, load_input(one, height=60, width=64)[0])


@pytest.mark.real
@pytest.mark.skipif(
    not (SHARED / "data/animals").is_dir(), reason="no real photographs beside the checkout"
)
def test_real_photographs_are_all_readable():
    objects = read_source(SHARED / "data/animals/n02355227.json", limit=80).objects
    batches = list(decode_batches(objects, height=224, width=224))
    assert sum(len(batch.images) for batch in batches) == 80
    assert not any(batch.skipped for batch in batches)
    sizes = [size for batch in batches for size in batch.sizes]
    assert sizes == [one.recorded_size for one in objects]
