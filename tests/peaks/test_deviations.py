import numpy as np
import pytest
import torch
from builders.blurry import BROKEN, HEIGHT, LAYERS, N_OBJECTS, WIDTH

from explgraph.errors import SourceError
from explgraph.images import ImageObject, load_input
from explgraph.network import feature_maps
from explgraph.peaks import PeakSettings, measure_unit_std, sample_objects, stream_peaks
from explgraph.peaks.deviations import FLOOR, N_SAMPLE, PRIOR_IMAGES


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
