import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from explgraph.errors import SourceError, UsageError
from explgraph.images import ImageObject, load_input, read_source
from explgraph.network import InputSpec, Network, feature_maps, measure_geometry
from explgraph.peaks import (
    PeakSettings,
    extract,
    find_peaks,
    measure_unit_std,
    read_layer,
    read_shard_content,
    sample_objects,
    shard_path,
    shard_ranges,
    stream_peaks,
)
from explgraph.peaks.deviations import FLOOR, N_SAMPLE, PRIOR_IMAGES

HEIGHT, WIDTH = 20, 28
N_OBJECTS, BROKEN = 70, (3, 17, 64, 65, 69)
LAYERS = ("0", "3")  # both right before a ReLU that works in place


def network_of(*, inplace=True):
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace),
        nn.Flatten(),
        nn.Linear(8 * 5 * 7, 4),
    )
    with torch.no_grad():
        model[3].weight[2], model[3].bias[2] = 0, -1.0  # never fires
        model[3].weight[5], model[3].bias[5] = 0, 3.7  # always fires alike
    model.eval().requires_grad_(False)
    return Network(model, "tests:tiny", None, InputSpec(HEIGHT, WIDTH), None, torch.device("cpu"))


@pytest.fixture(scope="module")
def network():
    return network_of()


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Blurry noise of many sizes, among it broken files."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(N_OBJECTS):
        path = folder / f"{i:02d}.png"
        small = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
        small.resize((30 + i % 11, 25 + i % 7), Image.Resampling.BICUBIC).save(path)
        if i in BROKEN:
            path.write_bytes(path.read_bytes()[: 60 if i % 2 else 0])
    return read_source(folder).objects


@pytest.fixture(scope="module")
def asked(network):
    """What extraction is asked for, besides objects and folder."""
    geometry = measure_geometry(network, LAYERS)
    std = {
        name: torch.linspace(0.2, 1.5, g.channels * g.height * g.width).reshape(
            g.channels, g.height, g.width
        )
        for name, g in geometry.items()
    }
    return {
        "geometry": geometry,
        "unit_std": std,
        "settings": PeakSettings(LAYERS, n_peaks=3),
        "fingerprint": "f",
    }


@pytest.fixture(scope="module")
def undisturbed(network, objects, asked, tmp_path_factory):
    """A folder with the shards of one whole extraction."""
    folder = tmp_path_factory.mktemp("undisturbed")
    extract(network, objects, folder, **asked, batch_size=16)
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Deviations over a background.


def readable(objects):
    return [o for i, o in enumerate(objects) if i not in BROKEN]


def positive_maps(network, objects):
    """max(f, 0) of each layer, (image, channel, height, width) float64, image by image."""
    inputs = [torch.from_numpy(load_input(o, height=HEIGHT, width=WIDTH)[0])[None] for o in objects]
    maps = [feature_maps(network.model, network.preprocess(x), LAYERS) for x in inputs]
    return {
        name: np.maximum(np.concatenate([m[name].numpy() for m in maps]).astype(float), 0)
        for name in LAYERS
    }


