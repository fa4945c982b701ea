"""Wrong requests are refused: what was expected, what was got, what helps; nothing is left."""

import random

import numpy as np
import pytest
import torch
from builders.networks import HEIGHT, WIDTH, Wrapped, batch, network_of, small, state_of
from builders.placed import graph, placed
from torch import nn

from explgraph.attribution import (
    Activation,
    PlacedNode,
    ablated,
    ablation,
    boxes_of,
    correspondence,
    deconvnet,
    explain,
    find_class,
    gradcam,
    guided_backprop,
    guided_gradcam,
    last_layer,
    map_to_image,
    network_input,
    node_heat_map,
    occlusion,
    receptive_field,
    resolve_target,
    saliency,
    segment,
    strongest_activations,
)
from explgraph.errors import (
    ExplgraphError,
    GraphError,
    ImageError,
    LayerError,
    NetworkError,
    UsageError,
)
from explgraph.images import Frame
from explgraph.network import measure_geometry

# All that take a network, images and a target.
ASKING = {
    "saliency": saliency,
    "smooth": lambda *args, **options: saliency(*args, samples=2, **options),
    "views": lambda *args, **options: saliency(*args, views="mirror", **options),
    "gradcam": lambda *args, **options: gradcam(*args, layer="0", **options),
    "deconvnet": deconvnet,
    "guided_backprop": guided_backprop,
    "guided_gradcam": lambda *args, **options: guided_gradcam(*args, layer="0", **options),
    "occlusion": lambda *args, **options: occlusion(*args, size=9, stride=9, **options),
    "ablation": lambda network, images, **options: ablation(
        network, images, [Activation("0", 1)], **options
    ),
}


def random_states():
    """The random states of the process."""
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    return random.getstate(), numpy_state, torch.get_rng_state().tolist()


def assert_refused(call, network, error, message):
    network.model.train()
    first = next(
        (module for module in network.model.modules() if isinstance(module, nn.Conv2d)),
        network.model,
    )
    first.eval().requires_grad_(True)
    before, outside = state_of(network.model), random_states()
    with pytest.raises(error, match=message) as caught:
        call(network)
    assert isinstance(caught.value, ExplgraphError)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    assert state_of(network.model) == before
    assert random_states() == outside


# Images


def with_value(value):
    images = batch(1)
    images[0, 1, 3, 5] = value
    return images


IMAGES = [
    (with_value(float("nan")), UsageError, "images must be finite, got NaN or infinity"),
    (with_value(float("inf")), UsageError, "images must be finite"),
    (
        batch(1).long(),
        UsageError,
        r"images must be uint8 .* or floating point .* got int64 \(1, 3, 18, 24\)",
    ),
    (batch(1) > 0, UsageError, "got bool"),
    (batch(1) + 0j, UsageError, "got complex64"),
    (batch(1)[0], UsageError, r"got float32 \(3, 18, 24\)"),
    (batch(1)[:, :1], UsageError, r"got float32 \(1, 1, 18, 24\)"),
    (batch(1).permute(0, 2, 3, 1), UsageError, r"got float32 \(1, 18, 24, 3\)"),
    (
        np.zeros((1, 3, HEIGHT, WIDTH), np.uint8),
        UsageError,
        r"must be uint8 \(n, height, width, 3\), .* got uint8 \(1, 3, 18, 24\)",
    ),
    (np.zeros((HEIGHT, WIDTH, 3), np.uint8), UsageError, r"got uint8 \(18, 24, 3\)"),
    (np.zeros((1, HEIGHT, WIDTH, 3), np.int64), UsageError, "got int64"),
    (
        np.zeros((0, HEIGHT, WIDTH, 3), np.uint8),
        UsageError,
        "at least one image of at least one pixel",
    ),
    (torch.zeros(1, 3, 0, WIDTH), UsageError, "at least one image of at least one pixel"),
    (None, UsageError, "an array or a tensor of numbers, got a NoneType"),
    ("panda.jpg", ImageError, "panda.jpg: cannot be read"),
    ([[1], [2, 3]], UsageError, "an array or a tensor of numbers, got a list"),
    (
        np.array([["a"]]),
        UsageError,
        "an array or a tensor of numbers, got a ndarray",
    ),
    (torch.zeros(1, 3, 1, 1), NetworkError, "tests:small does not run on an input of 1 x 1 pixels"),
    (
        torch.zeros(1, 3, HEIGHT + 9, WIDTH),
        NetworkError,
        "tests:small does not run on an input of 27 x 24 pixels",
    ),
]


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize(("images", "error", "message"), IMAGES)
def test_images_that_cannot_be_shown_are_refused(images, error, message, name):
    if name == "occlusion" and error is NetworkError and images.shape[2] == 1:
        error, message = UsageError, "must fit the input of 1 x 1 pixels, got 9 x 9"
    assert_refused(
        lambda network: ASKING[name](network, images), network_of(small()), error, message
    )


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_images_of_another_precision_are_shown_in_that_of_the_network(dtype, name):
    network = network_of(small())
    shown = network_input(network, batch(1).to(dtype))
    assert torch.equal(shown, batch(1).to(dtype).float())
    ASKING[name](network, batch(1).to(dtype))


