"""The registry of heat-map methods, and what the query answers."""

import inspect
import json
from dataclasses import FrozenInstanceError, dataclass, fields

import numpy as np
import pytest
from builders.commands import explgraph, files_of

from explgraph import attribution
from explgraph.attribution import node_heat_map
from explgraph.errors import SourceError, UsageError
from explgraph.network import load_network
from explgraph.queries import (
    METHODS,
    DeconvOptions,
    HeatMap,
    SaliencyOptions,
    draw_heat_maps,
    option,
)
from explgraph.queries.heat_map_method import heat_map_method


@pytest.fixture
def network():
    return load_network("builders.tiny_network:make")


@pytest.fixture
def photo(scenes):
    return scenes.folder / "04.png"


def test_the_defaults_are_those_of_the_library_functions():
    compared = 0
    for name, method in METHODS.items():
        library = node_heat_map if name == "nodemap" else getattr(attribution, name, None)
        taken = inspect.signature(library).parameters if callable(library) else {}
        for one in fields(method.options):
            if one.name in taken and one.name != "layer":
                assert one.default == taken[one.name].default, (name, one.name)
                compared += 1
    assert compared >= 10


def test_the_answer_is_what_the_files_say(network, photo, tmp_path):
    answer = draw_heat_maps("saliency", network, [photo, tmp_path / "no.png"], tmp_path)
    (one,) = answer.results
    assert json.loads((tmp_path / "04.saliency.json").read_text()) == one.to_dict()
    assert answer.to_dict()["results"] == [one.to_dict()]
    assert [skipped.path for skipped in answer.skipped] == [str(tmp_path / "no.png")]
    assert np.load(one.map).shape == np.load(tmp_path / "04.saliency.npy").shape
    with pytest.raises(FrozenInstanceError):
        one.score = 1.0


def test_options_reach_the_method(network, photo, tmp_path):
    options = SaliencyOptions(times_input=True)
    (one,) = draw_heat_maps("saliency", network, [photo], tmp_path, options=options).results
    assert np.load(one.map).min() < 0


def test_an_unknown_method_and_nodes_without_a_workspace_are_misuse(network, photo, tmp_path):
    with pytest.raises(UsageError, match="method must be one of saliency, gradcam"):
        draw_heat_maps("rainbow", network, [photo], tmp_path)
    for ask in ({"method": "nodemap"}, {"method": "saliency", "node": "features.4:0:0"}):
        with pytest.raises(UsageError, match="say with --workspace which"):
            draw_heat_maps(network=network, images=[photo], out=tmp_path, **ask)
    with pytest.raises(SourceError, match="none of the 0 images"):
        draw_heat_maps("saliency", network, [], tmp_path)
    assert files_of(tmp_path) == []


def test_a_registered_method_is_a_command(photo, tmp_path):
    @dataclass(frozen=True)
    class ConstantOptions:
        value: float = option(1.0, "the value")

    try:

        @heat_map_method(
            ConstantOptions,
            name="constant",
            summary="Draw the same everywhere.",
            examples=("photo.jpg --model resnet50 --out maps",),
            targets=("class",),
        )
        def draw(question, options):
            found = attribution.saliency(question.network, question.images)
            found.maps[:] = options.value
            return HeatMap(found=found, panels=[], extra={"value": options.value})

        answer = explgraph(
            "constant",
            photo,
            *("--model", "builders.tiny_network:make", "--value", 3, "--out", tmp_path, "--json"),
        )
        (record,) = answer.json()["results"]
        assert record["value"] == 3
        assert np.allclose(np.load(record["map"]), 3)
        assert "--value" in explgraph("constant", "--help").out
    finally:
        del METHODS["constant"]


def test_deconv_asks_for_a_class_or_for_activations(network, photo, tmp_path):
    options = DeconvOptions(layer="features.2")
    with pytest.raises(UsageError, match="--layer and --channel ask for activations"):
        draw_heat_maps("deconv", network, [photo], tmp_path, options=options, target=1)
