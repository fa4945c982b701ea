"""`explgraph show`: a workspace, a node, a channel."""

import shutil

import pytest
from builders.commands import explgraph, refused
from builders.tiny_network import MIDDLE, TOP
from PIL import Image

from explgraph_storage import Store


def test_show_names_the_strongest_nodes_of_each_layer(workspace):
    described = explgraph("show", workspace, "--top", 3, "--json").json()
    assert [layer["layer"] for layer in described["layers"]] == [TOP, MIDDLE]
    assert [
        node["node"].rpartition(":")[0].rpartition(":")[0] for node in described["strongest"]
    ] == [TOP] * 3 + [MIDDLE] * 3
    text = explgraph("show", workspace, "--top", 3).out
    assert all(node["node"] in text for node in described["strongest"])
    assert "objects: 138\n" in text


def test_show_one_node_with_its_parents_and_best_images(workspace):
    with Store.open(workspace / "graph.db") as store:
        graph = store.load_graph()
    name = next(node for node in graph.nodes_of(MIDDLE) if graph.parents(node))
    described = explgraph("show", workspace, "--node", name, "--json").json()
    assert [p["node"] for p in described["parents"]] == graph.parents(name)
    assert described["std"] == graph.nodes[name]["std"]
    assert 0 < len(described["best_images"]) <= 20
    scores = [p["score"] for p in described["best_images"]]
    assert scores == sorted(scores, reverse=True)
    text = explgraph("show", workspace, "--node", name).out
    assert f"node: {name}\n" in text
    assert graph.parents(name)[0] in text


def test_show_one_channel(workspace):
    described = explgraph("show", workspace, "--channel", f"{TOP}:0", "--json").json()
    assert (described["layer"], described["channel"]) == (TOP, 0)
    assert all(node["node"].startswith(f"{TOP}:0:") for node in described["nodes"])
    assert explgraph("show", workspace, "--channel", f"{TOP}:0").code == 0


def test_show_draws_a_contact_sheet(workspace, tmp_path):
    described = explgraph(
        "show", workspace, "--top", 2, "--out", tmp_path / "sheet.png", "--json"
    ).json()
    assert described["figure"] == str(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > sheet.height / 2 > 50
    node = described["strongest"][0]["node"]
    assert explgraph("show", workspace, "--node", node, "--out", tmp_path / "node.png").code == 0
    with Image.open(tmp_path / "node.png") as sheet:
        assert sheet.width > 100


def test_show_draws_the_nodes_of_a_channel(workspace, tmp_path):
    question = ("show", workspace, "--channel", f"{TOP}:3")
    described = explgraph(*question, "--out", tmp_path / "channel.png", "--json").json()
    assert described["figure"] == str(tmp_path / "channel.png")
    one = explgraph("show", workspace, "--node", f"{TOP}:3:0", "--out", tmp_path / "node.png")
    assert one.code == 0
    with Image.open(tmp_path / "channel.png") as sheet, Image.open(tmp_path / "node.png") as row:
        assert len(described["nodes"]) > 1
        assert sheet.height > 1.5 * row.height
    assert "--graph draws all layers" in refused(2, *question, "--graph", tmp_path / "graph.png")


def test_a_channel_without_nodes_is_not_drawn(workspace, tmp_path):
    copy = tmp_path / "ws"
    shutil.copytree(workspace, copy)
    with Store.open(copy / "graph.db", mode="write") as store:
        graph = store.load_graph()
        graph.remove_nodes_from([name for name in graph if name.startswith(f"{TOP}:3:")])
        facings = {one.id: bool(one.mirrored) for one in store.read_objects()}
        store.save_graph(graph, facings=facings, unit_std=store.load_unit_std())
    out = tmp_path / "channel.png"
    said = refused(1, "show", copy, "--channel", f"{TOP}:3", "--out", out)
    assert "no node to draw" in said
    assert not out.exists()


def test_the_strongest_relatives_are_printed_and_the_rest_counted(workspace, tmp_path):
    copy = shutil.copytree(workspace, tmp_path / "copy")
    with Store.open(copy / "graph.db", mode="write") as store:
        graph = store.load_graph()
        name = next(graph.nodes_of(TOP))
        at = {"d_row": 0.1, "d_col": 0.1, "std": 0.1, "co_firing": -0.25}
        for k, lower in enumerate(list(graph.nodes_of(MIDDLE))[:12]):
            graph.add_edge(name, lower, **at, weight=0.5 - k / 50)
        store.save_graph(graph)
    children = graph.children(name)
    assert len(children) > 10
    described = explgraph("show", copy, "--node", name, "--json").json()
    assert {one["node"] for one in described["children"]} == set(children)
    assert {one["co_firing"] for one in described["children"]} >= {-0.25}
    for options, n in (((), 10), (("--top", 3), 3)):
        text = explgraph("show", copy, "--node", name, *options).out
        listed = text.partition("children:")[2].partition("best_images")[0]
        rows = [line.split() for line in listed.splitlines()[1 : n + 2]]
        assert rows[0][-2:] == ["weight", "co_firing"]
        weights = [float(row[-2]) for row in rows[1:]]
        assert weights == sorted(weights, reverse=True)
        assert f"... and {len(children) - n} more (--json names all)" in listed
        assert listed.count(MIDDLE) == n


def test_show_draws_the_graph(workspace, tmp_path):
    answer = explgraph("show", workspace, "--graph", tmp_path / "graph.png", "--json").json()
    assert answer["graph"] == str(tmp_path / "graph.png")
    node = answer["strongest"][0]["node"]
    two = ("--graph", tmp_path / "node.svg", "--out", tmp_path / "patches.png")
    text = explgraph("show", workspace, "--node", node, *two).out
    assert str(tmp_path / "node.svg") in text
    assert (tmp_path / "node.svg").stat().st_size > 1000
    with Image.open(tmp_path / "graph.png") as picture:
        assert picture.width > 300
    assert "must end in" in refused(2, "show", workspace, "--graph", tmp_path / "graph.gexf")


@pytest.mark.parametrize(
    ("question", "code", "words"),
    [
        (("--node", f"{TOP}:99:0"), 1, "99"),
        (("--node", "nothing"), 1, "nothing"),
        (("--channel", f"{TOP}:10"), 1, "expected a channel of 0 to 9, got 10"),
        (
            ("--channel", "features.9:1"),
            1,
            "layer 'features.9' is not in the graph; it has features.4, features.2",
        ),
        (("--channel", "a:" + "9" * 5000), 2, "--channel must be LAYER:CHANNEL such as"),
        (("--channel", "7"), 2, "--channel must be LAYER:CHANNEL such as features.12:7, got '7'"),
    ],
)
def test_what_is_not_in_the_graph_is_said_with_a_remedy(workspace, question, code, words):
    assert words in refused(code, "show", workspace, *question)