@pytest.mark.parametrize(
    ("images", "error", "message"), [entry for entry in IMAGES if entry[1] is UsageError]
)
def test_so_they_are_where_nothing_is_asked(images, error, message):
    assert_refused(
        lambda network: strongest_activations(network, images, "2", n=1),
        network_of(small()),
        error,
        message,
    )


def test_a_default_layer_needs_a_pass_too():
    network, tiny = network_of(small()), torch.zeros(1, 3, 1, 1)
    message = "tests:small does not run on an input of 1 x 1 pixels"
    for call in (
        lambda network: gradcam(network, tiny),
        lambda network: guided_gradcam(network, tiny),
        lambda network: last_layer(network, input_size=(1, 1)),
        lambda network: strongest_activations(network, tiny, "5"),
    ):
        assert_refused(call, network, NetworkError, message)


# What is asked


def failing(scores):
    raise KeyError("no such thing")


TARGETS = [
    ("lion", UsageError, "'lion' is not a class of tests:small; "),
    ("tabby dog", UsageError, "did you mean 'tabby cat'|did you mean 'Tabby cat'"),
    ("cat", UsageError, "'cat' fits 2 classes .* give one name in full, or a number"),
    ("", UsageError, "'' is not a class"),
    (6, UsageError, "the class's number must be 0 to 5, got 6"),
    (-1, UsageError, "the class's number must be 0 to 5, got -1"),
    ("6", UsageError, "the class's number must be 0 to 5, got 6"),
    (True, UsageError, "a class is a number or a name, got True"),
    (1.5, UsageError, "a class is a number or a name, got 1.5"),
    ([1, 2], UsageError, "one class, or one for each of 1 images, got 2"),
    ([1.5], UsageError, "a class is a number or a name, got 1.5"),
    (np.float64(2), UsageError, "a class is a number or a name, got"),
    (Activation("22", 0), LayerError, "'22' is no layer of tests:small; .*lists them"),
    (Activation("", 0), LayerError, "'' is no layer"),
    (Activation("8", 6), UsageError, "layer '8' has 6 channels, counted from 0; got 6"),
    (Activation("7", -1), UsageError, "layer '7' has 168 channels, counted from 0; got -1"),
    (Activation("7", 0, (0, 1)), UsageError, "layer '7' has 1 x 1 cells, counted from 0"),
    (Activation("2", 7), UsageError, "layer '2' has 7 channels, counted from 0; got 7"),
    (Activation("2", -1), UsageError, "layer '2' has 7 channels, counted from 0; got -1"),
    (Activation("2", True), UsageError, "channel of layer '2' must be whole numbers, .* got True"),
    (Activation("2", 1.0), UsageError, "channel of layer '2' must be whole numbers, .* got 1.0"),
    (Activation("2", "1"), UsageError, "channel of layer '2' must be whole numbers"),
    (Activation("2", [1, 2]), UsageError, r"one channel or one for each of 1 images, got \[1, 2\]"),
    (
        Activation("2", 1, (9, 0)),
        UsageError,
        r"layer '2' has 9 x 12 cells, counted from 0; got \(9, 0\)",
    ),
    (
        Activation("2", 1, (0, 12)),
        UsageError,
        r"layer '2' has 9 x 12 cells, counted from 0; got \(0, 12\)",
    ),
    (Activation("2", 1, (-1, 0)), UsageError, r"counted from 0; got \(-1, 0\)"),
    (
        Activation("2", 1, 5),
        UsageError,
        "cell of layer '2' must be whole numbers, one cell or one for each of 1 images, got 5",
    ),
    (Activation("2", 1, (1, 2, 3)), UsageError, r"got \(1, 2, 3\)"),
    (Activation("2", 1, (0.5, 1.0)), UsageError, r"must be whole numbers, .* got \(0.5, 1.0\)"),
    (Activation("2", 1, [(1, 2), (3, 4)]), UsageError, "one cell or one for each of 1 images"),
    (
        Activation("2", 1, [(1, 2), (3,)]),
        UsageError,
        "must be whole numbers, one cell or one for each of 1 images",
    ),
    (
        placed(np.full((3, 2), 0.5)),
        UsageError,
        "node 2:3:0 needs one place for each of 1 images, got 3",
    ),
    (
        lambda scores: scores,
        UsageError,
        r"must yield one number for each of 1 images, got shape \(1, 6\)",
    ),
    (
        lambda scores: scores.sum(),
        UsageError,
        r"must yield one number for each of 1 images, got shape \(\)",
    ),
    (lambda scores: scores.argmax(1), UsageError, "must yield one number for each of 1 images"),
    (lambda scores: 3.0, UsageError, "must yield one number for each of 1 images, got a float"),
    (lambda scores: None, UsageError, "must yield one number for each of 1 images, got a NoneType"),
    (
        lambda scores: scores[:, 0] / 0,
        NetworkError,
        "yields values of .* that are not finite; check its weights and its input",
    ),
    (
        failing,
        NetworkError,
        "the target failed on the output of tests:small: KeyError: 'no such thing'",
    ),
]


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize(("target", "error", "message"), TARGETS)
def test_what_cannot_be_asked_is_refused(target, error, message, name):
    assert_refused(
        lambda network: ASKING[name](network, batch(1), target=target),
        network_of(small()),
        error,
        message,
    )


