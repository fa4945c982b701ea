import numpy as np
import pytest
from builders.graphs import make_graph
from builders.planted_parts import OBJECTS, planted

from explgraph.errors import GraphError
from explgraph.graph import ExplanatoryGraph
from explgraph.parts import SeenNodes, node_traits, turn


def test_pose_coordinates_are_a_turned_pose_of_unit_spread():
    world = planted(noise=1e-4)
    pose = world.traits.pose(world.seen)
    apart = np.square(pose[:, None] - pose).sum(-1)
    assert apart.mean() / 2 == pytest.approx(1, rel=0.25)
    predicted = np.linalg.lstsq(np.c_[pose, np.ones(OBJECTS)], world.pose, rcond=None)[0]
    np.testing.assert_allclose(np.c_[pose, np.ones(OBJECTS)] @ predicted, world.pose, atol=0.02)


def test_turning_twice_is_no_turn():
    place, mirrored = np.random.default_rng(0).random((6, 4, 2)), np.arange(6) % 2 == 1
    np.testing.assert_allclose(turn(turn(place, mirrored), mirrored), place)


def test_traits_are_in_the_order_of_the_graph_and_an_empty_one_is_refused():
    graph = make_graph(0)
    traits = node_traits(graph)
    assert traits.names == tuple(n for layer in graph.layers for n in graph.nodes_of(layer.name))
    assert traits.loadings.shape == (len(traits.names), 2, 0)
    with pytest.raises(GraphError, match="no nodes"):
        node_traits(ExplanatoryGraph())


def test_shapes_that_do_not_fit_are_refused():
    # TypeError: where the tests check the annotations, these come first.
    with pytest.raises((ValueError, TypeError), match=r"expected place|parameter 'score'"):
        SeenNodes(np.zeros((3, 4, 2)), np.zeros((3, 5)), np.zeros(3, bool))
