import pytest
import torch
from torch import nn

from explgraph.errors import LayerError
from explgraph.network import feature_maps, find_layers, load_network, watch_layers


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(5 * 5 * 8, 2),
    )


IMAGES = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))


def n_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_layers_come_in_the_order_asked_for():
    model = small()
    assert list(find_layers(model, ["2", "0"])) == ["2", "0"]
    assert find_layers(model, ["2"])["2"] is model[2]


def test_a_wrong_name_brings_the_nearest_and_the_command_that_lists_all():
    model = load_network("squeezenet1_1", weights="none")
    with pytest.raises(LayerError) as error:
        model.find_layers(["feature.10"])
    remedy = "did you mean 'features.10'? 'explgraph layers --model squeezenet1_1' lists them"
    assert str(error.value) == f"'feature.10' is no layer of squeezenet1_1; {remedy}"
    with pytest.raises(LayerError, match="'zzz' is no layer of squeezenet1_1; 'explgraph layers"):
        model.find_layers(["zzz"])


def test_no_layer_and_one_layer_twice_are_refused():
    model = small()
    model.add_module("alias", model[0])
    for names, message in (
        ([], "at least one"),
        (["0", "0"], "'0' twice"),
        (["0", "alias"], "'alias' twice"),
        ([""], "no layer of"),
    ):
        with pytest.raises(LayerError, match=message):
            find_layers(model, names)


def test_outputs_are_seen_before_an_inplace_relu_overwrites_them():
    model = small()
    seen = {}

    def look(name, maps):
        seen[name] = (maps.amin().item(), maps)

    with torch.no_grad(), watch_layers(model, ["0", "2"], look) as run:
        run(IMAGES)
    for lowest, maps in seen.values():
        assert lowest < 0
        assert maps.amin() == 0  # the very tensor was overwritten afterwards


def test_feature_maps_are_what_the_layers_compute():
    model = small()
    with torch.no_grad():
        maps = feature_maps(model, IMAGES, ["2", "0"])
        torch.testing.assert_close(maps["0"], model[0](IMAGES))
        torch.testing.assert_close(maps["2"], model[2](model[0](IMAGES).relu()))
    assert list(maps) == ["2", "0"]


def test_a_stopped_pass_does_not_compute_the_rest():
    model = small()
    model[4].register_forward_hook(lambda *_: pytest.fail("went on"))
    with watch_layers(model, ["2", "0"], lambda name, maps: None, stop=True) as run:
        assert run(IMAGES) is None


def test_a_returned_tensor_takes_the_place_of_the_output():
    model = small()
    with (
        torch.no_grad(),
        watch_layers(model, ["2"], lambda name, maps: torch.zeros_like(maps)) as run,
    ):
        torch.testing.assert_close(run(IMAGES), model[5].bias.expand(2, -1))


def test_gradients_flow_through_watched_outputs():
    model = small().requires_grad_(False)
    image = IMAGES.clone().requires_grad_()
    feature_maps(model, image, ["2"])["2"].sum().backward()
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize("stop", [False, True])
def test_hooks_are_gone_after_success_and_after_an_exception(stop):
    model = small()
    with watch_layers(model, ["0"], lambda name, maps: None, stop=stop) as run:
        assert n_hooks(model) > 0
        run(IMAGES)
    assert n_hooks(model) == 0

    def fail(name, maps):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), watch_layers(model, ["0"], fail, stop=stop) as run:
        run(IMAGES)
    assert n_hooks(model) == 0
    with pytest.raises(LayerError), watch_layers(model, ["0", "nowhere"], fail, stop=stop) as run:
        pass
    assert n_hooks(model) == 0


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.shared, self.unused = (
            nn.Conv2d(3, 3, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(3, 3, 1),
        )
        self.pair = Pair()

    def forward(self, x):
        return self.pair(self.shared(self.conv(self.shared(x - 0.5))))


class Pair(nn.Module):
    def forward(self, x):
        return x, x.mean((2, 3))


def test_a_layer_that_runs_twice_is_reported_at_its_first_run_in_every_pass():
    model, seen = Odd(), []
    with (
        torch.no_grad(),
        watch_layers(model, ["shared"], lambda name, maps: seen.append(maps.clone())) as run,
    ):
        run(IMAGES)
        run(1 - IMAGES)
    assert len(seen) == 2
    torch.testing.assert_close(seen[0], (IMAGES - 0.5).relu())


class Steps(nn.Module):
    """Three vectors of each image, as one of each box that was found."""

    def __init__(self):
        super().__init__()
        self.each = nn.Linear(9 * 12, 4)

    def forward(self, x):
        return self.each(x.flatten(2).flatten(0, 1))


@pytest.mark.parametrize("stop", [False, True])
def test_layers_without_maps_or_off_the_way_are_refused(stop):
    cases = [
        (Steps(), "each", "layer 'each' yields 6 outputs for 2 images"),
        (nn.Sequential(nn.Flatten(2)), "0", r"must yield maps .* got shape \(2, 3, 108\)"),
        (Odd(), "pair", "one tensor, got a tuple"),
    ]
    for model, name, message in [*cases, (Odd(), "unused", "does not reach 'unused'")]:
        model(IMAGES)
        with (
            pytest.raises(LayerError, match=message),
            watch_layers(model, [name], lambda *_: None, stop=stop) as run,
        ):
            run(IMAGES)
