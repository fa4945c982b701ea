"""`explgraph layers`: what of a network can be mined."""

from builders.commands import explgraph
from builders.tiny_network import BOTTOM, MIDDLE, TOP


def test_layers_lists_what_can_be_mined():
    out = explgraph("layers", "--model", "builders.tiny_network:make").out
    assert out.startswith("builders.tiny_network:make, input 48 x 64; ")
    rows = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert {BOTTOM, MIDDLE, TOP} <= set(rows)
    assert "12 x 16" in rows[TOP]
    assert out.splitlines()[-1] == "neurons, asked as NAME:NUMBER: classifier (3)"


def test_layers_as_json_measures_strides_and_centres():
    described = explgraph("layers", "--model", "builders.tiny_network:make", "--json").json()
    assert described["input"] == [48, 64]
    layers = {layer["name"]: layer for layer in described["layers"]}
    assert (layers[TOP]["channels"], layers[TOP]["height"], layers[TOP]["width"]) == (10, 12, 16)
    assert layers[TOP]["stride"] == [4, 4]
    assert layers[BOTTOM]["receptive_field"] == [5, 5]
    assert layers[BOTTOM]["centre"] == [0.5, 0.5]
    assert described["neurons"] == {"classifier": 3}


def test_layers_of_another_input_size():
    described = explgraph(
        "layers", "--model", "builders.tiny_network:make", "--input-size", "40x72", "--json"
    ).json()
    (top,) = (layer for layer in described["layers"] if layer["name"] == TOP)
    assert (described["input"], top["height"], top["width"]) == ([40, 72], 10, 18)
