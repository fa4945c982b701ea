"""Images of any kind as a network takes them, and the way back to each."""

from functools import partial

import numpy as np
import pytest
import torch
from builders.placed import SIZE
from PIL import Image
from torch import nn

from explgraph import attribution
from explgraph.attribution import gradcam, read_views, saliency, show
from explgraph.errors import ImageError, UsageError
from explgraph.network import wrap


@pytest.fixture
def photograph(tmp_path):
    """A file of 60 x 30 pixels: left half red, right half blue."""
    pixels = np.zeros((30, 60, 3), np.uint8)
    pixels[:, :30, 0] = pixels[:, 30:, 2] = 255
    path = tmp_path / "photograph.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_file_a_path_and_an_image_in_memory_are_shown_alike(network, photograph):
    from_path = show(network, photograph)
    with Image.open(photograph) as opened:
        in_memory = show(network, [opened, opened.convert("RGBA")])
    assert torch.equal(from_path.inputs, show(network, str(photograph)).inputs)
    assert torch.equal(from_path.inputs, in_memory.inputs[:1])
    assert torch.equal(from_path.inputs, in_memory.inputs[1:])


def test_a_file_is_shown_as_the_command_line_shows_it(network, photograph):
    (view,) = read_views(network, [photograph])
    expected = network.preprocess(torch.from_numpy(view.pixels[None]))
    assert torch.equal(show(network, photograph).inputs, expected)


def test_a_list_of_tensors_is_a_batch(network, image):
    both = show(network, [image[0], image[0]]).inputs
    assert torch.equal(both, torch.cat([image, image]))


def test_the_picture_and_the_map_of_a_photograph_lie_in_its_own_frame(network, photograph):
    found = saliency(network, photograph)
    shown = found.shown.picture(0)
    rows, columns = shown.shape[:2]
    assert columns == 2 * rows  # without the padding
    assert shown[rows // 2, 2].tolist() == [255, 0, 0]
    assert shown[rows // 2, -3].tolist() == [0, 0, 255]
    assert found.on_image().shape == (30, 60)
    assert found.overlay().size == (columns, rows)


def test_the_map_of_a_tensor_is_as_large_as_the_input(network, image):
    found = saliency(network, image)
    assert found.on_image().shape == SIZE
    assert np.array_equal(found.on_image(), found.maps[0].numpy())


def test_a_notebook_shows_the_first_eight_of_a_batch(network, image):
    html = saliency(network, image.expand(10, -1, -1, -1))._repr_html_()
    assert html.count("<img") == 8
    assert "and 2 more" in html


def test_a_plain_module_in_training_mode_is_asked_and_stays_as_it_is(image):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).train()
    statistics = model[1].running_mean.clone()
    found = gradcam(model, image, target=2)
    expected = gradcam(wrap(model), image, target=2)
    assert torch.equal(found.maps, expected.maps)
    assert model.training
    assert torch.equal(model[1].running_mean, statistics)
    assert all(one.grad is None and one.requires_grad for one in model.parameters())


def test_each_image_has_a_target_of_its_own(network, image):
    both = torch.cat([image, image.flip(-1)])
    found = saliency(network, both, target=[2, 0])
    for number, target in enumerate([2, 0]):
        one = saliency(network, both[number : number + 1], target=target)
        torch.testing.assert_close(found.maps[number], one.maps[0])
    assert found.targets.indexes.tolist() == [2, 0]
    for kind in (np.array([2, 0]), torch.tensor([2, 0]), (2, "0")):
        assert saliency(network, both, target=kind).targets.indexes.tolist() == [2, 0]
    with pytest.raises(UsageError, match="one for each of 2 images, got 3"):
        saliency(network, both, target=[1, 2, 3])


def test_what_is_no_photograph_is_refused(network, tmp_path):
    (tmp_path / "note.txt").write_text("zebra")
    with pytest.raises(ImageError, match="its content is not JPEG"):
        show(network, tmp_path / "note.txt")
    with pytest.raises(UsageError, match="images must be photographs"):
        show(network, [tmp_path / "note.txt", 3])
    with pytest.raises(UsageError, match="images must be uint8"):
        show(network, [])


# Alike on both sides of their borders, over which resizing looks by a pixel.
BOXES = [(10.0, 5.0, 25.0, 20.0), (20.0, 2.0, 30.0, 25.0)]
ASKED = [
    attribution.saliency,
    attribution.smoothgrad,
    attribution.integrated_gradients,
    attribution.gradcam,
    attribution.gradcam_plus_plus,
    attribution.layercam,
    attribution.guided_gradcam,
    attribution.deconvnet,
    attribution.guided_backprop,
    partial(attribution.occlusion, size=8, stride=4),
]


@pytest.mark.parametrize("ask", ASKED, ids=lambda ask: getattr(ask, "__name__", "occlusion"))
def test_a_box_is_asked_as_its_crop_is_and_drawn_on_the_photograph(network, photograph, ask):
    found = ask(network, photograph, box=BOXES, target=1)
    assert len(found) == 2
    with Image.open(photograph) as image:
        crops = [image.crop((x, y, x + w, y + h)) for x, y, w, h in BOXES]
    torch.testing.assert_close(found.maps, ask(network, crops, target=1).maps)
    on_image = found.on_image(0)
    assert on_image.shape == (30, 60)
    on_image[5:25, 10:35] = 0
    assert not on_image.any()


def test_one_box_goes_with_one_photograph_or_each_with_its_own(network, photograph):
    in_one = show(network, photograph, box=BOXES)
    in_each = show(network, [photograph, photograph], box=BOXES)
    assert torch.equal(in_one.inputs, in_each.inputs)
    assert torch.equal(in_one.inputs[1:], show(network, photograph, box=BOXES[1]).inputs)
    with pytest.raises(UsageError, match="got 2 boxes and 3 images"):
        show(network, [photograph] * 3, box=BOXES)
    with pytest.raises(UsageError, match="a box goes with a photograph"):
        show(network, in_one.inputs, box=BOXES)
    with pytest.raises(ImageError, match="lies outside of the image"):
        show(network, photograph, box=(70, 0, 5, 5))


def test_ablation_and_the_strongest_activations_take_a_box(network, photograph):
    shown = show(network, photograph, box=BOXES[0])
    layer = attribution.last_layer(network)
    removed = [attribution.Activation(layer, 0)]
    there = attribution.ablation(network, photograph, removed, box=BOXES[0], target=1)
    here = attribution.ablation(network, shown.inputs, removed, target=1)
    torch.testing.assert_close(there.drops, here.drops)
    (there,) = attribution.strongest_activations(network, photograph, layer, box=BOXES[0], n=1)
    (here,) = attribution.strongest_activations(network, shown.inputs, layer, n=1)
    assert there.channel.tolist() == here.channel.tolist()
