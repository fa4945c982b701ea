import threading

import numpy as np
import pytest
import torch
from builders.blurry import BROKEN, HEIGHT, LAYERS, N_OBJECTS, WIDTH, network_of

from explgraph.errors import UsageError
from explgraph.images import load_input
from explgraph.network import feature_maps
from explgraph.peaks import (
    PeakSettings,
    extract,
    find_peaks,
    measure_unit_std,
    read_layer,
    read_shard_content,
    shard_path,
    shard_ranges,
)


@pytest.fixture(scope="module")
def undisturbed(network, objects, asked, tmp_path_factory):
    """A folder with the shards of one whole extraction."""
    folder = tmp_path_factory.mktemp("undisturbed")
    extract(network, objects, folder, **asked, batch_size=16)
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
