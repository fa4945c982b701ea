import gc
import weakref

import numpy as np
import pytest
import torch
from builders.chains import NETWORKS, Branching, Shared, photographs, random_network
from builders.networks import HEIGHT, WIDTH, Residual, batch, network_of, small
from torch import nn
from torch.nn import functional as F

from explgraph.errors import LayerError
from explgraph.network import InputSpec, Network, feature_maps
from explgraph.network.partial import last_module, rest_of, trace_chain

# Property: cut anywhere, the halves make the whole


@pytest.mark.parametrize(
    "name", [*NETWORKS, "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5"]
)
def test_a_network_cut_behind_any_link_is_the_whole_network(name):
    network = random_network(name)
    chain, image = trace_chain(network), photographs()
    expected = network.model(image.clone())
    assert expected.isfinite().all()
    assert torch.equal(chain.run(image.clone()), expected)
    assert len(chain.links) > 5
    assert [link.position for link in chain.links] == sorted(
        {link.position for link in chain.links}
    )
    for link in chain.links[:: 1 + len(chain.links) // 8]:
        maps = chain.run(image.clone(), upto=link)
        assert torch.equal(chain.run(maps.clone(), after=link), expected), link


def test_what_comes_out_at_a_link_is_what_the_module_yields():
    network, image = random_network("resnet18"), photographs()
    chain = trace_chain(network)
    for name in ("conv1", "layer1.0", "layer2", "layer3.1", "layer4"):
        held = []
        with network.watch(
            [name], lambda _, maps, held=held: held.append(maps.clone()), stop=True
        ) as run:
            run(image)
        assert torch.equal(chain.run(image.clone(), upto=chain.link(name)), held[0])


def test_pieces_put_end_to_end_are_the_whole_network():
    network, image = random_network("squeezenet1_0"), photographs()
    chain, value, start = trace_chain(network), photographs(), None
    for link in chain.links:
        value, start = chain.run(value, after=start, upto=link), link
    assert torch.equal(chain.run(value, after=start), network.model(image))


@pytest.mark.parametrize("inplace", [False, True])
def test_layers_in_place_do_not_reach_back_over_the_cut(inplace):
    network, image = network_of(small(inplace=inplace)), batch(1)
    chain = trace_chain(network)
    assert [link.name for link in chain.links] == [str(k) for k in range(9)]
    at_convolution = chain.run(image.clone(), upto=chain.link("2"))
    kept = at_convolution.clone()
    rest = rest_of(network, "2", chain=chain)
    for _ in range(2):
        assert torch.equal(rest(at_convolution, image), network.model(image))
    assert torch.equal(at_convolution, kept)


# Names


def test_a_sequential_is_the_last_of_its_modules():
    network = random_network("resnet18")
    chain = trace_chain(network)
    assert chain.link("layer3") == chain.link("layer3.1")
    assert chain.link("layer3").name == "layer3.1"
    assert last_module(network.model.layer3) is network.model.layer3[1]
    assert last_module(network.model.layer3[1]) is network.model.layer3[1]
    nested = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())),
        nn.Flatten(),
    )
    chain = trace_chain(network_of(nested))
    assert chain.link("1") == chain.link("1.1") == chain.link("1.1.1")
    assert [link.name for link in chain.links] == ["0", "1.0", "1.1.0", "1.1.1", "2"]


def test_a_module_has_one_link_under_all_its_names():
    model = nn.Module()
    model.conv = nn.Conv2d(3, 4, 3)
    model.again, model.head = model.conv, nn.Flatten()
    wrapped = nn.Sequential(nn.Sequential(model.conv, model.head))
    wrapped.alias = wrapped[0][0]
    network = network_of(Named(wrapped))
    chain = trace_chain(network)
    assert chain.link("net.0.0") == chain.link("net.alias") is not None


