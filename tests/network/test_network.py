from contextlib import suppress

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms import functional

from explgraph.network import InputSpec, Network, fast_layout, load_network


def network_of(model):
    return Network(model, "own", None, InputSpec(8, 8), None, torch.device("cpu"))


def layouts(model):
    return {name: (p.data_ptr(), p.stride()) for name, p in model.named_parameters()}


def test_the_fast_layout_ends_with_its_context_and_each_parameter_has_its_own_memory_again():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.Flatten(), nn.Linear(5, 2))
    model[1].to(memory_format=torch.channels_last)
    before, values = layouts(model), {k: v.clone() for k, v in model.state_dict().items()}
    with suppress(KeyError), fast_layout(network_of(model)):
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert not model[0].weight.is_contiguous()
        raise KeyError
    assert layouts(model) == before
    for name, value in model.state_dict().items():
        assert torch.equal(value, values[name])


def test_the_fast_layout_can_be_nested():
    model = nn.Conv2d(3, 4, 3)
    before = layouts(model)
    with fast_layout(network_of(model)):
        with fast_layout(network_of(model)):
            pass
        assert model.weight.is_contiguous(memory_format=torch.channels_last)
        assert not model.weight.is_contiguous()
    assert layouts(model) == before


def test_inputs_are_normalised_as_torchvision_does_it():
    network = load_network("squeezenet1_1", weights="none", input_size=(20, 30))
    images = torch.randint(
        0, 256, (2, 20, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    transforms = models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    scaled = functional.convert_image_dtype(images.permute(0, 3, 1, 2), torch.float32)
    torch.testing.assert_close(
        network.preprocess(images), functional.normalize(scaled, transforms.mean, transforms.std)
    )
    for wrong in (images.float(), images[0], images.permute(0, 3, 1, 2)):
        with pytest.raises(ValueError, match="must be uint8"):
            network.preprocess(wrong)