def slow_std(maps, per_unit):
    """Return the docstring's formula, unit by unit."""
    n, channels, height, width = maps.shape
    variance = np.zeros((channels, height, width) if per_unit else (channels, 1, 1))
    for c, row, col in np.ndindex(variance.shape):
        variance[c, row, col] = maps[:, c, row, col].var() if per_unit else maps[:, c].var()
    of_channel = [v.mean() for v in variance]
    constant = [m.mean() > 0 and m.std() < 1e-5 * m.mean() for m in maps.swapaxes(0, 1)]
    stirred = sorted(
        v**0.5 for v, alike in zip(of_channel, constant, strict=True) if v > 0 and not alike
    )
    floor = FLOOR * stirred[(len(stirred) - 1) // 2]
    for c in range(channels):
        shrunk = np.sqrt((n * variance[c] + PRIOR_IMAGES * of_channel[c]) / (n + PRIOR_IMAGES))
        variance[c] = np.inf if constant[c] else np.maximum(shrunk, floor)
    return variance


@pytest.mark.parametrize("per_unit", [True, False])
def test_deviations_over_a_background_are_those_of_its_maps_one_by_one(
    network, objects, asked, per_unit
):
    done = []
    got = measure_unit_std(
        network,
        objects,
        geometry=asked["geometry"],
        per_unit=per_unit,
        batch_size=8,
        report=lambda stage, d, n: done.append((d, n)),
    )
    maps = positive_maps(network, readable(objects))
    assert list(got) == list(LAYERS)
    for name in LAYERS:
        assert got[name].dtype == torch.float32
        np.testing.assert_allclose(got[name].numpy(), slow_std(maps[name], per_unit), rtol=1e-4)
    assert done[-1] == (N_OBJECTS, N_OBJECTS)


def test_the_batch_size_does_not_change_the_deviations(network, objects, asked):
    one, many = (
        measure_unit_std(
            network,
            objects[:20],
            geometry=asked["geometry"],
            per_unit=True,
            batch_size=n,
            workers=n,
        )
        for n in (1, 7)
    )
    for name in LAYERS:
        np.testing.assert_allclose(one[name], many[name], rtol=1e-4, atol=0)


@pytest.mark.parametrize("per_unit", [True, False])
def test_a_channel_that_always_answers_alike_gets_infinity_and_no_peak(
    network, objects, asked, per_unit
):
    std = measure_unit_std(network, objects, geometry=asked["geometry"], per_unit=per_unit)
    infinite = torch.isinf(std["3"]).flatten(1)
    assert infinite.all(1).tolist() == infinite.any(1).tolist() == [c == 5 for c in range(8)]
    with_std = {**asked, "unit_std": std, "settings": PeakSettings(("3",), n_peaks=35)}
    del with_std["fingerprint"]
    for batch in stream_peaks(network, objects[:8], **with_std, batch_size=4, workers=1):
        value = batch.peaks["3"][0]
        assert value[:, :, [2, 5]].eq(0).all()
        assert value[:, :, 0].max() > 0


@pytest.mark.parametrize("per_unit", [True, False])
def test_a_channel_that_the_background_hardly_stirs_gets_a_floor(network, objects, asked, per_unit):
    std = measure_unit_std(network, objects, geometry=asked["geometry"], per_unit=per_unit)["3"]
    assert torch.isfinite(std[2]).all()
    assert std[2].max() == std[2].min() == std.min() > 0


def test_a_background_of_one_readable_image_is_too_small(network, objects, asked):
    with pytest.raises(SourceError, match="expected at least 2 readable background images, got 1"):
        measure_unit_std(network, objects[2:4], geometry=asked["geometry"], per_unit=True)


def test_the_sample_that_stands_in_for_a_background_is_seeded_and_in_order(objects):
    assert sample_objects(objects, seed=0) == list(objects)
    many = [ImageObject(i, i, str(i), objects[0].path) for i in range(4 * N_SAMPLE)]
    first, again, other = (sample_objects(many, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    ids = [o.annotation_id for o in first]
    assert len(set(ids)) == N_SAMPLE
    assert ids == sorted(ids)


# Extraction.


def test_peaks_on_disk_are_those_of_each_image_alone(network, objects, asked, undisturbed):
    kept = [i for i in range(N_OBJECTS) if i not in BROKEN]
    for name in LAYERS:
        geometry = asked["geometry"][name]
        layer = read_layer(
            [shard_path(undisturbed, k) for k in (0, 1)],
            geometry,
            images=kept,
            n_peaks=3,
            n_facings=2,
        )
        for column in (0, 2, 30, len(kept) - 1):
            pixels = torch.from_numpy(
                load_input(objects[kept[column]], height=HEIGHT, width=WIDTH)[0]
            )[None]
            for facing, image in enumerate((pixels, pixels.flip(2))):
                response = feature_maps(network.model, network.preprocess(image), [name])[name]
                value, row, col = find_peaks(response, n_peaks=3, unit_std=asked["unit_std"][name])
                row, col = geometry.to_fraction(row, col)
                there = value[0] > 1e-3
                for got, want in ((layer.value, value), (layer.row, row), (layer.col, col)):
                    np.testing.assert_allclose(
                        got[facing, ..., column][there], want[0][there], rtol=2e-3, atol=1e-3
                    )


def test_an_in_place_relu_behind_a_layer_does_not_touch_its_peaks(
    objects, asked, undisturbed, tmp_path
):
    extract(network_of(inplace=False), objects, tmp_path, **asked, batch_size=16)
    assert files(tmp_path) == files(undisturbed)


def test_broken_images_are_left_out_and_named(objects, undisturbed):
    first, second = (read_shard_content(shard_path(undisturbed, k)) for k in (0, 1))
    assert [o.index for o in first.objects] == [i for i in range(64) if i not in BROKEN]
    assert [o.index for o in second.objects] == [66, 67, 68]
    assert [i for i, _ in first.skipped + second.skipped] == list(BROKEN)
    for i, reason in first.skipped + second.skipped:
        assert reason
        assert str(objects[i].path) not in reason  # who reports it names the file, once
    one = first.objects[0]
    assert (one.id, one.width, one.height, one.box) == (
        objects[0].annotation_id,
        30,
        25,
        (0, 0, 30, 25),
    )


def test_batches_never_span_two_shards(network, objects, asked, tmp_path):
    assert [len(shard) for shard in shard_ranges(N_OBJECTS)] == [64, 6]
    for batch_size in (1, 24, 1000):  # 24 does not divide 64
        folder = tmp_path / str(batch_size)
        folder.mkdir()
        extract(network, objects, folder, **asked, batch_size=batch_size)
        assert [len(read_shard_content(shard_path(folder, k)).objects) for k in (0, 1)] == [62, 3]


def test_a_batch_needs_an_object_and_decoding_a_thread(network, objects, asked, tmp_path):
    for wrong in ({"batch_size": 0}, {"workers": 0}):
        with pytest.raises(UsageError, match="must be at least 1, got 0"):
            extract(network, objects, tmp_path, **asked, **wrong)
    assert not files(tmp_path)


def test_progress_and_shards_are_told_in_order(network, objects, asked, tmp_path):
    done, shards = [], []
    tell = {"on_shard": shards.append, "report": lambda stage, d, n: done.append((d, n))}
    extract(network, objects, tmp_path, **asked, batch_size=32, **tell)
    assert done == [(0, 70), (32, 70), (64, 70), (70, 70)]
    assert [(p.number, p.n_objects, p.path) for p in shards] == [
        (0, 62, shard_path(tmp_path, 0)),
        (1, 3, shard_path(tmp_path, 1)),
    ]
    assert all(p.n_peaks > 100 for p in shards)


def test_finished_shards_are_not_made_again(network, objects, asked, undisturbed, tmp_path):
    shards, done = [], []
    tell = {"on_shard": shards.append, "report": lambda stage, d, n: done.append(d)}
    extract(network, objects, tmp_path, **asked, finished=[0], **tell)
    assert files(tmp_path) == {"part-00001.parquet": files(undisturbed)["part-00001.parquet"]}
    assert done == [64, 70]
    extract(network, objects, tmp_path, **asked, finished=[0, 1], **tell)
    assert [p.number for p in shards] == [1]


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [16, 64, 70])
def test_an_interrupted_extraction_ends_with_the_files_of_an_undisturbed_one(
    network, objects, asked, undisturbed, tmp_path, stop_at
):
    finished = []

    def interrupt(stage, done, total):
        if done >= stop_at:
            raise Stop

    with pytest.raises(Stop):
        extract(
            network,
            objects,
            tmp_path,
            **asked,
            batch_size=16,
            report=interrupt,
            on_shard=lambda shard: finished.append(shard.number),
        )
    assert all(name.endswith(".parquet") for name in files(tmp_path))
    extract(network, objects, tmp_path, **asked, batch_size=16, finished=finished)
    assert files(tmp_path) == files(undisturbed)


def workers_alive():
    return [t.name for t in threading.enumerate() if t.name.startswith("explgraph-")]


def test_an_interruption_ends_the_threads_and_takes_the_hooks_away(
    network, objects, asked, tmp_path
):
    def interrupt(stage, done, total):
        if done:
            raise Stop

    with pytest.raises(Stop):
        extract(network, objects, tmp_path, **asked, report=interrupt)
    assert not workers_alive()
    with pytest.raises(Stop):
        measure_unit_std(
            network, objects, geometry=asked["geometry"], per_unit=True, report=interrupt
        )
    assert not workers_alive()
    assert not any(module._forward_hooks for module in network.model.modules())


def test_without_mirror_images_there_is_one_facing(network, objects, asked, tmp_path):
    plain = {
        **asked,
        "settings": PeakSettings(("3",), n_peaks=2, mirror=False),
        "geometry": {"3": asked["geometry"]["3"]},
    }
    extract(network, objects[:10], tmp_path, **plain)
    layer = read_layer(
        [shard_path(tmp_path, 0)],
        asked["geometry"]["3"],
        images=range(10),
        n_peaks=2,
        n_facings=2,
    )
    assert layer.value[0].max() > 0
    assert layer.value[1].eq(0).all()
