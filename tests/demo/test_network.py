from importlib.resources import files

import numpy as np
import torch
from PIL import Image

from creatures import SPECIES, draw_creature
from explgraph.demo.network import WEIGHTS, demo_network


def test_the_outputs_are_the_species():
    assert demo_network().classes == tuple(SPECIES)


def test_the_shipped_network_names_fresh_creatures():
    network, species = demo_network(), list(SPECIES)
    creatures = [
        draw_creature(species[number % 8], seed=np.random.default_rng([99, number]))
        for number in range(64)
    ]
    with torch.inference_mode():
        guesses = network(torch.stack([_network_input(creature) for creature in creatures])).argmax(
            1
        )
    truth = torch.arange(64) % 8
    assert float((guesses == truth).float().mean()) >= 0.95


def _network_input(creature):
    x, y, width, height = creature.box
    box = (x, y, x + width, y + height)
    picture = Image.fromarray(creature.image).resize((112, 112), Image.Resampling.BILINEAR, box=box)
    return (torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255 - 0.5) / 0.25


def test_the_network_is_small_and_has_maps_of_28_and_14_cells():
    assert (files("explgraph.demo") / WEIGHTS).stat().st_size <= 2_000_000
    network, shapes = demo_network(), {}
    for name in ("features.7", "features.14"):
        layer = network.get_submodule(name)
        layer.register_forward_hook(
            lambda module, args, output, name=name: shapes.update(
                {name: (*output.shape[1:], bool((output < 0).any()))}
            )
        )
    with torch.inference_mode():
        scores = network(torch.randn(2, 3, *network.input_size))
    assert shapes == {"features.7": (64, 28, 28, True), "features.14": (96, 14, 14, True)}
    assert scores.shape == (2, len(network.classes))
    assert not network.training


def test_an_untrained_network_can_be_asked_for():
    torch.manual_seed(0)
    assert not torch.equal(
        demo_network(pretrained=False).features[0].weight, demo_network().features[0].weight
    )
