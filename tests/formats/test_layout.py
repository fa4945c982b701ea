import itertools

from builders.awkward_graph import NAMES, make_graph

from explgraph.formats.layout import SIZES, WIDTH, lay_out


def test_layers_lie_as_separate_sheets_with_the_top_layer_on_top():
    graph = make_graph(nodes_each=30)
    dots = lay_out(graph)
    sheets = [[dots[node] for node in graph.nodes_of(name)] for name in NAMES]
    for upper, lower in itertools.pairwise(sheets):
        assert min(dot.y for dot in upper) > max(dot.y for dot in lower)
    assert [len({dot.colour for dot in sheet}) for sheet in sheets] == [1, 1, 1]
    assert len({dot.colour for sheet in sheets for dot in sheet}) == 3


def test_a_sheet_has_the_proportions_of_the_input_and_rows_run_down():
    graph = make_graph(("a", "b"), 0)
    rest = {
        "std": 0.1,
        "weight": 0.5,
        "none": 0.1,
        "support": 3.0,
        "communality": 0.5,
        "kind": "part",
    }
    for index, (row, col) in enumerate([(0.0, 0.0), (1.0, 1.0)]):
        graph.add_pattern(
            layer="b", channel=0, index=index, row=row, col=col, score=float(index), **rest
        )
    first, last = lay_out(graph).values()
    assert (first.x, first.y) == (0.0, WIDTH * 96 / 128)
    assert (last.x, last.y) == (WIDTH, 0.0)
    assert (first.size, last.size) == SIZES
