"""The rule at every ReLU, however it is written, and where there is none."""

import gc
import weakref
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.networks import (
    HEIGHT,
    WIDTH,
    Residual,
    Twice,
    assert_same,
    batch,
    network_of,
    seeded,
    small,
)
from torch import nn
from torch.nn import functional as F

from explgraph.attribution import (
    Activation,
    deconvnet,
    guided_backprop,
    guided_gradcam,
    saliency,
)
from explgraph.attribution.rectified import rectified_gradient
from explgraph.errors import NetworkError

METHODS = {"deconv": deconvnet, "guided": guided_backprop}


# The relation to the gradient: Simonyan et al. 2014, section 4


def gradient(network, images, index):
    image = images.clone().requires_grad_()
    return torch.autograd.grad(network.model(image)[:, index].sum(), image)[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "rectify",
    [
        F.relu,
        nn.ReLU(inplace=True),
        lambda x: F.relu(x, inplace=True),
        torch.relu_,
        lambda x: x.clamp(min=0),
        lambda x: x.clamp_(min=0),
        lambda x: torch.clamp(x, 0, 1e9),
        lambda x: x.clamp(min=torch.tensor(0.0)),
        lambda x: x.clamp(min=torch.zeros(x.shape[1], 1, 1)),
        lambda x: F.threshold(x, 0, 0),
        nn.Hardtanh(0, 1e9),
        lambda x: F.relu(x.flatten(2)).unflatten(2, (HEIGHT, WIDTH)),
        lambda x: F.relu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    ],
)
def test_a_relu_of_any_spelling_gives_the_same_map(method, rectify):
    expected = METHODS[method](network_of(Twice(nn.ReLU())), batch())
    found = METHODS[method](network_of(Twice(rectify)), batch())
    np.testing.assert_allclose(found.colours, expected.colours, rtol=1e-5, atol=1e-9)
    assert not torch.allclose(
        found.maps, saliency(network_of(Twice(rectify)), batch()).maps, rtol=1e-2
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_relu_that_is_cut_off_above_passes_nothing_there_in_guided_backprop(method):
    """The gradient of a ReLU6 is zero above 6; a deconvnet looks at the switches alone."""
    written = [
        nn.ReLU6(),
        nn.ReLU6(inplace=True),
        nn.Hardtanh(0, 6),
        lambda x: x.clamp(0, 6),
        F.relu6,
    ]
    found = [
        METHODS[method](network_of(Twice(rectify)), 40 * batch(), target=1).colours
        for rectify in written
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-9)
    unlimited = METHODS[method](network_of(Twice(nn.ReLU())), 40 * batch(), target=1).colours
    assert torch.allclose(found[0], unlimited, rtol=1e-5, atol=1e-9) == (method == "deconv")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inplace", [False, True])
def test_a_relu_that_runs_three_times_is_met_three_times(method, inplace):
    convolutions = lambda: (
        seeded(
            *[lambda: nn.Conv2d(3, 3, 3, padding=1)] * 3, nn.Flatten, lambda: nn.Linear(1296, 6)
        ).model
    )
    a, b, c, *head = convolutions()
    apart = network_of(nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), c, nn.ReLU(), *head))
    shared = nn.ReLU(inplace=inplace)
    a, b, c, *head = convolutions()
    together = network_of(nn.Sequential(a, shared, b, shared, c, shared, *head))
    images = batch().double()
    np.testing.assert_array_equal(
        METHODS[method](together, images, target=1).colours,
        METHODS[method](apart, images, target=1).colours,
    )


def test_shortcuts_carry_the_signal_too():
    """A residual block by hand: R_x = R_y' + W1^T ReLU(W2^T R_y'), with R_y' = ReLU(R_y)."""
    network, image = network_of(Residual().double()), batch(1).double()
    stem, relu, blocks, head = (
        network.model.get_submodule(name) for name in ("stem", "relu", "block", "fc")
    )
    signal = (head.weight[2] / 88).reshape(1, 4, 1, 1).expand(1, 4, 8, 11)
    down = lambda conv, signal: F.conv_transpose2d(signal, conv.weight, padding=1)
    for block in reversed(blocks):
        above = relu(signal)
        signal = above + down(block.conv1, relu(down(block.conv2, above)))
    expected = F.conv_transpose2d(relu(signal), stem.weight, stride=2, output_padding=1)
    assert_same(deconvnet(network, image, target=2).colours, expected)


# What the rule is not defined for


class Gate(nn.Module):
    """Squeeze and excitation."""

    def forward(self, x):
        return x.relu() * x.mean((2, 3), keepdim=True).sigmoid()


class Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, above):
        return above * (ctx.saved_tensors[0] > 0)


class Relu(Rectified):
    """Whose node autograd calls ReluBackward, almost as that of the true one."""


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict(
            {str(width): nn.MultiheadAttention(width, 1, batch_first=True) for width in (4, 5)}
        )

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return (
            self.heads[str(x.shape[1])](tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)
        )


def set_to_zero(x):
    x = x.clone()
    x[x < 0] = 0
    return x


def rectified_in_part(x):
    x = x.clone()
    x[:, :2].relu_()
    return x


REFUSED = [
    (nn.GELU(), "has run Gelu"),
    (nn.SiLU(), "has run Silu"),
    (nn.LeakyReLU(), "has run LeakyRelu"),
    (nn.Hardswish(), "has run Hardswish"),
    (nn.ELU(), "has run Elu"),
    (nn.PReLU(), "has run Prelu"),
    (nn.Sigmoid(), "has run Sigmoid"),
    (nn.Hardtanh(-1, 1), "Hardtanh at another limit than 0"),
    (nn.Threshold(0.1, 0), "Threshold at another limit than 0"),
    (lambda x: x.clamp(min=-1), "Clamp at another limit than 0"),
    (
        lambda x: x.clamp(min=torch.linspace(-1, 0, x.shape[1])[:, None, None]),
        "Clamp at another limit than 0",
    ),
    (lambda x: x.clamp(max=0), "Clamp"),
    (lambda x: x * (x > 0), r"Mul by a mask of zeros and ones \(a ReLU in disguise\?\)"),
    (lambda x: (x > 0).to(x) * x, "Mul by a mask"),
    (lambda x: x - x * (x < 0), "Mul by a mask"),
    (lambda x: torch.where(x > 0, x, 0.0), "has run Where"),
    (lambda x: torch.maximum(x, torch.zeros(())), "has run Maximum"),
    (lambda x: x.masked_fill(x < 0, 0), "has run MaskedFill"),
    (set_to_zero, "has run"),
    (rectified_in_part, "has run CopySlices"),
    (lambda x: (x + x.abs()) / 2, "has run Abs"),
    (lambda x: 1 / (x.abs() + 1), "has run"),
    (lambda x: torch.ones(()) / (x + 5), "Div by what depends on the image"),
    (lambda x: x / x.norm(), "two factors that both depend on the image"),
    (lambda x: x * x, "two factors that both depend on the image"),
    (Gate(), r"Mul of two factors that both depend on the image \(a gate or attention\)"),
    (lambda x: F.group_norm(x, 1), "has run NativeGroupNorm"),
    (lambda x: F.instance_norm(x), "by the image's own mean and variance"),
    (lambda x: F.layer_norm(x, x.shape[1:]), "has run NativeLayerNorm"),
    (Rectified.apply, "has run RectifiedBackward"),
    (Relu.apply, "has run ReluBackward"),
    (Attention(), "has run"),
]


@pytest.mark.parametrize("method", METHODS.values())
@pytest.mark.parametrize(("rectify", "message"), REFUSED)
def test_what_is_neither_linear_nor_a_maximum_nor_a_relu_is_named(method, rectify, message):
    network = network_of(Twice(rectify))
    with pytest.raises(
        NetworkError,
        match=f"defined for convolutions, pooling and ReLU, but tests:small .*{message}",
    ):
        method(network, batch(), target=1)
    assert saliency(network, batch(), target=1).maps.any()  # as the message advises


def test_the_message_advises_a_layer_before_it_and_that_works():
    network = network_of(
        nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(1120, 6),
        )
    )
    with pytest.raises(NetworkError, match="or name a target in a layer before it"):
        deconvnet(network, batch())
    with pytest.raises(NetworkError, match="has run Gelu"):
        guided_gradcam(network, batch())
    assert deconvnet(network, batch(), target=Activation("2", 1)).maps.any()


def test_many_foreign_operations_are_not_all_listed():
    mixed = lambda x: F.elu(F.silu(F.gelu(F.leaky_relu(F.softplus(x))).tanh()).sigmoid())
    with pytest.raises(NetworkError, match=r"has run (\w+, ){4}\.\.\.;"):
        deconvnet(network_of(Twice(mixed)), batch())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("method", METHODS)
def test_a_scripted_network_is_projected_in_the_same_way_or_refused(method):
    network = network_of(small())
    expected = METHODS[method](network, batch())
    scripted = replace(network, model=torch.jit.script(network.model))
    for _ in range(4):
        with suppress(
            NetworkError
        ):  # what autograd records is another thing once the program is optimised
            np.testing.assert_allclose(
                METHODS[method](scripted, batch()).colours, expected.colours, rtol=1e-4, atol=1e-8
            )