def test_a_node_is_asked_of_the_network_that_it_was_found_in():
    node = placed((0.5, 0.5))
    larger = nn.Sequential(*small()[:3], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    message = (
        r"node 2:3:0 belongs to maps of \(7, 9, 12\), got \(7, 12, 12\); use the graph's network"
    )
    assert_refused(
        lambda network: saliency(network, torch.zeros(1, 3, 24, 24), target=node),
        network_of(larger),
        UsageError,
        message,
    )


# Networks


def broken(scores):
    raise RuntimeError("out of order")


OUTPUTS = [
    (
        lambda scores: (scores, scores),
        r"must yield class scores of shape \(1, classes\), got a tuple; give a classifier, or wrap",
    ),
    (lambda scores: [scores], "got a list; give a classifier"),
    (lambda scores: {"scores": scores}, "got a dict; give a classifier"),
    (lambda scores: None, "got a NoneType"),
    (lambda scores: scores[0], r"got shape \(6,\)"),
    (lambda scores: scores[:, :, None, None], r"got shape \(1, 6, 1, 1\)"),
    (lambda scores: scores.repeat(2, 1), r"got shape \(2, 6\)"),
    (lambda scores: scores.long(), "must yield class scores"),
    (
        lambda scores: scores.softmax(1),
        "ends in a softmax, but the scores from before it are needed; leave it out",
    ),
    (lambda scores: scores.log_softmax(1), "ends in a softmax"),
    (
        lambda scores: scores * float("nan"),
        "yields scores that are not finite; check its weights and its input",
    ),
    (broken, "does not run on an input of 18 x 24 pixels: out of order"),
]


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize(("change", "message"), OUTPUTS)
def test_networks_that_yield_no_scores_are_refused(change, message, name):
    network = network_of(Wrapped(change))

    asking = ASKING | {
        "gradcam": lambda *args: gradcam(*args, layer="net.0"),
        "guided_gradcam": lambda *args: guided_gradcam(*args, layer="net.0"),
        "ablation": lambda *args: ablation(*args, [Activation("net.0", 1)]),
    }
    assert_refused(lambda network: asking[name](network, batch(1)), network, NetworkError, message)


@pytest.mark.parametrize("change", [change for change, message in OUTPUTS[:3]])
def test_a_function_that_picks_makes_them_do(change):
    network, plain = network_of(Wrapped(change)), network_of(small())
    pick = lambda output: next(iter(output.values() if isinstance(output, dict) else output))[:, 2]
    for name in ("saliency", "smooth", "views", "deconvnet", "guided_backprop"):
        np.testing.assert_allclose(
            ASKING[name](network, batch(1), target=pick).maps,
            ASKING[name](plain, batch(1), target=2).maps,
            rtol=1e-4,
            atol=1e-7,
        )
    for method in (gradcam, guided_gradcam):
        found = method(network, batch(1), layer="net.0", target=pick)
        np.testing.assert_allclose(
            found.maps, method(plain, batch(1), layer="0", target=2).maps, rtol=1e-4, atol=1e-7
        )
    found = occlusion(network, batch(1), target=pick, size=9, stride=9)
    np.testing.assert_allclose(
        found.maps,
        occlusion(plain, batch(1), target=2, size=9, stride=9).maps,
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ASKING)
def test_weights_that_are_no_numbers_are_found_out(name):
    network = network_of(small())
    network.model[2].weight.data[0, 0] = float("nan")
    assert_refused(
        lambda network: ASKING[name](network, batch(1)),
        network,
        NetworkError,
        "not finite; check its weights",
    )
    at_layer = lambda network: ASKING[name](network, batch(1), target=Activation("2", 0))
    assert_refused(
        at_layer,
        network,
        NetworkError,
        "values of 2:0 that are not finite; check its weights and its input",
    )


# Layers and options of each function


def of_node(place=(0.5, 0.5), *, node="2:3:0"):
    return PlacedNode.of(graph(), node, place, input_size=(HEIGHT, WIDTH))


def described(**options):
    values = {"nodes": ["2:3:0"], "places": [[0.5, 0.5]], "scores": [0.7]} | options
    return lambda network: explain(network, batch(1), graph(), **values)


def heat(**options):
    values = {
        "places": [[[0.5, 0.5]]],
        "scores": [[0.7]],
        "nodes": ("2:3:0",),
        "input_size": (HEIGHT, WIDTH),
    } | options
    return lambda network: node_heat_map(
        graph(), values.pop("layer", "2"), values.pop("places"), values.pop("scores"), **values
    )


def cut(*, image=None, map=None, **options):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if image is None else image
    map = np.eye(HEIGHT, WIDTH) if map is None else map
    return lambda network: segment(image, map, **options)


def compared(masks, layers=("2",), **options):
    return lambda network: correspondence(network, batch(2), masks, list(layers), **options)


BOXES = np.array([[1.0, 2, 5, 4], [3, 3, 6, 6]])
FRAME = Frame((0, 0, 48, 36), HEIGHT, WIDTH)
NAN = float("nan")

REQUESTS = [
    # Grad-CAM's layer
    (lambda n: gradcam(n, batch(), layer="22"), LayerError, "'22' is no layer of tests:small"),
    (lambda n: gradcam(n, batch(), layer=""), LayerError, "'' is no layer of tests:small"),
    (
        lambda n: gradcam(n, batch(), layer="8"),
        LayerError,
        r"layer '8' yields vectors \(6 values\), which have no places; name a convolution",
    ),
    (
        lambda n: gradcam(n, batch(), layer="4", target=Activation("2", 1)),
        LayerError,
        "no gradient leads .* to layer '4'; name a layer",
    ),
    (
        lambda n: gradcam(n, batch(), layer=measure_geometry(n, ["2"], input_size=(18, 32))["2"]),
        LayerError,
        "measured for an input of 18 x 32 pixels, got 18 x 24; measure it for this size",
    ),
    (
        lambda n: gradcam(n, batch(), weighting="scorecam"),
        UsageError,
        r"must be one of gradcam, gradcam\+\+, layercam, got 'scorecam'",
    ),
    (
        lambda n: gradcam(n, batch(), weighting=None),
        UsageError,
        "weighting must be one of .* got None",
    ),
    # Saliency
    (
        lambda n: saliency(n, batch(), samples=0),
        UsageError,
        "samples must be at least 1 and noise a share of 0 or more, got 0",
    ),
    (
        lambda n: saliency(n, batch(), samples=-3),
        UsageError,
        "samples must be at least 1 .* got -3",
    ),
    (
        lambda n: saliency(n, batch(), samples=2, noise=-0.1),
        UsageError,
        "noise a share of 0 or more, got 2 and -0.1",
    ),
    (
        lambda n: saliency(n, batch(), noise=NAN),
        UsageError,
        "noise a share of 0 or more, got 1 and nan",
    ),
    (
        lambda n: saliency(n, batch(), samples=2, noise=float("inf")),
        UsageError,
        "noise a share of 0 or more",
    ),
    (
        lambda n: saliency(n, batch(), views="ten"),
        UsageError,
        "views must be one of one, mirror, crops, got 'ten'",
    ),
    (lambda n: saliency(n, batch(), views=None), UsageError, "views must be one of .* got None"),
    # The strongest activations
    (
        lambda n: strongest_activations(n, batch(), "2", n=0),
        UsageError,
        "offers 7 activations, asked for 0",
    ),
    (
        lambda n: strongest_activations(n, batch(), "2", n=-2),
        UsageError,
        "offers 7 activations, asked for -2",
    ),
    (
        lambda n: strongest_activations(n, batch(), "2"),
        UsageError,
        "offers 7 activations, asked for 9",
    ),
    (
        lambda n: strongest_activations(n, batch(), "2", channel=7),
        UsageError,
        "has 7 channels, counted from 0; got 7",
    ),
    (lambda n: strongest_activations(n, batch(), "9"), LayerError, "'9' is no layer"),
    (
        lambda n: strongest_activations(n, batch(), "7", n=169),
        UsageError,
        "layer '7' offers 168 activations, asked for 169",
    ),
    # Occlusion
    (
        lambda n: occlusion(n, batch()),
        UsageError,
        "must fit the input of 18 x 24 pixels, got 48 x 48",
    ),
    (
        lambda n: occlusion(n, batch(), size=0),
        UsageError,
        "size must be a whole number of pixels of at least 1",
    ),
    (
        lambda n: occlusion(n, batch(), size=4, stride=0),
        UsageError,
        "stride must be a whole number of pixels of at least 1",
    ),
    (lambda n: occlusion(n, batch(), size=4, stride=1.5), UsageError, "stride must be .* got 1.5"),
    (
        lambda n: occlusion(n, batch(), size=4, batch_size=0),
        UsageError,
        "batch_size must be at least 1 .* got 0",
    ),
    (
        lambda n: occlusion(n, batch(), size=4, value=NAN),
        UsageError,
        "value finite, got 32 and nan",
    ),
    (
        lambda n: occlusion(n, batch(), size=4, feature="2"),
        UsageError,
        "feature must be an Activation, the channel to watch, got '2'",
    ),
    (
        lambda n: occlusion(n, batch(), size=4, feature=Activation("9", 0)),
        LayerError,
        "'9' is no layer",
    ),
    (
        lambda n: occlusion(n, batch(), size=4, feature=Activation("2", [0, 1])),
        UsageError,
        r"each of 3 images, got \[0, 1\]",
    ),
    # Nodes
    (
        lambda n: of_node(node="2:3:1"),
        GraphError,
        "'2:3:1' is not a node of the graph; did you mean '2:3:0'",
    ),
    (lambda n: of_node(node=""), GraphError, "'' is not a node of the graph"),
    (
        lambda n: of_node((0.5, NAN)),
        UsageError,
        r"place must be finite \(row, column\), one or one per image, got",
    ),
    (lambda n: of_node((0.5, float("inf"))), UsageError, "place must be finite"),
    (lambda n: of_node((0.5, 0.5, 0.5)), UsageError, r"got shape \(3,\)"),
    (lambda n: of_node(0.5), UsageError, r"place must be .* got shape \(\)"),
    (lambda n: of_node(None), UsageError, "place must be"),
    (lambda n: of_node("here"), UsageError, "place must be"),
    (lambda n: of_node([[0.5, 0.5], [0.5]]), UsageError, "place must be"),
    (lambda n: of_node([[[0.5, 0.5]]]), UsageError, r"got shape \(1, 1, 2\)"),
    # Ablation and explanation
    (
        lambda n: ablation(n, batch(2), [Activation("2", 0)]),
        UsageError,
        "takes one image and at least one removal, got 2 images and 1",
    ),
    (
        lambda n: ablation(n, batch(1), []),
        UsageError,
        "takes one image and at least one removal, got 1 images and 0",
    ),
    (
        lambda n: ablation(n, batch(1), [Activation("2", 7)]),
        UsageError,
        "has 7 channels, counted from 0; got 7",
    ),
    (lambda n: ablation(n, batch(1), [Activation("9", 0)]), LayerError, "'9' is no layer"),
    (lambda n: ablated(n, [Activation("9", 0)]).__enter__(), LayerError, "'9' is no layer"),
    (
        described(scores=[0.7, 0.8]),
        UsageError,
        r"places must be \(1, 2\) and scores \(1,\), got \(1, 2\) and \(2,\)",
    ),
    (described(places=[0.5, 0.5]), UsageError, r"places must be \(1, 2\)"),
    (described(n_tested=0), UsageError, "n_tested and n_shown must be at least 1, got 0"),
    (described(n_shown=0), UsageError, "n_tested and n_shown must be at least 1"),
    (described(target="lion"), UsageError, "'lion' is not a class"),
    # Maps of nodes
    (heat(top=0), UsageError, "top must be a share above 0, at most 1, got 0"),
    (heat(top=1.5), UsageError, "top must be a share above 0, at most 1, got 1.5"),
    (heat(scores=[0.7]), UsageError, r"must be \(n, 1, 2\) and \(n, 1\), got"),
    (heat(places=[[[NAN, 0.5]]]), UsageError, "places and scores must be finite"),
    (heat(layer="4"), GraphError, "layer '4' is not in the graph; it has 2"),
    (
        heat(nodes=("2:3:9",)),
        GraphError,
        "'2:3:9' is not a node of the graph; did you mean '2:3:0'",
    ),
    # Segmentation
    (
        cut(foreground=0.3, background=0.5),
        UsageError,
        "quantiles must be 0 <= background < foreground <= 1, got 0.5 and 0.3",
    ),
    (cut(foreground=0.5, background=0.5), UsageError, "quantiles must be"),
    (cut(foreground=1.01), UsageError, "quantiles must be"),
    (cut(background=-0.1), UsageError, "quantiles must be"),
    (cut(foreground=NAN), UsageError, "quantiles must be .* and nan"),
    (cut(components=0), UsageError, "components and side must be at least 1, got 0"),
    (cut(side=0), UsageError, "components and side must be at least 1"),
    (cut(connectivity=6), UsageError, "connectivity must be 4 or 8"),
    (cut(smoothness=-1), UsageError, "smoothness 0 or more"),
    (
        cut(map=np.full((HEIGHT, WIDTH), NAN)),
        UsageError,
        "map must be finite, got NaN or infinity; check the network's weights",
    ),
    (
        cut(map=np.eye(WIDTH, HEIGHT)),
        UsageError,
        r"a value for each pixel of the image, \(18, 24\), got \(24, 18\)",
    ),
    (
        cut(image=np.zeros((HEIGHT, WIDTH, 3))),
        UsageError,
        r"image must be uint8 \(height, width, 3\), the network input, got float64",
    ),
    (cut(frame=Frame((0, 0, 9, 9), WIDTH, HEIGHT)), UsageError, "give this image's frame"),
    # Correspondence
    (compared({}), UsageError, "name at least one part and its masks, got none"),
    (
        compared({"head": BOXES}, n_random=0),
        UsageError,
        "n_random and batch_size must be at least 1,.* got 0",
    ),
    (
        compared({"head": BOXES}, batch_size=0),
        UsageError,
        "n_random and batch_size must be at least 1",
    ),
    (
        compared({"head": BOXES[:1]}),
        UsageError,
        r"shape \(2, 4\), got \(1, 4\); give NaN for images without the part",
    ),
    (
        compared({"head": BOXES * NAN}),
        UsageError,
        "'head' must be in at least 2 images to be compared, got 0",
    ),
    (
        compared({"head": BOXES + 90}),
        UsageError,
        "each mask must cover a pixel of the 24 x 18 input",
    ),
    (compared({"head": BOXES}, layers=["22"]), LayerError, "'22' is no layer"),
    (compared({"head": BOXES}, layers=["8"], window=1), UsageError, "layer '8' has no places"),
    (compared({"head": BOXES}, layers=[]), LayerError, "name at least one layer, got none"),
    # Boxes and photographs
    (
        lambda n: boxes_of(np.eye(3), threshold=0),
        UsageError,
        "threshold must be a share of the maximum, above 0 and at most 1, got 0",
    ),
    (lambda n: boxes_of(np.eye(3), threshold=1.1), UsageError, "threshold must be .* got 1.1"),
    (lambda n: boxes_of(np.eye(3), threshold=NAN), UsageError, "threshold must be .* got nan"),
    (
        lambda n: boxes_of(np.ones(3)),
        UsageError,
        r"map must have the shape \(height, width\), got \(3,\); give one image's map",
    ),
    (lambda n: boxes_of(np.ones((0, 3))), UsageError, "map must have the shape"),
    (
        lambda n: boxes_of(np.ones((3, 3)), frame=FRAME),
        UsageError,
        r"map must have the shape \(18, 24\), got \(3, 3\)",
    ),
    (lambda n: boxes_of(np.full((3, 3), NAN)), UsageError, "map must be finite"),
    (
        lambda n: map_to_image(np.ones((3, 3)), FRAME, (48, 36)),
        UsageError,
        r"map must have the shape \(18, 24\), got \(3, 3\)",
    ),
    (
        lambda n: map_to_image(np.full((18, 24), NAN), FRAME, (48, 36)),
        UsageError,
        "map must be finite",
    ),
    # Classes
    (lambda n: find_class(n, "lion"), UsageError, "'lion' is not a class"),
    (lambda n: find_class(n, None), UsageError, "a class is a number or a name, got None"),
    (lambda n: find_class(n, 4, n_classes=3), UsageError, "number must be 0 to 2, got 4"),
    (
        lambda n: resolve_target(n, "cat", scores=torch.zeros(2, 6)),
        UsageError,
        "'cat' fits 2 classes",
    ),
    (
        lambda n: resolve_target(n, 8, scores=torch.zeros(2, 8)),
        UsageError,
        "number must be 0 to 7, got 8",
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "message"), REQUESTS, ids=[message[:40] for _, _, message in REQUESTS]
)
def test_impossible_requests_are_refused(call, error, message):
    assert_refused(call, network_of(small()), error, message)


def test_a_layer_without_a_gradient_is_refused_and_named():
    network = network_of(Wrapped(lambda scores: scores))
    for target in (None, 2, lambda scores: scores[:, 1]):
        assert_refused(
            lambda network, target=target: gradcam(network, batch(), layer="aside", target=target),
            network,
            LayerError,
            "no gradient leads from the scores of tests:small to layer 'aside'; "
            "name a layer on their way",
        )


def test_a_layer_that_is_not_reached_is_refused_and_named():
    network = network_of(small())
    network.model.unused = nn.Conv2d(3, 4, 1)
    type_of = type(
        "Reaching", (nn.Sequential,), {"forward": lambda self, x: nn.Sequential(*list(self)[:9])(x)}
    )
    network.model.__class__ = type_of
    for call in (
        lambda n: gradcam(n, batch(), layer="unused"),
        lambda n: saliency(n, batch(), target=Activation("unused", 0)),
        lambda n: strongest_activations(n, batch(), "unused"),
        lambda n: occlusion(n, batch(), size=9, feature=Activation("unused", 0)),
        lambda n: ablation(n, batch(1), [Activation("unused", 0)]),
    ):
        assert_refused(
            call,
            network,
            LayerError,
            "the forward pass does not reach 'unused'; name layers on its way",
        )


@pytest.mark.parametrize("method", [saliency, deconvnet, guided_backprop])
def test_a_pass_that_cuts_gradients_off_is_reported(method):
    network = network_of(Wrapped(torch.Tensor.detach))
    message = (
        "no gradient reaches back from the scores of tests:small; its forward pass cuts them off"
    )
    assert_refused(lambda network: method(network, batch()), network, NetworkError, message)


def test_a_field_beyond_the_border_is_empty_rather_than_wrong():
    layer = placed((0.5, 0.5)).layer_geometry
    assert receptive_field(layer, (3.0, -2.0), input_size=(HEIGHT, WIDTH))[2:] == (0.0, 0.0)
