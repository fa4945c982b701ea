"""A call leaves nothing behind: not on the network, in torch's modes or states, nor in memory."""

import gc
import random
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import torch
from builders.networks import HEIGHT, WIDTH, Wrapped, batch, network_of
from builders.placed import graph
from torch import nn
from torch.nn.modules import module as torch_module

from explgraph.attribution import (
    Activation,
    PlacedNode,
    ablated,
    ablation,
    correspondence,
    deconvnet,
    explain,
    gradcam,
    guided_backprop,
    guided_gradcam,
    last_layer,
    occlusion,
    saliency,
    strongest_activations,
)
from explgraph.errors import NetworkError
from explgraph.network import measure_geometry
from explgraph.network.partial import rest_of, trace_chain

NODE = PlacedNode.of(graph(), "2:3:0", (0.4, 0.6), input_size=(HEIGHT, WIDTH))
MASKS = {"head": np.array([[1.0, 2, 5, 4], [3, 3, 6, 6]])}
INSIDE = "net.2"  # of the `Wrapped` network


def without(network, images):
    with ablated(network, [Activation(INSIDE, 1)]):
        return saliency(network, images)


def explained(network, images):
    return explain(
        network,
        images[:1],
        graph_of(INSIDE),
        nodes=[f"{INSIDE}:3:0"],
        places=[[0.5, 0.5]],
        scores=[0.7],
    )


def graph_of(layer):
    """The graph of the other tests, for a network in which the layer has another name."""
    found = graph()
    (geometry,) = found.layers
    part = found.node("2:3:0")
    moved = type(found)()
    moved.graph["layers"] = (
        type(geometry)(layer, *(getattr(geometry, field) for field in list(vars(geometry))[1:])),
    )
    moved.add_pattern(**{**part, "layer": layer})
    return moved


def placed_in(layer):
    return PlacedNode.of(graph_of(layer), f"{layer}:3:0", (0.4, 0.6), input_size=(HEIGHT, WIDTH))


CALLS = {
    "saliency": saliency,
    "gradient x input": lambda network, images: saliency(network, images, times_input=True),
    "SmoothGrad": lambda network, images: saliency(network, images, samples=3),
    "ten crops": lambda network, images: saliency(network, images, views="crops"),
    "of a function": lambda network, images: saliency(
        network, images, target=lambda scores: scores[:, 1]
    ),
    "of a node": lambda network, images: saliency(network, images, target=placed_in(INSIDE)),
    "gradcam": lambda network, images: gradcam(network, images, layer=INSIDE),
    "gradcam++": lambda network, images: gradcam(
        network, images, layer=INSIDE, weighting="gradcam++"
    ),
    "layercam": lambda network, images: gradcam(
        network, images, layer=INSIDE, weighting="layercam", signed=True
    ),
    "last layer": lambda network, images: (last_layer(network), saliency(network, images))[1],
    "guided gradcam": lambda network, images: guided_gradcam(network, images, layer=INSIDE),
    "guided backpropagation": guided_backprop,
    "deconvnet": deconvnet,
    "deconvnet of a cell": lambda network, images: deconvnet(
        network, images, target=Activation(INSIDE, 1, (2, 3))
    ),
    "strongest activations": lambda network, images: (
        strongest_activations(network, images, INSIDE, n=3),
        saliency(network, images),
    )[1],
    "occlusion": lambda network, images: occlusion(
        network, images, size=9, stride=9, feature=Activation(INSIDE, 2)
    ),
    "ablation": lambda network, images: ablation(
        network, images[:1], [Activation(INSIDE, 1), placed_in(INSIDE)]
    ),
    "without a channel": without,
    "explanation": explained,
    "correspondence": lambda network, images: correspondence(network, images[:2], MASKS, [INSIDE]),
}


def state_of(model):
    """All that a caller could see of a network, but for its weights."""
    return {
        "training": [module.training for module in model.modules()],
        "gradients": [
            (parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()
        ],
        "hooks": [
            tuple(
                len(hooks)
                for name, hooks in sorted(vars(module).items())
                if name.endswith("_hooks")
            )
            for module in model.modules()
        ],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "layout": [value.stride() for value in model.state_dict().values()],
    }


def state_of_torch():
    return {
        "modes": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_anomaly_enabled(),
        ),
        "random": (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
        ),
        "global hooks": [
            len(hooks)
            for name, hooks in sorted(vars(torch_module).items())
            if name.startswith("_global_") and hooks
        ],
        "settings": (
            torch.get_default_dtype(),
            torch.backends.cudnn.enabled,
            torch.get_num_threads(),
        ),
    }


def mixed_network(change=lambda scores: scores):
    """Parts in training mode, weights that could be trained, and a hook of the caller's own."""
    network = network_of(Wrapped(change))
    network.model.net.train()
    network.model.net[3].eval()
    network.model.net[0].requires_grad_(True)
    network.model.net[8].bias.requires_grad_(True)
    network.model.net[1].register_forward_hook(lambda module, args, output: None)
    return network


@pytest.fixture(
    params=[torch.enable_grad, torch.no_grad, torch.inference_mode], ids=lambda mode: mode.__name__
)
def mode(request):
    return request.param


