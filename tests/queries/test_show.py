"""What `show` is asked from Python."""

from builders.databases import run_script
from PIL import Image

from explgraph.queries import describe_node, draw_graph
from explgraph.workspace import Workspace


def test_the_graph_is_drawn_alone_where_its_best_node_has_no_best_object(ws, tmp_path):
    run_script(ws / "graph.db", "DELETE FROM top_places")
    with Workspace(ws) as workspace:
        path = draw_graph(workspace, tmp_path / "graph.png")
    with Image.open(path) as drawn:
        assert drawn.width > 100


def test_a_notebook_shows_a_node_with_its_kin(workspace):
    with Workspace(workspace) as opened:
        node = max(opened.graph, key=opened.graph.degree)
        described = describe_node(opened, node)
    html = described._repr_html_()
    assert node in html
    for one in (*described.parents[:5], *described.children[:5]):
        assert one["node"] in html
    assert html.count("<table") >= 3
