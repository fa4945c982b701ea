"""Photographs and objects in the database, and what becomes of those that change."""

from dataclasses import replace

import pytest
from builders.graphs import IMAGES, OBJECTS, assert_same, make_graph, make_places

from explgraph.errors import Skipped, StoreError
from explgraph_storage import ObjectRecord


def test_a_source_comes_back(store):
    assert store.read_images() == tuple(sorted(IMAGES, key=lambda image: image.id))
    assert store.read_objects() == tuple(sorted(OBJECTS, key=lambda item: item.id))
    assert store.read_skipped() == (Skipped("broken.jpg", "truncated"),)


def test_writing_a_source_again_keeps_facings_and_places_of_unchanged_objects_only(store):
    graph = make_graph()
    store.save_graph(
        graph, top_places=make_places(graph), facings={item.id: True for item in OBJECTS}
    )
    cow, herd, _ = OBJECTS
    moved = replace(herd, box=(1.0, 1.0, 50.0, 50.0))
    new = ObjectRecord(8, 3, (0.0, 0.0, 200.0, 300.0))
    store.write_source(IMAGES, [replace(cow, landmarks={"tail": (1.0, 2.0)}), moved, new])
    objects = {item.id: item for item in store.read_objects()}
    assert {key: item.mirrored for key, item in objects.items()} == {5: None, 8: None, cow.id: True}
    assert objects[cow.id].landmarks == {"tail": (1.0, 2.0)}
    assert {place.object_id for name in graph for place in store.read_node(name).top_places} == {
        cow.id
    }
    assert store.read_skipped() == ()
    assert_same(graph, store.load_graph())


def test_images_may_swap_paths_and_go(store):
    one, two = IMAGES
    store.write_source([replace(one, path=two.path), replace(two, path=one.path)], OBJECTS)
    assert {image.path for image in store.read_images()} == {one.path, two.path}
    store.write_source([], [])
    assert store.read_images() == store.read_objects() == ()


@pytest.mark.parametrize(
    ("images", "objects", "message"),
    [
        ([IMAGES[0], IMAGES[0]], [], "expected 2 images with different ids and paths"),
        (IMAGES, [OBJECTS[0], OBJECTS[0]], "expected 2 objects with different ids"),
        (IMAGES[:1], OBJECTS, "object 6 is on image 3"),
    ],
)
def test_a_contradictory_source_is_refused_and_the_former_kept(store, images, objects, message):
    with pytest.raises(StoreError, match=message):
        store.write_source(images, objects)
    assert len(store.read_objects()) == 3
