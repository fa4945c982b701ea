import gc
import weakref
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.networks import HEIGHT, WIDTH, Residual, batch, network_of, small
from torch import nn
from torch.nn import functional as F

from explgraph.attribution import (
    Activation,
    deconvnet,
    guided_backprop,
    guided_gradcam,
    saliency,
    strongest_activations,
)
from explgraph.attribution.rectified import rectified_gradient
from explgraph.errors import LayerError, NetworkError, UsageError

METHODS = {"deconv": deconvnet, "guided": guided_backprop}
# What a ReLU does to the signal from above, by the sign of what came from below.
RULES = {
    "deconv": lambda signal, active: signal.relu(),
    "guided": lambda signal, active: signal.relu() * active,
    "gradient": lambda signal, active: signal * active,
}


def seeded(*modules, seed=5):
    torch.manual_seed(seed)
    model = nn.Sequential(*(module() for module in modules)).double()
    for module in model:
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
    return network_of(model)


def paper():
    """Strides that do not divide, groups, a pooling that leaves cells out, uneven sizes."""
    return seeded(
        lambda: nn.Conv2d(3, 6, 5, stride=2, padding=2),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.MaxPool2d((2, 3)),
        lambda: nn.Conv2d(6, 8, 3, padding=(0, 1), groups=2),
        lambda: nn.BatchNorm2d(8),
        nn.ReLU,
        lambda: nn.Conv2d(8, 5, (2, 3), stride=(1, 2), padding=1),
        nn.ReLU,
        nn.Flatten,
        lambda: nn.Linear(30, 6),
    )


def forward(model, image):
    """Return what goes into each module, and the switches of the poolings."""
    inputs, switches, value = [], {}, image
    for number, module in enumerate(model):
        inputs.append(value)
        if isinstance(module, nn.MaxPool2d):
            value, switches[number] = F.max_pool2d(
                value, module.kernel_size, module.stride, return_indices=True
            )
        else:
            value = F.relu(value) if isinstance(module, nn.ReLU) else module(value)
    return inputs, switches


def transposed(conv, signal, size):
    """The transpose of the convolution; its result has the size that went into it."""
    options = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups}
    smallest = F.conv_transpose2d(signal, conv.weight, **options).shape[2:]
    rest = (size[0] - smallest[0], size[1] - smallest[1])  # rows and columns that no stride reaches
    return F.conv_transpose2d(signal, conv.weight, output_padding=rest, **options)


def projected(model, image, signal, top, rule):
    """Zeiler and Fergus 2014, section 2.1: each step undone, from ``top`` to the pixels."""
    inputs, switches = forward(model, image)
    for number in reversed(range(top + 1)):
        module, below = model[number], inputs[number]
        if isinstance(module, nn.Conv2d):
            signal = transposed(module, signal, below.shape[2:])
        elif isinstance(module, nn.ReLU):
            signal = RULES[rule](signal, below > 0)
        elif isinstance(module, nn.MaxPool2d):
            signal = F.max_unpool2d(
                signal,
                switches[number],
                module.kernel_size,
                module.stride,
                output_size=below.shape[2:],
            )
        elif isinstance(module, nn.BatchNorm2d):
            signal = (
                signal * (module.weight / (module.running_var + module.eps).sqrt())[:, None, None]
            )
        elif isinstance(module, nn.Flatten):
            signal = signal.reshape(below.shape)
        else:
            signal = signal @ module.weight
    return signal


def assert_same(found, expected):
    """``colours`` are float32, and not nothing."""
    np.testing.assert_allclose(
        found, expected.float(), rtol=1e-4, atol=1e-6 * float(expected.abs().max())
    )
    assert expected.any()


