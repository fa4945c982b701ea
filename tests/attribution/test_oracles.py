"""Agreement with three independent implementations: Captum, pytorch-grad-cam and TorchCAM.

All in double precision: in float32 two layouts of the same maps break ties between equal maxima
differently, and a switch that is set elsewhere moves a pixel's gradient by as much as it is large.
The libraries get a copy of the network, as they leave hooks on it. Its ReLUs may not be in place:
hooks on modules would see what has been overwritten.
"""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders.chains import photographs, random_network
from builders.real import SHARED
from torch import nn

from explgraph.attribution import (
    Activation,
    deconvnet,
    gradcam,
    guided_backprop,
    saliency,
    strongest_activations,
)
from explgraph.attribution.occlusion import occlusion
from explgraph.images import ImageObject, load_input
from explgraph.network import load_network

captum = pytest.importorskip("captum.attr")
grad_cam = pytest.importorskip("pytorch_grad_cam")
torchcam = pytest.importorskip("torchcam.methods")

WEIGHTS = SHARED / "models" / "squeezenet1_0-imagenet.pth"
REAL = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (WEIGHTS.is_file() and (SHARED / "data").is_dir()),
        reason=f"no real photographs or weights in {SHARED}",
    ),
]
PHOTOGRAPHS = ("n02510455/00001.jpg", "n02391049/00002.jpg")
# A layer whose channels speak for the class, and one whose activations are projected.
LAYERS = {
    "squeezenet1_0": ("features.12", "features.8"),
    "vgg16": ("features.29", "features.14"),
    "resnet18": ("layer4", "layer2"),
}
TOLERANCE = 1e-6  # results are float32


def real_photographs():
    folder = SHARED / "data" / "animals"
    pixels = [
        load_input(ImageObject(k, k, name, folder / name), height=224, width=224)[0]
        for k, name in enumerate(PHOTOGRAPHS)
    ]
    network = load_network("squeezenet1_0", weights=WEIGHTS)
    images = network.preprocess(torch.from_numpy(np.stack(pixels))).double()
    network.model.double()
    return network, images


@pytest.fixture(
    scope="module", params=[pytest.param("squeezenet1_0", marks=REAL), "vgg16", "resnet18"]
)
def case(request):
    name = request.param
    network, images = (
        real_photographs() if name == "squeezenet1_0" else (random_network(name), photographs(2))
    )
    with torch.no_grad():
        classes = network.model(images).argmax(1).tolist()
    theirs = copy.deepcopy(network.model).requires_grad_(True)
    for module in theirs.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return SimpleNamespace(
        name=name, network=network, images=images, classes=classes, theirs=theirs
    )


def leaf(images):
    return images.clone().requires_grad_()


def assert_agree(found, expected, *, tolerance=TOLERANCE):
    """Relative to the largest value, which is not zero."""
    found, expected = (torch.as_tensor(x).detach().double() for x in (found, expected))
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    assert scale > 0
    assert float((found - expected).abs().max()) < tolerance * scale


# Captum


def test_saliency_is_captums(case):
    gradient = captum.Saliency(case.theirs).attribute(
        leaf(case.images), target=case.classes, abs=False
    )
    assert_agree(saliency(case.network, case.images).maps, gradient.abs().amax(1))


def test_the_gradient_times_the_input_is_captums(case):
    expected = captum.InputXGradient(case.theirs).attribute(leaf(case.images), target=case.classes)
    assert_agree(saliency(case.network, case.images, times_input=True).maps, expected.sum(1))


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_guided_backpropagation_is_captums(case):
    expected = captum.GuidedBackprop(case.theirs).attribute(leaf(case.images), target=case.classes)
    assert_agree(guided_backprop(case.network, case.images).colours, expected)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_the_deconvnet_from_a_class_is_captums(case):
    expected = captum.Deconvolution(case.theirs).attribute(leaf(case.images), target=case.classes)
    found = deconvnet(case.network, case.images).colours
    if (
        case.name == "squeezenet1_0"
    ):  # all that its last convolution passes down is negative, so the ReLU below stops it
        assert not found.any()
        assert not expected.any()
    else:
        assert_agree(found, expected)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize(
    ("method", "theirs"),
    [(deconvnet, "NeuronDeconvolution"), (guided_backprop, "NeuronGuidedBackprop")],
)
def test_the_projection_of_an_activation_is_captums(case, method, theirs):
    layer, image = LAYERS[case.name][1], case.images[:1]
    for one in strongest_activations(case.network, image, layer, n=2):
        neuron = (int(one.channel[0]), *one.cell[0].tolist())
        expected = getattr(captum, theirs)(case.theirs, case.theirs.get_submodule(layer)).attribute(
            leaf(image), neuron
        )
        assert_agree(method(case.network, image, target=one).colours, expected)
        assert_agree(
            method(case.network, image, target=Activation(layer, neuron[0], neuron[1:])).colours,
            expected,
        )


