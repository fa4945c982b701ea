"""Binary and multi-label networks: each output stands for itself."""

import pytest
import torch
from torch import nn

from explgraph.attribution import Activation, ablation, gradcam, occlusion, saliency
from explgraph.errors import UsageError
from explgraph.network import load_network, wrap

SIZE = (20, 24)


def scorer(n_classes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(6, n_classes),
        ).eval()  # fmt: skip


class Ending(nn.Module):
    """A network with a function behind its scores."""

    def __init__(self, scores, end):
        super().__init__()
        self.scores, self.end = scores, end
        self.input_size = SIZE

    def forward(self, images):
        return self.end(self.scores(images))


@pytest.fixture
def images():
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(3))


def test_one_logit_is_the_score_of_a_sigmoid(images):
    model = scorer(1)
    found = gradcam(wrap(model, input_size=SIZE), images, layer="1")
    expected = model(images).sigmoid()[:, 0].detach().numpy()
    assert found.targets.probabilities == pytest.approx(expected)
    assert (found.targets.probabilities < 1).all()


@pytest.mark.parametrize("end", [nn.Sigmoid(), torch.sigmoid, lambda scores: scores.sigmoid()])
@pytest.mark.parametrize("n_classes", [1, 4])
def test_a_sigmoid_at_the_end_is_found_and_looked_behind(images, end, n_classes):
    inner = scorer(n_classes)
    plain = wrap(inner, input_size=SIZE, head="sigmoid")
    ending = wrap(Ending(inner, end))
    for method in (saliency, lambda *asked, **more: gradcam(*asked, layer=None, **more)):
        expected, found = (method(network, images, target=0) for network in (plain, ending))
        torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-6)
        assert found.targets.scores == pytest.approx(expected.targets.scores, rel=1e-4)
        assert found.targets.probabilities == pytest.approx(expected.targets.probabilities)


def test_probabilities_of_labels_do_not_sum_to_one(images):
    inner = scorer(4)
    network = wrap(Ending(inner, torch.sigmoid))
    expected = inner(images[:1]).sigmoid()[0, 2].item()
    hidden = occlusion(network, images[:1], target=2, size=8, stride=8)
    assert hidden.targets.probabilities[0] == pytest.approx(expected)
    image = images[:1].clone()
    image[:, :, :8, :8] = 0
    without = inner(image).sigmoid()[0, 2].item()
    assert hidden.probability[0, 0, 0].item() == pytest.approx(without, rel=1e-4)
    taken = ablation(network, images[:1], [Activation("scores.1", k) for k in range(6)], target=2)
    bias = inner[4].bias
    for k, probability in enumerate(taken.probabilities):
        mean = inner[:4](images[:1])[0].clone()
        mean[k] = 0
        score = (inner[4].weight[2] @ mean + bias[2]).sigmoid().item()
        assert probability.item() == pytest.approx(score, rel=1e-4)


def test_what_is_said_of_the_head_counts(images):
    model = scorer(3)
    found = {}
    for head in ("softmax", "sigmoid", "none"):
        network = wrap(model, input_size=SIZE, head=head)
        found[head] = saliency(network, images, target=1).targets.probabilities
    scores = model(images).detach()
    assert found["softmax"] == pytest.approx(scores.softmax(1)[:, 1].numpy())
    assert found["sigmoid"] == pytest.approx(scores.sigmoid()[:, 1].numpy())
    assert torch.from_numpy(found["none"]).isnan().all()
    with pytest.raises(UsageError, match="head must be one of auto, softmax, sigmoid, none"):
        wrap(model, head="tanh")


def test_a_factory_says_it_for_the_command_line(images, tmp_path, monkeypatch):
    (tmp_path / "labelled.py").write_text(
        "from torch import nn\nfrom explgraph import wrap\n\ndef make():\n"
        "    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        f"    return wrap(model, input_size={SIZE!r}, head='sigmoid')\n"
    )
    monkeypatch.chdir(tmp_path)
    network = load_network("labelled:make", device="cpu")
    found = saliency(network, images)
    scores = torch.tensor(found.targets.scores)
    torch.testing.assert_close(torch.tensor(found.targets.probabilities), scores.sigmoid())


def test_scores_that_happen_to_lie_between_0_and_1_are_scores(images):
    """A ReLU and a mean, as SqueezeNet's."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = wrap(model.eval(), input_size=SIZE)
    scores = model(images).detach()
    assert ((scores >= 0) & (scores <= 1)).all()
    found = saliency(network, images, target=1).targets
    assert found.scores == pytest.approx(scores[:, 1].numpy())
    assert found.probabilities == pytest.approx(scores.softmax(1)[:, 1].numpy())
