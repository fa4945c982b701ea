"""The command line as a whole: streams, exit codes, `layers`, `show`, `export`."""

import json
import xml.etree.ElementTree as ElementTree

import pyarrow.parquet as pq
import pytest
from builders.commands import TINY, explgraph, refused
from builders.tiny_network import BOTTOM, MIDDLE, TOP
from PIL import Image

from explgraph import __version__
from explgraph_storage import Store

# Streams and exit codes


def test_without_a_command_there_is_help_and_exit_code_2():
    answer = explgraph()
    assert answer.code == 2
    assert "explgraph demo" in answer.out


def test_help_and_version_are_results():
    assert explgraph("--version").out == f"explgraph {__version__}\n"
    answer = explgraph("mine", "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "explgraph mine photos/ --out ws --model resnet50" in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mien",), "invalid choice: 'mien'"),
        (("mine", "photos"), "required: --out, --model, --layers"),
        (
            ("mine", "photos", *TINY, "--out", "ws", "--batch-size", "0"),
            "must be a whole number of at least 1, got '0'",
        ),
        (
            ("mine", "photos", *TINY, "--out", "ws", "--nodes", "many"),
            "must be a whole number of at least 1, got 'many'",
        ),
        (("mine", "photos", *TINY, "--out", "ws", "--input-size", "12x"), "12x"),
        (("show", "ws", "--node", "a:1:1", "--channel", "a:1"), "not allowed with"),
        (("export", "ws", "--format", "pdf", "--out", "x"), "invalid choice: 'pdf'"),
    ],
)
def test_misuse_that_the_parser_sees_ends_with_2(arguments, words):
    answer = explgraph(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_progress_goes_to_stderr_in_plain_lines_and_results_to_stdout(folder_workspace, scenes):
    answer = explgraph("locate", folder_workspace, scenes.folder, "--json")
    assert json.loads(answer.out)["objects"] == 26
    lines = answer.err.splitlines()
    assert lines[-1].endswith("] locate 26/26")
    assert all(line.startswith("[") and line.count("\x1b") == 0 for line in lines)
    assert len(lines) <= 6


def test_quiet_prints_no_progress(folder_workspace, scenes):
    assert explgraph("locate", folder_workspace, scenes.folder, "--quiet").err == ""


def test_on_a_terminal_there_are_bars_and_stdout_stays_clean(folder_workspace, scenes, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal then
    answer = explgraph("locate", folder_workspace, scenes.folder, "--json")
    assert json.loads(answer.out)["objects"] == 26
    assert "26/26" in answer.err
    assert "\x1b[" in answer.err


# layers


def test_layers_lists_what_can_be_mined():
    out = explgraph("layers", "--model", "builders.tiny_network:make").out
    assert out.startswith("builders.tiny_network:make, input 48 x 64; ")
    rows = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert {BOTTOM, MIDDLE, TOP} <= set(rows)
    assert "12 x 16" in rows[TOP]


def test_layers_as_json_measures_strides_and_centres():
    described = explgraph("layers", "--model", "builders.tiny_network:make", "--json").json()
    assert described["input"] == [48, 64]
    layers = {layer["name"]: layer for layer in described["layers"]}
    assert (layers[TOP]["channels"], layers[TOP]["height"], layers[TOP]["width"]) == (10, 12, 16)
    assert layers[TOP]["stride"] == [4, 4]
    assert layers[BOTTOM]["receptive_field"] == [5, 5]
    assert layers[BOTTOM]["centre"] == [0.5, 0.5]


def test_layers_of_another_input_size():
    described = explgraph(
        "layers", "--model", "builders.tiny_network:make", "--input-size", "40x72", "--json"
    ).json()
    (top,) = (layer for layer in described["layers"] if layer["name"] == TOP)
    assert (described["input"], top["height"], top["width"]) == ([40, 72], 10, 18)


# show


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
        (("--channel", f"{TOP}:10"), 1, "has channels 0 to 9, got 10"),
        (
            ("--channel", "features.9:1"),
            1,
            "layer 'features.9' is not in the graph; it has features.4, features.2",
        ),
        (("--channel", "7"), 2, "--channel must be LAYER:CHANNEL such as features.12:7, got '7'"),
    ],
)
def test_what_is_not_in_the_graph_is_said_with_a_remedy(workspace, question, code, words):
    assert words in refused(code, "show", workspace, *question)


def test_no_workspace_is_said_with_a_remedy(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "missing", tmp_path / "empty"):
        for question in (
            ("show",),
            ("locate", "photos"),
            ("evaluate", "--dataset", "x.json"),
            ("export", "--format", "dot", "--out", "x"),
        ):
            line = refused(
                1,
                question[0],
                folder,
                *(tmp_path if part == "photos" else part for part in question[1:]),
            )
            assert (
                "no image in" in line
                or f"{folder} is not a workspace (no graph.db in it); 'explgraph mine SOURCE --out"
                in line
            )
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


# export


@pytest.mark.parametrize("format", ["gexf", "graphml", "cytoscape", "node-link", "dot", "parquet"])
def test_every_export_holds_every_node(workspace, tmp_path, format):
    with Store.open(workspace / "graph.db") as store:
        graph = store.load_graph()
    path = tmp_path / f"graph.{format}"
    summary = explgraph("export", workspace, "--format", format, "--out", path, "--json").json()
    assert summary == {
        "out": str(path),
        "format": format,
        "nodes": graph.number_of_nodes(),
        "edges": graph.number_of_edges(),
    }
    if format == "parquet":
        assert pq.read_metadata(path).num_rows == graph.number_of_nodes()
        return
    text = path.read_text()
    assert all(name in text for name in graph)
    if format in ("gexf", "graphml"):
        ElementTree.fromstring(text)
    elif format != "dot":
        json.loads(text)
    assert explgraph("export", workspace, "--format", format, "--out", path).out == (
        f"{path}: {graph.number_of_nodes()} nodes, {graph.number_of_edges()} edges\n"
    )


def test_an_export_into_a_missing_folder_is_misuse(workspace, tmp_path):
    assert "create it first" in refused(
        2, "export", workspace, "--format", "dot", "--out", tmp_path / "no" / "graph.dot"
    )
