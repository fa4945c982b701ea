import numpy as np
import pytest
import torch
from builders import tiny_network
from builders.pictures import inside

import explgraph as xg
from explgraph.errors import UsageError
from explgraph.figures import save_figure


@pytest.fixture(scope="module")
def network():
    return tiny_network.make()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_each_attribution_has_a_panel_beside_the_image(network, images, tmp_path):
    methods = (xg.gradcam, xg.saliency, xg.guided_backprop)
    found = [method(network, images, target="creature") for method in methods]
    figure = xg.show_attributions(found)
    assert titles(figure) == ["", "gradcam, features", "saliency", found[2].method]
    assert figure.get_suptitle().startswith("creature ")
    assert save_figure(figure, tmp_path / "figure.png").stat().st_size > 0


def test_the_image_is_what_the_network_was_shown(network, images):
    found = xg.gradcam(network, images, target="creature")
    figure = xg.show_attributions(found, number=1)
    seen = inside(figure, figure.axes[0]).mean((0, 1))
    assert seen == pytest.approx(found.shown.picture(1).mean((0, 1)), abs=3)


def test_different_targets_are_told_apart(network, images):
    found = [xg.gradcam(network, images, target=name) for name in ("creature", "nothing")]
    figure = xg.show_attributions(found)
    assert titles(figure)[1:] == ["gradcam, features, creature", "gradcam, features, nothing"]
    assert figure.get_suptitle() == ""
    assert xg.show_attributions(found, title="both").get_suptitle() == "both"


def test_what_cannot_be_shown_side_by_side_is_refused(network, images):
    found = xg.gradcam(network, images)
    for attributions, number, words in (
        ([], 0, "at least one"),
        ([found], 2, "0 to 1"),
        ([found, xg.gradcam(network, images.flip(0))], 0, "different images"),
    ):
        with pytest.raises(UsageError, match=words):
            xg.show_attributions(attributions, number=number)


def test_a_scale_is_each_panels_own(network, images):
    found = xg.gradcam(network, images)
    figure = xg.show_attributions([found, xg.saliency(network, images)])
    tops = [axes.child_axes[0].get_ylim()[1] for axes in figure.axes[1:]]
    assert tops[0] == pytest.approx(float(found.maps[0].max()))
    assert not np.isclose(*tops)