# Definition


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("top", [0, 1, 2, 3, 4, 5, 6, 7])
def test_an_activation_is_projected_down_as_the_paper_says(method, top):
    network, images = paper(), batch(2).double()
    maps = network.model[: top + 1](images.clone())
    place = maps.flatten(1).argmax(1)
    channel, row, col = (x.numpy() for x in torch.unravel_index(place, maps.shape[1:]))
    cell = np.stack([row, col], 1)
    signal = torch.zeros_like(maps)
    signal[torch.arange(2), channel, row, col] = 1
    found = METHODS[method](network, images, target=Activation(str(top), channel, cell))
    assert_same(found.colours, projected(network.model, images, signal, top, method))
    np.testing.assert_array_equal(found.maps, found.colours.abs().amax(1))
    np.testing.assert_allclose(found.targets.scores, maps.flatten(1).amax(1), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_so_is_a_class(method):
    network, images = paper(), batch(2).double()
    signal = torch.eye(6, dtype=torch.float64)[[4, 4]]
    assert_same(
        METHODS[method](network, images, target=4).colours,
        projected(network.model, images, signal, 9, method),
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_map_starts_from_its_active_cells_alone(method):
    network, images = paper(), batch(2).double()
    maps = network.model[:7](images.clone())
    signal = torch.zeros_like(maps)
    signal[:, 3] = (maps[:, 3] > 0).double()
    assert 0 < signal.mean() < 1 / 5
    found = METHODS[method](network, images, target=Activation("6", 3))
    assert_same(found.colours, projected(network.model, images, signal, 6, method))


def test_twice_the_activation_is_projected_twice_as_strong():
    """So it makes no difference that the paper starts from the activation, here from 1."""
    network, image = paper(), batch(1).double()
    for rule in RULES:
        one, strong = (
            projected(network.model, image, s * torch.eye(6).double()[[1]], 9, rule)
            for s in (1, 3.5)
        )
        np.testing.assert_allclose(3.5 * one, strong, rtol=1e-10)


def overlapping():
    return seeded(
        lambda: nn.Conv2d(3, 4, 3),
        nn.ReLU,
        lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
        lambda: nn.Conv2d(4, 3, 3),
    )


def test_where_windows_overlap_their_signals_add_at_the_maximum_that_they_share():
    network, image = overlapping(), batch(1).double()
    conv, _, pool, last = network.model
    active = F.relu(conv(image))
    top = last(pool(active))
    channel, row, col = (int(x) for x in torch.unravel_index(top.argmax(), top.shape[1:]))
    signal = torch.zeros_like(top)
    signal[0, channel, row, col] = 1
    signal = F.conv_transpose2d(signal, last.weight)
    unpooled, counts = torch.zeros_like(active), torch.zeros_like(active)
    for k, i, j in np.ndindex(*signal.shape[1:]):
        window = active[0, k, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        down, across = divmod(int(window.argmax()), window.shape[1])
        unpooled[0, k, 2 * i + down, 2 * j + across] += signal[0, k, i, j]
        counts[0, k, 2 * i + down, 2 * j + across] += 1
    assert counts.max() > 1
    expected = F.conv_transpose2d(unpooled.relu(), conv.weight)
    assert_same(
        deconvnet(network, image, target=Activation("3", channel, (row, col))).colours, expected
    )


# The relation to the gradient: Simonyan et al. 2014, section 4


def gradient(network, images, index):
    image = images.clone().requires_grad_()
    return torch.autograd.grad(network.model(image)[:, index].sum(), image)[0]


def test_without_a_relu_the_deconvnet_is_the_gradient():
    network = seeded(
        lambda: nn.Conv2d(3, 6, 5, stride=2, padding=2),
        lambda: nn.MaxPool2d(3, 2, 1),
        lambda: nn.BatchNorm2d(6),
        lambda: nn.AvgPool2d(2),
        nn.Flatten,
        lambda: nn.Linear(36, 6),
    )
    images = batch(2).double()
    for method in METHODS.values():
        assert_same(method(network, images, target=2).colours, gradient(network, images, 2))


def test_with_one_relu_the_two_differ_in_its_mask_alone():
    network, images = (
        seeded(lambda: nn.Conv2d(3, 6, 3), nn.ReLU, nn.Flatten, lambda: nn.Linear(6 * 16 * 22, 6)),
        batch(2).double(),
    )
    conv, linear = network.model[0], network.model[3]
    signal, active = linear.weight[2].reshape(1, 6, 16, 22), conv(images) > 0
    down = lambda signal: F.conv_transpose2d(signal, conv.weight)
    assert_same(gradient(network, images, 2), down(signal * active))
    assert_same(
        deconvnet(network, images, target=2).colours,
        down(signal * (signal > 0)).expand(2, -1, -1, -1),
    )
    assert_same(
        guided_backprop(network, images, target=2).colours, down(signal * active * (signal > 0))
    )


def test_where_all_is_active_and_all_speaks_for_the_target_there_is_no_difference():
    network = seeded(
        lambda: nn.Conv2d(3, 6, 3),
        nn.ReLU,
        lambda: nn.Conv2d(6, 4, 3),
        nn.ReLU,
        nn.Flatten,
        lambda: nn.Linear(1120, 6),
    )
    for module in network.model:
        if hasattr(module, "weight"):
            module.weight.data.abs_()
    images = batch(2).double().abs() + 0.1
    for method in METHODS.values():
        assert_same(method(network, images, target=2).colours, gradient(network, images, 2))


def test_an_activation_that_is_not_there_has_no_projection():
    network, images = paper(), batch(1).double()
    maps = network.model[:4](images.clone())
    row, col = divmod(int(maps[0, 2].argmin()), maps.shape[3])
    assert maps[0, 2, row, col] < 0
    for method in METHODS.values():
        found = method(network, images, target=Activation("3", 2, (row, col)))
        assert not found.colours.any()
        assert found.targets.scores.tolist() == [0]


# A ReLU is a ReLU, however it is written


class Twice(nn.Module):
    """Two convolutions, each rectified by ``rectify``."""

    def __init__(self, rectify):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.Linear(5, 6),
        )
        self.rectify = rectify

    def forward(self, x):
        return self.c(self.rectify(self.b(self.rectify(self.a(x)))).mean((2, 3)))


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
    """A ReLU6 has no gradient above 6; a deconvnet knows of the forward pass the switches."""
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


# Property


@pytest.mark.parametrize("method", METHODS.values())
def test_images_of_a_batch_do_not_bear_on_each_others_projection(method):
    network, images = network_of(small()), batch(4)
    apart = torch.cat([method(network, images[i : i + 1]).colours for i in range(4)])
    np.testing.assert_allclose(method(network, images).colours, apart, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_mode_changes_nothing(mode):
    network, images = network_of(small()), batch()
    expected = [method(network, images).colours for method in METHODS.values()]
    with mode():
        found = [method(network, batch()).colours for method in METHODS.values()]
        found_of_inference = [method(network, images).colours for method in METHODS.values()]
    for one, other, third in zip(expected, found, found_of_inference, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)


def test_a_network_whose_weights_could_be_trained_gives_the_same():
    network = network_of(small())
    expected = deconvnet(network, batch())
    network.model.requires_grad_(True)
    assert torch.equal(deconvnet(network, batch()).colours, expected.colours)
    assert all(parameter.grad is None for parameter in network.model.parameters())


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


# The strongest activations


def slowly_strongest(maps, channel):
    """All candidates of one image as (value, channel, row, column), strongest first."""
    found = []
    for k, one in enumerate(maps.tolist()):
        for (row, col), value in np.ndenumerate(np.array(one)):
            about = [r[max(col - 1, 0) : col + 2] for r in one[max(row - 1, 0) : row + 2]]
            largest = max(map(max, one)) if channel is None else max(map(max, about))
            if channel in (None, k) and value == largest:
                found.append((value, k, row, col))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("channel", [None, 0, 4])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_the_strongest_activations_are_those_of_a_slow_search(layer, channel):
    network, images = network_of(small()), batch(4)
    maps = network.model[: layer + 1](images.clone())
    found = strongest_activations(network, images, str(layer), n=4, channel=channel)
    assert [one.layer for one in found] == [str(layer)] * 4
    for i in range(4):
        expected = slowly_strongest(maps[i], channel)[:4]
        got = [
            (
                float(maps[i, one.channel[i], *one.cell[i]]),
                int(one.channel[i]),
                *one.cell[i].tolist(),
            )
            for one in found
        ]
        assert got == [(pytest.approx(value), *rest) for value, *rest in expected]


@pytest.mark.parametrize("channel", [None, 2])
def test_each_image_has_its_own_and_none_twice(channel):
    network, images = network_of(small()), batch(4)
    found = strongest_activations(network, images, "2", n=5, channel=channel)
    for i in range(4):
        places = {(int(one.channel[i]), *map(int, one.cell[i])) for one in found}
        assert len(places) == 5
        assert len({one[0] for one in places}) == (5 if channel is None else 1)
        alone = strongest_activations(network, images[i : i + 1], "2", n=5, channel=channel)
        assert [one.cell[0].tolist() for one in alone] == [one.cell[i].tolist() for one in found]


def test_what_they_are_worth_falls_and_can_be_projected():
    network, images = network_of(small()), batch(3)
    found = strongest_activations(network, images, "2", n=3)
    projections = [deconvnet(network, images, target=one) for one in found]
    worth = np.stack([one.targets.scores for one in projections])
    assert (np.diff(worth, axis=0) <= 0).all()
    assert (worth > 0).all()
    assert all(one.maps.flatten(1).any(1).all() for one in projections)


def test_a_channel_with_too_few_maxima_is_refused():
    network = network_of(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(704, 6)))
    network.model[0].weight.data.fill_(1)
    hill = -((torch.arange(HEIGHT)[:, None] - 7.0) ** 2) - (torch.arange(WIDTH) - 9.0) ** 2
    images = (hill / 100).expand(1, 3, -1, -1)
    (top,) = strongest_activations(network, images, "0", n=1, channel=1)
    assert top.cell.tolist() == [[6, 8]]
    with pytest.raises(
        UsageError, match="channel 1 of layer '0' has 1 local maxima in an image, asked for 2"
    ):
        strongest_activations(network, images, "0", n=2, channel=1)


@pytest.mark.parametrize(
    ("layer", "options", "error", "message"),
    [
        ("2", {"channel": 7}, UsageError, "layer '2' has 7 channels, counted from 0; got 7"),
        ("2", {"channel": -1}, UsageError, "counted from 0; got -1"),
        ("2", {"channel": True}, UsageError, "counted from 0; got True"),
        ("2", {"n": 0}, UsageError, "offers 7 activations, asked for 0"),
        ("2", {"n": 8}, UsageError, "offers 7 activations, asked for 8"),
        ("2", {"n": 109, "channel": 0}, UsageError, "offers 108 activations, asked for 109"),
        ("8", {}, LayerError, r"must yield maps .* got shape \(3, 6\)"),
        ("features.2", {}, LayerError, "'features.2' is no layer of tests:small"),
    ],
)
def test_activations_that_are_not_there_are_refused(layer, options, error, message):
    with pytest.raises(error, match=message):
        strongest_activations(network_of(small()), batch(), layer, **options)