def forward_of(rectify):
    network = network_of(Twice(rectify))
    image = batch(1).requires_grad_()
    return network.model(image)[:, 0], image


@pytest.mark.parametrize("fails", [False, True])
def test_hooks_on_the_recorded_operations_do_not_outlive_the_call(fails):
    values, image = forward_of(nn.ReLU())

    class Rule:
        def __call__(self, signal, gradient):
            if fails:
                raise ArithmeticError
            return signal

    rule = Rule()
    held = weakref.ref(rule)
    if fails:
        with pytest.raises(ArithmeticError):
            rectified_gradient(values, image, rule, name="tests")
    else:
        assert rectified_gradient(values, image, rule, name="tests").any()
    del rule
    gc.collect()
    assert held() is None
    assert values.grad_fn is not None  # the operations themselves are still there


def test_nothing_leads_to_an_image_that_does_not_bear_on_the_values():
    values, _ = forward_of(nn.ReLU())
    other = batch(1).requires_grad_()
    assert rectified_gradient(values, other, lambda signal, gradient: signal, name="tests") is None
    assert (
        rectified_gradient(values.detach(), other, lambda signal, gradient: signal, name="tests")
        is None
    )


def test_foreign_operations_beside_the_way_to_the_image_do_not_matter():
    scale = nn.Parameter(torch.zeros(()))
    network = network_of(Twice(lambda x: x.relu() * F.gelu(scale + 1)))
    expected = deconvnet(network, batch())
    scale.requires_grad_(True)
    assert torch.equal(deconvnet(network, batch()).colours, expected.colours)


# Contrast normalisation: AlexNet and ZFNet as published


class Written(nn.Module):
    """Contrast normalisation as ports of old networks write it out."""

    def forward(self, x):
        energy = F.avg_pool3d(x.pow(2).unsqueeze(1), (3, 1, 1), stride=1, padding=(1, 0, 0))
        return x.div(energy.squeeze(1).mul(0.5).add(2.0).pow(0.75))


def contrasted(normalisation):
    return seeded(
        lambda: nn.Conv2d(3, 6, 3, stride=2),
        nn.ReLU,
        lambda: normalisation,
        lambda: nn.Conv2d(6, 5, 3),
        nn.ReLU,
        nn.Flatten,
        lambda: nn.Linear(5 * 6 * 9, 6),
    )


CONTRASTS = [nn.LocalResponseNorm(3, alpha=0.5, beta=0.75, k=2.0), Written()]


@pytest.mark.parametrize("normalisation", CONTRASTS)
def test_the_deconvnet_leaves_contrast_normalisation_out_on_the_way_down(normalisation):
    """Zeiler and Fergus 2014, section 2.1: no contrast normalisation in the reconstruction path."""
    network, images = contrasted(normalisation), batch(2).double()
    first, _, _, second, _, _, last = network.model
    signal = last.weight[2].reshape(1, 5, 6, 9).expand(2, -1, -1, -1).relu()
    signal = F.conv_transpose2d(signal, second.weight).relu()
    rest = [size - (2 * n + 1) for size, n in zip(images.shape[2:], signal.shape[2:], strict=True)]
    expected = F.conv_transpose2d(signal, first.weight, stride=2, output_padding=rest)
    assert_same(deconvnet(network, images, target=2).colours, expected)


@pytest.mark.parametrize("normalisation", CONTRASTS)
def test_guided_backpropagation_and_saliency_take_its_gradient(normalisation):
    network, images = contrasted(normalisation), batch(2).double()
    image = images.clone().requires_grad_()
    copy = contrasted(normalisation).model
    for module in copy:
        if isinstance(module, nn.ReLU):
            module.register_full_backward_hook(lambda _, below, above: (below[0].relu(),))
    (expected,) = torch.autograd.grad(copy(image)[:, 2].sum(), image)
    assert_same(guided_backprop(network, images, target=2).colours, expected)
    expected = gradient(network, images, 2).abs().amax(1)
    assert_same(saliency(network, images, target=2).maps, expected)


@pytest.mark.parametrize(
    "divide",
    [
        lambda x: x / (1 + x.flip(1) ** 2),  # the square of another map
        lambda x: x / (1 + x.exp()),
        lambda x: x / (2 + x.mean((2, 3), keepdim=True)),  # no energy
        lambda x: x / (1 + (x * x.flip(1)).mean()),
    ],
)
def test_other_quotients_are_no_contrast_normalisation(divide):
    with pytest.raises(NetworkError, match="Div of two factors"):
        deconvnet(network_of(Twice(divide)), batch(1), target=1)