class Named(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net[0](x)


@pytest.mark.parametrize(
    "name", ["layer3.1.conv1", "layer2.0.downsample", "layer9", "", "layer3.1.relu"]
)
def test_inside_a_block_and_where_there_is_nothing_is_no_link(name):
    assert trace_chain(random_network("resnet18")).link(name) is None


def test_a_module_that_runs_twice_is_no_place_to_cut():
    network = network_of(Shared())
    chain = trace_chain(network)
    assert [link.name for link in chain.links] == ["a", "b", "c"]
    assert chain.link("relu") is None
    assert torch.equal(chain.run(batch()), network.model(batch()))


class Shortcut(nn.Module):
    """What ``a`` yields is needed until ``c`` has run."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.d = (
            nn.Conv2d(3 if k == 0 else 4, 4, 3, padding=1) for k in range(4)
        )
        self.e = nn.Linear(4, 6)

    def forward(self, x):
        first = self.a(x)
        return self.e(self.d(self.c(self.b(first)) + first).mean((2, 3)))


def test_there_is_no_cut_under_a_shortcut():
    network = network_of(Shortcut())
    chain = trace_chain(network)
    assert [link.name for link in chain.links] == ["a", "d", "e"]
    for link in chain.links:
        assert torch.equal(
            chain.run(chain.run(batch(), upto=link), after=link), network.model(batch())
        )


# The rest of a network


@pytest.mark.parametrize(
    "layer", ["conv1", "layer2", "layer3.1", "layer3.1.conv1", "layer2.0.downsample.0", "layer4"]
)
def test_the_rest_behind_a_layer_answers_as_the_whole_network_with_that_layer_replaced(layer):
    network, images = random_network("resnet18"), photographs(2)
    chain = trace_chain(network)
    held = []
    with network.watch([layer], lambda _, maps: held.append(maps.clone()), stop=True) as run:
        run(images)
    maps = held[0]
    changed = maps * (maps > maps.mean())
    with network.watch([layer], lambda name, _: changed.clone()) as run:
        expected = run(images)
    assert not torch.allclose(expected, network.model(images))
    for rest in (rest_of(network, layer, chain=chain), rest_of(network, layer, chain=None)):
        kept = changed.clone()
        np.testing.assert_allclose(rest(changed, images), expected, rtol=1e-10)
        np.testing.assert_allclose(rest(maps, images), network.model(images), rtol=1e-10)
        assert torch.equal(changed, kept)
    assert not any(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in network.model.modules()
    )


def test_the_rest_takes_another_number_of_maps_than_images_were_seen():
    network, image = random_network("mobilenet_v2"), photographs()
    chain = trace_chain(network)
    maps = chain.run(image.clone(), upto=chain.link("features.3"))
    found = rest_of(network, "features.3", chain=chain)(
        maps.repeat(3, 1, 1, 1), image.expand(3, -1, -1, -1)
    )
    np.testing.assert_allclose(found, network.model(image).expand(3, -1), rtol=1e-10)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("9", r"must yield maps .* got shape \(3, 2, 3\)"),
        ("nope", "'nope' is no layer"),
        ("", "'' is no layer"),
    ],
)
def test_the_rest_behind_no_layer_of_maps_is_refused_when_it_is_run(traced, layer, message):
    network = network_of(nn.Sequential(*small(), nn.Unflatten(1, (2, 3))))
    chain = trace_chain(network) if traced and layer != "9" else None
    rest = rest_of(network, layer, chain=chain)
    with pytest.raises(LayerError, match=message):
        rest(batch(), batch())


def test_the_rest_behind_a_vector_takes_it_as_maps_of_one_cell():
    network, images = network_of(small()), batch()
    (vectors,) = feature_maps(network.model, images, ["7"]).values()
    assert vectors.shape == (3, 168, 1, 1)
    expected = network.model[8](2 * vectors[:, :, 0, 0])
    for chain in (trace_chain(network), None):
        np.testing.assert_allclose(
            rest_of(network, "7", chain=chain)(2 * vectors, images), expected
        )


# Networks that are no chain


class TwoInputs(nn.Module):
    def __init__(self, *, used):
        super().__init__()
        self.net, self.used = small(), used

    def forward(self, x, scale=None, flag=False):
        if self.used and scale is not None:
            return self.net(x * scale)
        return self.net(x)


class Raising(nn.Module):
    def forward(self, x):
        raise KeyError("anything")


@pytest.mark.parametrize("model", [Branching(), TwoInputs(used=True), Raising()])
def test_what_cannot_be_traced_is_no_chain(model):
    assert trace_chain(network_of(model)) is None


def test_arguments_that_bear_on_nothing_do_not_matter():
    network = network_of(TwoInputs(used=False))
    chain = trace_chain(network)
    assert torch.equal(chain.run(batch()), network.model(batch()))
    assert len(chain.links) == 9


class Constants(nn.Module):
    """Makes tensors of its own on the way, and returns two things by name."""

    def __init__(self):
        super().__init__()
        self.net, self.scale = small(), nn.Parameter(torch.full((6,), 2.0))
        self.register_buffer("shift", torch.linspace(0, 1, 6))

    def forward(self, x):
        scores = self.net(x * torch.tensor(0.5)) * self.scale + self.shift
        return {"scores": scores + torch.arange(6), "pair": (scores, x.shape[0])}


def test_constants_and_several_outputs_are_kept_and_the_model_stays_as_it_was():
    network = network_of(Constants())
    before = set(vars(network.model))
    chain = trace_chain(network)
    assert set(vars(network.model)) == before
    for _ in range(2):
        found, expected = chain.run(batch()), network.model(batch())
        assert torch.equal(found["scores"], expected["scores"])
        assert torch.equal(found["pair"][0], expected["pair"][0])
        assert found["pair"][1] == 3


def test_a_pass_that_ends_in_an_error_leaves_nothing_on_the_model():
    class Late(nn.Module):
        def forward(self, x):
            return 1 / 0 if (x * torch.tensor(2.0)) is not None else x

    network = network_of(Late())
    before = set(vars(network.model))
    assert trace_chain(network) is None
    assert set(vars(network.model)) == before


def test_functions_of_all_kinds_run_as_they_do_in_the_network():
    class Functions(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (
                nn.Conv2d(3, 4, 3, padding=1),
                nn.Conv2d(8, 5, 3),
                nn.Linear(5, 6),
            )

        def forward(self, x):
            x = F.relu(self.a(x), inplace=True)
            x = F.max_pool2d(F.pad(x, (1, 0, 0, 1)), kernel_size=3, stride=2, ceil_mode=True)
            x = torch.cat([x, x.flip(-1)], dim=1)
            return self.c(F.dropout(self.b(x), 0.5, self.training).mean((2, 3)).view(x.size(0), -1))

    network = network_of(Functions())
    chain = trace_chain(network)
    assert torch.equal(chain.run(batch()), network.model(batch()))
    assert [link.name for link in chain.links][:1] == ["a"]


# What a step costs


def test_operations_are_counted_step_by_step():
    network = network_of(
        nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(5, 7, 1),
            nn.Flatten(),
            nn.Linear(7 * 432, 6),
        )
    )
    chain = trace_chain(network)
    cells = HEIGHT * WIDTH
    expected = [0, 2 * 27 * 5 * cells, 0, 2 * 5 * 7 * cells, 0, 2 * 7 * cells * 6, 0]
    assert chain.flops(batch(1)) == expected
    assert chain.flops(batch(2)) == [2 * n for n in expected]


def test_modules_report_their_outputs_as_they_run():
    network, seen = network_of(Residual()), []
    chain = trace_chain(network)
    chain.run(batch(), on_module=lambda name, output: seen.append((name, tuple(output.shape))))
    assert seen[:3] == [
        ("stem", (3, 4, 8, 11)),
        ("relu", (3, 4, 8, 11)),
        ("block.0", (3, 4, 8, 11)),
    ]
    assert [name for name, _ in seen] == ["stem", "relu", "block.0", "block.1", "pool", "fc"]


def test_maps_are_let_go_as_soon_as_no_step_needs_them():
    network = network_of(nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(8))))
    alive, most = [], 0

    def note(name, output):
        nonlocal most
        alive.append(weakref.ref(output))
        most = max(most, sum(ref() is not None for ref in alive))

    trace_chain(network).run(batch(), on_module=note)
    assert len(alive) == 8
    assert most == 2  # what has just come to be, and what it was made from
    gc.collect()
    assert not any(ref() is not None for ref in alive)


class Branches(nn.Module):
    """Changes the list that it is given, as HRNet's modules do."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)])

    def forward(self, maps):
        for i, conv in enumerate(self.convs):
            maps[i] = conv(maps[i])
        return maps[0] + maps[1]


class Lists(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.branches, self.head = nn.Conv2d(3, 4, 3), Branches(), nn.Linear(4, 3)

    def forward(self, x):
        maps = self.stem(x)
        return self.head(self.branches([maps, maps * 2]).mean((2, 3)))


def test_modules_may_change_the_list_that_they_are_given():
    torch.manual_seed(0)
    model = Lists().eval()
    network = Network(model, "tests:lists", None, InputSpec(16, 20), None, torch.device("cpu"))
    chain = trace_chain(network)
    image = torch.randn(2, 3, 16, 20)
    with torch.no_grad():
        assert torch.equal(chain.run(image.clone()), model(image))
        assert torch.equal(chain.run(model.stem(image), after=chain.link("stem")), model(image))