@pytest.mark.parametrize("layer", [0, 1])
def test_gradcam_is_captums(case, layer):
    name = LAYERS[case.name][layer]
    expected = captum.LayerGradCam(case.theirs, case.theirs.get_submodule(name)).attribute(
        leaf(case.images), target=case.classes
    )
    assert_agree(gradcam(case.network, case.images, layer=name, signed=True).cells, expected[:, 0])


def test_occlusion_is_captums(case):
    """Squares reach over the far border; Captum hides all colours at once: they have equal maps."""
    image, label = case.images[-1:], case.classes[-1]
    height, width = image.shape[2:]
    size, stride = (height // 3, width // 2), (height // 3 - 2, width // 3)
    expected = captum.Occlusion(case.theirs).attribute(
        image, (3, *size), (3, *stride), baselines=0.25, target=label
    )
    found = occlusion(case.network, image, target=label, size=size, stride=stride, value=0.25)
    assert found.incremental.all()
    assert found.tops[-1] + size[0] > height
    assert_agree(found.maps, expected[:, 0], tolerance=1e-5)  # a small difference of float32 values
    assert torch.equal(expected[:, 0], expected[:, 2])


# pytorch-grad-cam, which has no raw cells: each map is brought to 0..1, enlarged by OpenCV, and
# brought to 0..1 again


def enlarged(cells, images):
    scale = grad_cam.utils.image.scale_cam_image
    return scale(scale(cells.numpy(), (images.shape[3], images.shape[2])))


@pytest.mark.parametrize(
    ("weighting", "theirs"), [("gradcam", "GradCAM"), ("layercam", "LayerCAM")]
)
def test_class_activation_maps_are_those_of_pytorch_grad_cam(case, weighting, theirs):
    layer = LAYERS[case.name][0]
    targets = [grad_cam.utils.model_targets.ClassifierOutputTarget(label) for label in case.classes]
    with getattr(grad_cam, theirs)(case.theirs, [case.theirs.get_submodule(layer)]) as method:
        expected = method(case.images.clone(), targets)
    found = gradcam(case.network, case.images, layer=layer, weighting=weighting)
    assert_agree(enlarged(found.cells, case.images), expected)


def test_gradcam_plus_plus_is_that_of_pytorch_grad_cam_where_it_adds_little_to_the_denominator():
    """It adds 1e-6 to ``2 g^2 + g^3 sum A``, which tells where g is small: so a score times 1e6."""
    network, images = random_network("resnet18"), photographs(2)
    theirs = copy.deepcopy(network.model).requires_grad_(True)
    labels, numbers = [3, 124], torch.arange(2)
    targets = [lambda scores, label=label: 1e6 * scores[label] for label in labels]
    with grad_cam.GradCAMPlusPlus(theirs, [theirs.layer4]) as method:
        expected = method(images.clone(), targets)
    ask = lambda scores: 1e6 * scores[numbers, labels]
    found = gradcam(network, images, layer="layer4", weighting="gradcam++", target=ask)
    assert_agree(enlarged(found.cells, images), expected)


# TorchCAM


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(
    ("weighting", "theirs"), [("gradcam", "GradCAM"), ("layercam", "LayerCAM")]
)
def test_class_activation_maps_are_those_of_torchcam(case, weighting, theirs, layer):
    name = LAYERS[case.name][layer]
    with getattr(torchcam, theirs)(case.theirs, name) as method:
        (expected,) = method(case.classes, case.theirs(case.images.clone()), normalized=False)
    found = gradcam(case.network, case.images, layer=name, weighting=weighting).cells
    assert_agree(found, expected.relu())


def test_gradcam_plus_plus_of_torchcam_lacks_the_division(case):
    """TorchCAM 0.5 divides a copy of its coefficients, so they stay g^2; the rest agrees."""
    name, numbers = LAYERS[case.name][0], torch.arange(2)
    with torchcam.GradCAMpp(case.theirs, name) as method:
        (theirs,) = method(case.classes, case.theirs(case.images.clone()), normalized=False)
    held = []
    with case.network.watch(
        [name], lambda _, maps: held.append(maps.detach().requires_grad_()) or held[0].clone()
    ) as run:
        scores = run(case.images.clone())
    maps = held[0]
    (gradient,) = torch.autograd.grad(scores[numbers, case.classes].sum(), maps)
    weights = {
        "undivided": gradient**2,
        "ours": gradient**2
        / (2 * gradient**2 + gradient**3 * maps.sum((2, 3), keepdim=True) + 1e-300),
    }
    expected = {
        how: torch.einsum(
            "nk,nkij->nij", (weight * gradient.relu()).sum((2, 3)), maps.detach()
        ).relu()
        for how, weight in weights.items()
    }
    found = gradcam(case.network, case.images, layer=name, weighting="gradcam++").cells
    assert_agree(found, expected["ours"])
    repaired = (theirs.relu() - expected["undivided"]).abs().max() > (
        theirs.relu() - expected["ours"]
    ).abs().max()
    assert_agree(theirs.relu(), expected["ours" if repaired else "undivided"])
