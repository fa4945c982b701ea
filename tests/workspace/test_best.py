"""The best objects of every node, against sorting all of them at once."""

import numpy as np
import pytest

from explgraph.images import Frame
from explgraph.locations import NodeLocations
from explgraph.workspace.best import N_TOP, BestPlaces

N_NODES, N_OBJECTS = 5, 50
IDS = [900_100_259_690 + 7 * i for i in range(N_OBJECTS)]
FRAMES = [Frame((i, 2 * i, 64, 48), 48, 64) for i in range(N_OBJECTS)]


@pytest.fixture
def found():
    """Places with many equal scores, and a node that is seen on three objects only."""
    rng = np.random.default_rng(0)
    place = rng.random((N_OBJECTS, N_NODES, 2), np.float32)
    score = rng.integers(1, 9, (N_OBJECTS, N_NODES)).astype(np.float32) / 9
    score[3:, 2] = 0
    names = tuple(f"conv:{k}:0" for k in range(N_NODES))
    return NodeLocations(names, place, score, np.zeros(N_OBJECTS, bool))


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_the_best_objects_are_those_of_a_sort_whatever_the_batches(found, batch):
    best = BestPlaces(N_NODES)
    for start in range(0, N_OBJECTS, batch):
        here = slice(start, start + batch)
        some = NodeLocations(
            found.nodes, found.place[here], found.score[here], found.mirrored[here]
        )
        best.add(some, FRAMES[here])
    position = [4, 3, 2, 1, 0]
    places = best.places(position, IDS)
    assert best.n_objects == N_OBJECTS
    for node in range(N_NODES):
        ranked = sorted(range(N_OBJECTS), key=lambda i: -found.score[i, node])
        seen = [i for i in ranked if found.score[i, node] > 0][:N_TOP]
        mine = places.node == position[node]
        assert places.object[mine].tolist() == [IDS[i] for i in seen]
        assert places.score[mine].tolist() == [float(found.score[i, node]) for i in seen]
        points = np.array([FRAMES[i].to_image(found.place[i, node]) for i in seen])
        np.testing.assert_array_equal(np.stack([places.x[mine], places.y[mine]], 1), points)
    assert sum(places.node == position[2]) == 3