# Property


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_everything_as_it_was(name, mode):
    network = mixed_network()
    weights = {name: value.clone() for name, value in network.model.state_dict().items()}
    with mode():
        images = batch()
        kept = images.clone()
        before, around = state_of(network.model), state_of_torch()
        CALLS[name](network, images)
        assert state_of(network.model) == before
        assert state_of_torch() == around
        assert torch.equal(images, kept)
        assert not images.requires_grad
        assert images.grad is None
    for (
        name,
        value,
    ) in network.model.state_dict().items():  # batch normalisation has not moved either
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize("error", [RuntimeError, KeyError, KeyboardInterrupt])
@pytest.mark.parametrize("name", CALLS)
def test_so_does_a_call_that_an_error_ends(name, error, mode):
    """It is raised behind the layers asked for, in each of the first passes that the call makes."""
    runs, fatal = 0, None

    def interrupt(module, args):
        nonlocal runs
        runs += 1
        if runs == fatal:
            raise error("stop")

    network = mixed_network()
    network.model.net[5].register_forward_pre_hook(interrupt)
    before, around = state_of(network.model), state_of_torch()
    with mode():
        CALLS[name](network, batch())
    interrupted = 0
    for number in range(1, min(runs, 6) + 1):
        runs, fatal = 0, number
        with mode():
            inner = state_of_torch()
            try:
                CALLS[name](network, batch())
            except (error, NetworkError):
                interrupted += 1
            assert state_of_torch() == inner
        assert state_of(network.model) == before
        assert state_of_torch() == around
    if name not in (
        "deconvnet of a cell",
        "of a node",
        "correspondence",
    ):  # whose passes end before that
        assert interrupted > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda network, report: occlusion(network, batch(), size=9, stride=9, report=report),
        lambda network, report: ablation(network, batch(1), [Activation(INSIDE, 1)], report=report),
    ],
)
def test_progress_that_raises_ends_the_call_and_nothing_else(call):
    def report(stage, done, total):
        raise KeyboardInterrupt

    network = mixed_network()
    before, around = state_of(network.model), state_of_torch()
    with pytest.raises(KeyboardInterrupt):
        call(network, report)
    assert state_of(network.model) == before
    assert state_of_torch() == around


@pytest.mark.parametrize("name", CALLS)
def test_what_comes_back_holds_no_gradient_and_can_be_used_anywhere(name, mode):
    network = mixed_network()
    with mode():
        found = CALLS[name](network, batch())
    tensors = [
        value
        for value in getattr(found, "__dict__", {}).values()
        if isinstance(value, torch.Tensor)
    ]
    assert tensors or name in ("explanation", "correspondence")
    for value in tensors:
        assert not value.requires_grad
        assert value.grad_fn is None
        assert torch.equal(value.clone().nan_to_num() + 0, value.nan_to_num())


def test_noise_neither_uses_nor_changes_the_callers_random_state():
    network, images = mixed_network(), batch()
    torch.manual_seed(1)
    first = saliency(network, images, samples=3, seed=5)
    drawn = torch.rand(3)
    torch.manual_seed(2)
    again = saliency(network, images, samples=3, seed=5)
    assert torch.equal(first.maps, again.maps)
    assert not torch.equal(first.maps, saliency(network, images, samples=3, seed=6).maps)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)


def test_dropout_is_off_whatever_mode_the_network_is_in():
    training, evaluating = mixed_network(), mixed_network()
    training.model.train()
    evaluating.model.eval()
    for name, call in CALLS.items():
        found, expected = call(training, batch()), call(evaluating, batch())
        if hasattr(found, "maps"):
            assert torch.equal(found.maps, expected.maps), name
    assert all(module.training for module in training.model.modules())
    assert not any(module.training for module in evaluating.model.modules())


# Leaks


class Tiny(nn.Module):
    """Makes a tensor of its own on the way, which tracing must not keep."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 3)
        )

    def forward(self, x):
        return self.net(x * torch.tensor(0.5))


def leaky_calls():
    """Short calls of every kind, some of which fail."""
    network, images = (
        network_of(Tiny(), classes=("a", "b", "c")),
        torch.rand(1, 3, 6, 10, generator=torch.Generator().manual_seed(0)),
    )
    geometry = measure_geometry(network, ["net.1"], input_size=(6, 10))["net.1"]
    chain = trace_chain(network)
    yield lambda: saliency(network, images)
    yield lambda: saliency(network, images, samples=2, target=1)
    yield lambda: saliency(network, images, target=lambda scores: scores[:, 0])
    yield lambda: gradcam(network, images, layer=geometry)
    yield lambda: deconvnet(network, images, target=Activation("net.0", 1))
    yield lambda: guided_backprop(network, images)
    yield lambda: strongest_activations(network, images, "net.0", n=2)
    yield lambda: occlusion(network, images, size=3, stride=5)
    yield lambda: ablation(network, images, [Activation("net.0", 1)])
    yield lambda: rest_of(network, "net.0", chain=chain)(torch.zeros(1, 2, 4, 8), images)
    yield lambda: trace_chain(network)
    yield lambda: saliency(network, images, target=9)
    yield lambda: saliency(network, images, target=lambda scores: 1 / 0)
    yield lambda: gradcam(network, images, layer="9")
    yield lambda: deconvnet(network, images[:, :, :2])


def live_tensors():
    gc.collect()
    return sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())


def test_a_thousand_calls_leave_no_tensor_and_no_object_behind():
    calls = list(leaky_calls())

    def repeat(times):
        for number in range(times):
            with suppress(Exception):
                calls[number % len(calls)]()

    repeat(105)
    tensors, objects = live_tensors(), len(gc.get_objects())
    tracemalloc.start()
    try:
        repeat(495)
        gc.collect()
        start = tracemalloc.get_traced_memory()[0]
        repeat(495)
        assert live_tensors() == tensors
        assert (
            len(gc.get_objects()) < objects + 66
        )  # one object left by each call of one kind would be as many
        assert tracemalloc.get_traced_memory()[0] < start + 495 * 16  # no object is as small
    finally:
        tracemalloc.stop()
