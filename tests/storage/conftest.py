"""A place for a database, a database with a small graph, and an open store with a source."""

import pytest
from builders.graphs import IMAGES, OBJECTS, make_graph

from explgraph.errors import Skipped
from explgraph_storage import Store


@pytest.fixture
def place(tmp_path):
    """Where a database may be made."""
    return tmp_path / "graph.db"


@pytest.fixture
def file(place):
    """A database that holds a small graph."""
    with Store.open(place, mode="create") as store:
        store.save_graph(make_graph(0))
    return place


@pytest.fixture
def store(place):
    """An open store that holds objects, and no graph yet."""
    with Store.open(place, mode="create") as store:
        store.write_source(IMAGES, OBJECTS, [Skipped("broken.jpg", "truncated")])
        yield store
