"""What an open workspace answers."""

import shutil

import numpy as np
import pytest
import torch
from builders.commands import rows
from builders.databases import ask
from builders.tiny_network import MIDDLE, TOP, make, seeded

from explgraph.errors import StoreError, UsageError, WorkspaceError
from explgraph.images import read_source
from explgraph.queries import draw_heat_maps, draw_nodes
from explgraph.workspace import MineJob, Workspace, mine_workspace


@pytest.fixture
def copy(workspace, tmp_path):
    """A copy of the mined workspace, to be changed."""
    return shutil.copytree(workspace, tmp_path / "ws")


def test_it_knows_its_job(workspace, scenes):
    with Workspace(workspace) as opened:
        job = opened.job
    assert (job.source, job.background) == (scenes.coco, scenes.background)
    assert job.layers == (MIDDLE, TOP)
    assert job.peak_settings.layers == tuple(sorted((MIDDLE, TOP)))


def test_its_objects_their_frames_and_files_are_in_one_order(workspace):
    with Workspace(workspace) as opened:
        read, frames, files = opened.objects_read, opened.frames, opened.file_of_object()
        known = opened.known_objects()
    assert [one.index for one in read] == list(range(138))
    assert [frame.box for frame in frames] == [one.box for one in read]
    assert {(frame.height, frame.width) for frame in frames} == {(48, 64)}
    assert known.ids == tuple(one.id for one in read)
    assert known.files == tuple(files[one.id] for one in read)


def test_known_objects_are_where_the_best_places_say(workspace):
    with Workspace(workspace) as opened:
        known = opened.known_objects()
        node = opened.store.read_node(known.traits.names[0])
    for place in node.top_places:
        i = known.position[place.object_id]
        points = known.frames[i].to_image(known.seen.place[i, 0], mirrored=known.seen.mirrored[i])
        np.testing.assert_allclose(points, (place.x, place.y), atol=1e-4)
        assert known.seen.score[i, 0] == place.score


def test_locations_of_another_graph_are_refused(copy):
    ask(copy / "graph.db", "DELETE FROM edges")
    ask(copy / "graph.db", "DELETE FROM top_places")
    ask(copy / "graph.db", "DELETE FROM nodes WHERE id = (SELECT max(id) FROM nodes)")
    with Workspace(copy) as opened, pytest.raises(WorkspaceError, match="places, expected 138"):
        opened.known_objects()


def test_other_weights_are_refused(copy, tmp_path):
    torch.save(seeded(8).state_dict(), tmp_path / "other.pth")
    with Workspace(copy) as opened, pytest.raises(WorkspaceError, match="give the right file"):
        opened.network(weights=str(tmp_path / "other.pth"))


def test_reading_it_changes_no_file(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    with Workspace(copy) as opened:
        opened.known_objects()
        assert repr(opened) == f"<Workspace {copy}, <Store {copy / 'graph.db'}, read>>"
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path != copy} == {
        path: time for path, time in before.items() if path != copy
    }


def test_it_is_closed_after_the_with_statement(workspace):
    with Workspace(workspace) as opened:
        pass
    with pytest.raises(StoreError, match="is closed"):
        opened.store.has_graph()


def test_a_folder_without_database_is_not_a_workspace(tmp_path):
    with pytest.raises(WorkspaceError, match=r"is not a workspace \(no graph.db in it\)"):
        Workspace(tmp_path)


def test_a_graph_without_a_finished_run_is_not_complete(copy):
    ask(copy / "graph.db", "UPDATE runs SET status = 'failed'")
    assert rows(copy, "SELECT status FROM runs") == [("failed",)]
    with pytest.raises(WorkspaceError, match="has no finished mining run"):
        Workspace(copy)


def test_a_module_and_a_list_of_files_are_mined_and_asked(scenes, folder_workspace, tmp_path):
    """The same graph as from the folder and the network's name."""
    files = [one.path for one in read_source(scenes.folder).objects]
    model = make().train()
    job = MineJob(files, model, ("features.2", "features.4"))
    mine_workspace(tmp_path / "ws", job)
    assert model.training
    assert mine_workspace(tmp_path / "ws", job).unchanged
    with Workspace(tmp_path / "ws") as own, Workspace(folder_workspace) as by_name:
        assert dict(own.graph.nodes(data=True)) == dict(by_name.graph.nodes(data=True))
        assert own.known_objects().root == scenes.folder.resolve()
        with pytest.raises(UsageError, match=r"hand the module over again: Workspace\.network"):
            own.network()
        assert own.network(model).model is model
        other = make()
        torch.nn.init.zeros_(other.features[0].weight)
        with pytest.raises(WorkspaceError, match="hand over the one that was mined"):
            own.network(other)
        draw_nodes(own, list(own.graph)[:2], tmp_path / "nodes.png")
        found = draw_heat_maps("gradcam", own.network(model), files[:1], tmp_path)
    assert found.results[0].overlay.is_file()
