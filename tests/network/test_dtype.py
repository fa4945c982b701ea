"""Networks whose parameters are half or double take the same images, and say the same."""

import pytest
import torch
from builders.networks import HEIGHT, WIDTH, network_of, small

from explgraph.attribution import gradcam, integrated_gradients, occlusion, saliency
from explgraph.network import blank_input, measure_geometry
from explgraph.peaks import PeakSettings
from explgraph.peaks.deviations import unit_std_of
from explgraph.peaks.stream import peaks_of_images

DTYPES = [torch.float16, torch.bfloat16, torch.float64]
NAMES = ("0", "2")


def images(n=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_input_is_of_the_dtype_of_the_parameters(dtype):
    network = network_of(small().to(dtype))
    assert network.dtype == network.preprocess(images()).dtype == dtype
    assert blank_input(network, (HEIGHT, WIDTH)).dtype == dtype
    assert network_of(torch.nn.ReLU()).dtype is None
    assert network_of(torch.nn.ReLU()).preprocess(images()).dtype == torch.float32


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", [saliency, gradcam, integrated_gradients, occlusion])
def test_heat_maps_are_those_of_the_network_in_single_precision(dtype, method):
    options = {"size": 6, "stride": 6} if method is occlusion else {}
    usual = method(network_of(small()), images(), target=2, **options)
    for given in (images(), usual.shown.inputs):
        found = method(network_of(small().to(dtype)), given, target=2, **options)
        assert found.maps.dtype == torch.float32
        error = (found.maps - usual.maps).abs().max() / usual.maps.abs().max()
        assert error < (1e-4 if dtype == torch.float64 else 0.2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bytes_", [True, False])
def test_peaks_are_those_of_the_network_in_single_precision(dtype, bytes_):
    found = []
    for network in (network_of(small()), network_of(small().to(dtype))):
        given = images() if bytes_ else network_of(small()).preprocess(images())
        geometry = measure_geometry(network, NAMES)
        std = unit_std_of(network, [given], geometry=geometry, per_unit=True)
        peaks = peaks_of_images(
            network, given, geometry=geometry, unit_std=std, settings=PeakSettings(NAMES)
        )
        assert all(one.dtype == torch.float32 for kept in peaks.values() for one in kept)
        found.append(torch.stack([one.value.sum() for one in peaks.values()]))
    tolerance = 1e-5 if dtype == torch.float64 else 0.05
    torch.testing.assert_close(*found, rtol=tolerance, atol=0)
