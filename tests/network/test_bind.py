"""A network with a second input, which is bound, is asked like any other."""

import copy

import numpy as np
import pytest
import torch
from builders.captioner import down
from builders.networks import assert_same
from builders.questions import ANSWERS, QUESTION, SIZE, Answering, QuestionFirst, answering
from torch import nn

from explgraph.attribution import (
    Activation,
    gradcam,
    guided_backprop,
    integrated_gradients,
    occlusion,
    saliency,
)
from explgraph.errors import NetworkError, UsageError
from explgraph.network import list_layers, load_network, measure_geometry, wrap

OTHER = torch.tensor([[1, 1, 8]])
MASK = torch.zeros(1, 1, 12, 16).index_fill_(3, torch.arange(8), -3.0)


@pytest.fixture
def images():
    return torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("question", [QUESTION, OTHER])
def test_maps_of_an_answer_are_those_by_hand(images, question):
    model = answering().eval()
    network = wrap(model, bind={"question": question})
    found = gradcam(network, images, target=1)
    kept = {}
    hook = model.cnn.register_forward_hook(lambda *call: kept.update(maps=call[2]))
    value = model(images, question.expand(3, -1))[:, 1].sum()
    hook.remove()
    maps = kept["maps"]
    gradient = torch.autograd.grad(value, maps)[0]
    weights = gradient.mean((2, 3), keepdim=True)
    assert_same(found.cells, (weights * maps).sum(1).relu().detach())
    assert found.layer.name == "cnn"
    found = guided_backprop(network, images, target=1)
    assert_same(found.colours, down(model.cnn, images, gradient, "guided"))


def test_saliency_of_an_answer_is_that_by_hand(images):
    model = answering().eval()
    bind = {"question": QUESTION, "mask": MASK, "sharpness": 2.0}
    found = saliency(wrap(model, bind=bind, class_names=ANSWERS), images, target="two")
    pixels = images.clone().requires_grad_()
    value = model(pixels, QUESTION.expand(3, -1), MASK.expand(3, -1, -1, -1), sharpness=2.0)
    expected = torch.autograd.grad(value[:, 2].sum(), pixels)[0].abs().amax(1)
    assert_same(found.maps, expected)


def test_inputs_are_given_by_name_or_in_order_or_made_of_the_images(images):
    model = answering().eval()
    expected = model(images, QUESTION.expand(3, -1), MASK.expand(3, -1, -1, -1))
    for bind in (
        {"question": QUESTION, "mask": MASK},
        {"mask": MASK.numpy(), "question": lambda batch: QUESTION.expand(len(batch), -1)},
        [QUESTION, MASK],
        (QUESTION, MASK[0, 0]),  # no axis of images: as it is
    ):
        assert torch.equal(wrap(model, bind=bind).model(images), expected)
    other = answering(QuestionFirst).eval()
    found = wrap(other, bind={"question": QUESTION}).model(images)
    assert torch.equal(found, model(images, QUESTION.expand(3, -1)))


def test_the_module_stays_as_it_is_and_its_layers_keep_their_names(images):
    model = answering().train()
    names, state = [name for name, _ in model.named_modules()], model.state_dict()
    network = wrap(model, bind={"question": QUESTION})
    assert [name for name, _ in network.model.named_modules()] == names
    assert list(network.model.state_dict()) == list(state)
    assert network.name == "Answering"
    assert network.input.size == SIZE
    saliency(network, images, target=0)
    assert all(module.training for module in model.modules())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    network.model.eval().double()
    assert not model.training
    assert model.answer.weight.dtype == torch.float64
    assert repr(network.model) == repr(model)
    copied = copy.deepcopy(network.model)
    assert torch.equal(copied(images.double()), network.model(images.double()))
    assert copied.answer is not model.answer


def test_all_methods_and_layers_are_there(images):
    network = wrap(answering(), bind={"question": QUESTION}, class_names=ANSWERS)
    assert [one.name for one in list_layers(network)] == ["cnn.0", "cnn.2", "cnn"]
    assert measure_geometry(network, ["cnn"])["cnn"].stride == (4, 4)
    for method in (saliency, gradcam, guided_backprop, integrated_gradients):
        for target in ("yes", Activation("cnn", 2), Activation("answer", 1)):
            assert method(network, images[:1], target=target).maps.isfinite().all()
    found = occlusion(network, images[:1], target="no", size=16, stride=16)
    for row in range(3):
        hidden = images[:1].clone()
        hidden[:, :, 16 * row : 16 * row + 16, 16:32] = 0
        with torch.no_grad():
            value = network.model(hidden)[0, 0]
        np.testing.assert_allclose(found.values[0, row, 1], value, rtol=1e-5)


def test_another_question_is_another_network(images):
    model = answering()
    first, second = (wrap(model, bind={"question": one}) for one in (QUESTION, OTHER))
    again = wrap(second, bind={"question": QUESTION})
    assert first.sha256 == again.sha256
    assert len({first.sha256, second.sha256, wrap(nn.Sequential(model)).sha256}) == 3
    assert torch.equal(first.model(images), again.model(images))


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        ({"text": QUESTION}, r"Answering.forward\(images, question, mask, sharpness\) cannot be"),
        ({"mask": MASK}, "missing a required argument: 'question'"),
        ([QUESTION, MASK, 1.0], "too many positional arguments"),
        ("question", "bind must be inputs by name"),
        (QUESTION, "bind must be inputs by name"),
    ],
)
def test_inputs_that_it_does_not_take_are_refused(bind, message):
    with pytest.raises(UsageError, match=message):
        wrap(answering(), bind=bind)


def test_a_network_that_needs_more_than_images_says_how_to_give_it(images):
    with pytest.raises(NetworkError, match=r"'question'.*bind its other inputs: explgraph.wrap\("):
        saliency(Answering(), images, target=0)


def test_a_factory_may_return_a_wrapped_network(tmp_path, images):
    network = load_network("builders.questions:make")
    assert (network.spec, network.classes) == ("builders.questions:make", ANSWERS)
    torch.save(Answering().state_dict(), tmp_path / "other.pt")
    other = load_network("builders.questions:make", weights=tmp_path / "other.pt")
    assert other.sha256 != network.sha256
    assert gradcam(other, images, target="yes").layer.name == "cnn"
    assert load_network("builders.questions:make", weights="none").classes == ANSWERS
