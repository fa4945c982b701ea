"""A node that was named is called so in every answer, picture and file."""

import json

import networkx as nx
import pyarrow.parquet as pq
import pytest
from builders.commands import explgraph, refused

from explgraph.workspace import Workspace


@pytest.fixture
def named(ws, node):
    """A workspace in which one node and the filter of every node of a layer have names."""
    layer = node.rsplit(":", 2)[0]
    rows = [f"{layer}:{channel},whisker {channel}" for channel in range(8)]
    (ws / "names.csv").write_text("target,name\n" + "\n".join(rows))
    assert explgraph("name", ws, "--from", ws / "names.csv").code == 0
    answer = explgraph("name", ws, node, "left ear", "--json").json()
    assert {one["target"]: one["name"] for one in answer["names"]}[node] == "left ear"
    return ws


def test_names_are_listed_and_removed(named, node):
    assert "left ear" in explgraph("name", named).out
    assert explgraph("name", named, "--remove", node).code == 0
    assert "left ear" not in explgraph("name", named).out
    assert "has no name" in refused(2, "name", named, "--remove", node)
    assert "neither a node" in refused(1, "name", named, "nothing:1:2", "ear")
    assert "expected TARGET and NAME" in refused(2, "name", named, node)


def test_a_workspace_without_names_says_so(ws):
    assert "has no names" in explgraph("name", ws).out
    assert explgraph("name", ws, "--json").json()["names"] == []


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "target,name\nx,1\nx,2\n", "target,name\n"])
def test_a_file_that_names_nothing_or_two_things_is_refused(ws, tmp_path, content):
    (tmp_path / "names.csv").write_text(content)
    assert "names.csv" in refused(1, "name", ws, "--from", tmp_path / "names.csv")


def test_explain_says_what_the_class_rests_on(named, scenes, tmp_path):
    asked = ("explain", scenes.folder / "04.png", "--workspace", named, "--nodes", 5)
    record = explgraph(*asked, "--out", tmp_path, "--json").json()["results"][0]
    called = [one["name"] for one in record["nodes"]]
    assert any(name and ("whisker" in name or name == "left ear") for name in called)
    text = explgraph(*asked).out
    assert f"rests on the {next(name for name in called if name)}" in text
    assert all(f'{one["node"]} "{one["name"]}"' in text for one in record["nodes"] if one["name"])


def test_locate_has_the_name_of_every_node(named, node, scenes, tmp_path):
    asked = ("locate", named, scenes.folder / "04.png", "--json", "--quiet")
    rows = explgraph(*asked, "--top", 1000, "--draw", tmp_path).json()["locations"]
    (one,) = (row for row in rows if row["node"] == node)
    assert one["name"] == "left ear"
    assert {row["name"] for row in rows} > {"left ear", None}


def test_show_and_parts_have_it(named, node, scenes):
    assert explgraph("show", named, "--node", node, "--json").json()["name"] == "left ear"
    strongest = explgraph("show", named, "--json").json()["strongest"]
    assert "left ear" in {one.get("name") for one in strongest}
    head = ("--name", "head", "--annotations", scenes.coco, "--ids", "1000,1007,1014")
    assert explgraph("part", "fit", named, *head).code == 0
    votes = explgraph("part", "show", named, "--name", "head", "--top", 500, "--json").json()
    assert any("name" in one for one in votes["strongest"])


def test_the_nodes_that_a_part_rests_on_get_its_name_and_names_by_hand_stay(fitted):
    with Workspace(fitted) as workspace:
        record = workspace.store.read_semantic_parts()[0]
    before = record.templates[0].nodes
    found = explgraph("name", fitted, "--from-part", "head", "--json").json()["names"]
    assert found
    assert {one["target"] for one in found} <= set(before)
    assert {(one["name"], one["origin"]) for one in found} == {("head", "part head")}
    target = found[0]["target"]
    explgraph("name", fitted, target, "nose")
    explgraph("name", fitted, "--from-part", "head")
    with Workspace(fitted) as workspace:
        assert workspace.graph.called(target) == "nose"
    explgraph("name", fitted, *(word for one in found for word in ("--remove", one["target"])))


@pytest.mark.parametrize("suffix", ["gexf", "graphml", "cyjs", "json", "dot", "parquet"])
def test_every_exported_file_has_the_names(named, node, tmp_path, suffix):
    file = tmp_path / f"graph.{suffix}"
    assert explgraph("export", named, "--out", file).code == 0
    if suffix == "parquet":
        rows = {row["node"]: row["name"] for row in pq.read_table(file).to_pylist()}
        assert rows[node] == "left ear"
        assert rows.keys() - {node}
    elif suffix == "graphml":
        graph = nx.read_graphml(file)
        assert graph.nodes[node]["name"] == "left ear"
        assert graph.nodes[node]["label"] == f'{node} "left ear"'
    elif suffix == "gexf":
        graph = nx.read_gexf(file)
        assert graph.nodes[node]["name"] == "left ear"
        assert "left ear" in graph.nodes[node]["label"]
    elif suffix == "dot":
        (line,) = (one for one in file.read_text().splitlines() if one.startswith(f'"{node}" ['))
        assert 'name="left ear"' in line
    else:
        data = json.loads(file.read_text())
        nodes = (
            data["nodes"] if suffix == "json" else [n["data"] for n in data["elements"]["nodes"]]
        )
        (one,) = (at for at in nodes if at["id"] == node)
        assert "left ear" in one["name"]


def test_a_selection_has_the_names_of_its_nodes_alone(named, node, tmp_path):
    file = tmp_path / "graph.json"
    with Workspace(named) as workspace:
        other = next(name for name in workspace.graph if name != node)
    assert explgraph("name", named, other, "nothing of the kind").code == 0
    assert explgraph("export", named, "--out", file, "--node", node).code == 0
    names = json.loads(file.read_text())["graph"]["names"]
    assert names[node] == "left ear"
    assert (other in names) == (other in file.read_text())


def test_pictures_are_drawn_with_names(named, node, tmp_path):
    sheet, graph = tmp_path / "sheet.png", tmp_path / "graph.png"
    asked = ("show", named, "--node", node, "--out", sheet, "--graph", graph)
    assert explgraph(*asked).code == 0
    assert sheet.is_file()
    assert graph.is_file()


def test_names_outlive_the_same_mining_and_others_are_told_of(named, node, mine_scenes):
    before = explgraph("name", named, "--json").json()["names"]
    again = explgraph(*mine_scenes, "--out", named, "--restart", "--quiet", "--json")
    assert again.json()["dropped_names"] == []
    after = explgraph("name", named, "--json").json()["names"]
    assert after == before
    with Workspace(named) as workspace:
        every = list(workspace.graph)
    (named / "all.csv").write_text("\n".join(["target,name", *(f"{one},x {one}" for one in every)]))
    assert explgraph("name", named, "--from", named / "all.csv").code == 0
    fewer = (*mine_scenes, "--out", named, "--restart", "--nodes", 1, "--limit", 45, "--quiet")
    said = explgraph(*fewer).out
    # What is kept is kept as it was or told of.
    assert "note: dropped, since the graph has no such node any more: x " in said
    kept = {one["name"] for one in explgraph("name", named, "--json").json()["names"]}
    assert not any(f"{name} (" in said for name in kept)
    assert all(f"x {one}" in kept or f"x {one} ({one})" in said for one in every)
