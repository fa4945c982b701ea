"""A module of one's own becomes a network, and stays as it is."""

import pytest
import torch
from torch import nn

from explgraph.errors import NetworkError, UsageError
from explgraph.network import Network, list_layers, load_network, measure_geometry, wrap


def module(**attributes):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()
    )
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def test_what_is_given_comes_first_then_what_the_module_says_then_imagenet():
    assert wrap(module()).input.size == (224, 224)
    assert wrap(module()).input.mean == (0.485, 0.456, 0.406)
    own = module(input_size=(40, 60), input_mean=(0.5, 0.5, 0.5), classes="abcd")
    assert wrap(own).input.size == (40, 60)
    assert wrap(own).input.mean == (0.5, 0.5, 0.5)
    assert wrap(own).classes == ("a", "b", "c", "d")
    given = wrap(own, input_size=30, std=[1, 2, 3], class_names=["cat"])
    assert given.input.size == (30, 30)
    assert given.input.mean == (0.5, 0.5, 0.5)
    assert given.input.std == (1.0, 2.0, 3.0)
    assert given.classes == ("cat",)


def test_a_network_stays_the_same_one_unless_something_is_given():
    network = load_network("builders.tiny_network:make")
    assert wrap(network) is network
    other = wrap(network, class_names=["x"])
    assert other.model is network.model
    assert other.spec == network.spec
    assert other.classes == ("x",)


def test_it_is_called_as_its_class_and_computes_where_the_module_is():
    network = wrap(module().to(torch.float64))
    assert network.name == "Sequential"
    assert network.device == torch.device("cpu")
    assert repr(network) == "Network(Sequential, input 224 x 224, cpu)"
    assert isinstance(network, Network)


def test_the_module_keeps_its_mode_its_gradients_and_its_statistics():
    model = module().train()
    model[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = wrap(model, input_size=20)
    with network.watch(["0"], lambda name, maps: None) as run:
        assert not model[1].training
        run(torch.randn(2, 3, 20, 20))
    measure_geometry(model, ["0"])
    assert [layer.name for layer in list_layers(model, input_size=(20, 20))] == ["0"]
    assert [one.training for one in model] == [False, True, True, True, True]
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_size": 0}, "must be 1 to 32768 pixels"),
        ({"input_size": 10**30}, "must be 1 to 32768 pixels"),
        ({"mean": 0.5}, "mean must be three numbers"),
        ({"mean": (0.5, 0.5)}, "mean must be three numbers"),
        ({"std": (1, 1, 0)}, "std must be above 0"),
        ({"class_names": "cat"}, "must be a list of names"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        wrap(module(), **given)


def test_what_is_no_module_is_refused_with_the_remedy():
    with pytest.raises(UsageError, match=r"got a str; explgraph\.load_network"):
        wrap("resnet18")
    with pytest.raises(UsageError, match=r"takes the name of a network, got a Sequential"):
        load_network(module())
    with pytest.raises(UsageError, match=r"handed over in Python and cannot be loaded"):
        load_network(wrap(module()).spec)
    with pytest.raises(NetworkError, match="Sequential: input_size must be"):
        wrap(module(input_size="large"))
