"""Whatever a database holds, each question is answered or refused in words."""

import shutil

import pytest
from builders.commands import explgraph
from builders.damage import damage
from builders.fuzzing import ALL, cases, fault, fault_of_words

from explgraph import (
    Workspace,
    describe_node,
    describe_workspace,
)
from explgraph.formats import FORMATS
from explgraph.queries import describe_channel, export_workspace
from explgraph_storage import Store

CHUNK = 10  # cases of one test: few enough that a failure is found again at once


@pytest.fixture(scope="session")
def whole(scenes, workspace, tmp_path_factory):
    """A workspace with a semantic part, and one of its nodes."""
    folder = shutil.copytree(workspace, tmp_path_factory.mktemp("whole") / "ws")
    fitted = explgraph(
        "part", "fit", folder, "--name", "head", "--annotations", scenes.coco, "--ids", "1000,1021"
    )
    assert fitted.code == 0, fitted.err
    return folder


def answers(folder, node, out, seed):
    """Yield each question as a function, those of the store and those of the workspace."""
    reads = (
        "load_graph", "load_unit_std", "read_images", "read_objects", "read_skipped", "read_runs",
        "finished_shards", "read_semantic_parts",
    )  # fmt: skip

    def of_store(name, *given):
        with Store.open(folder / "graph.db") as store:
            return getattr(store, name)(*given)

    def of_workspace(question, *given, **named):
        with Workspace(folder) as workspace:
            return question(workspace, *given, **named)

    layer, channel, _ = node.split(":")
    for name in reads:
        yield name, lambda name=name: of_store(name)
    yield "read_files", lambda: of_store("read_files", "locations")
    yield "check_top_places", lambda: of_store("check_top_places")
    yield "read_node", lambda: of_store("read_node", node)
    yield "workspace", lambda: of_workspace(describe_workspace).to_dict()
    yield "node", lambda: of_workspace(describe_node, node).to_dict()
    yield "channel", lambda: of_workspace(describe_channel, layer, int(channel)).to_dict()
    # One format for each case: to write a graph takes longer than to refuse one.
    form = sorted(FORMATS)[seed % len(FORMATS)]
    file = out / f"graph{FORMATS[form][0]}"
    yield form, lambda: of_workspace(export_workspace, file, format=form)
    yield "identity", lambda: of_workspace(lambda one: one.identity.fingerprint)


@pytest.mark.parametrize("first", cases(600, quick=10)[::CHUNK])
def test_a_damaged_database_is_answered_or_refused_in_words(whole, tmp_path, first):
    with Store.open(whole / "graph.db") as store:
        node = next(iter(store.load_graph()))
    folder = tmp_path / "ws"
    folder.mkdir()
    (tmp_path / "out").mkdir()
    wrong = []
    for seed in range(first, first + CHUNK):
        shutil.copy(whole / "graph.db", folder)
        how = damage(folder / "graph.db", seed)
        for name, ask in answers(folder, node, tmp_path / "out", seed):
            if (why := fault(ask)) is not None:
                wrong.append(f"{seed}: {how}: {name}: {why}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.skipif(not ALL, reason="mines again")
@pytest.mark.parametrize("first", cases(60, quick=2)[::2])
def test_commands_on_a_damaged_database_end_in_words(whole, scenes, mine_scenes, tmp_path, first):
    """The same `mine` again either makes the workspace whole or says what to do."""
    wrong = []
    for seed in range(first, first + 2):
        folder = shutil.copytree(whole, tmp_path / f"ws{seed}")
        how = damage(folder / "graph.db", 5000 + seed)
        commands = (
            ("check", folder),
            ("evaluate", folder, "--dataset", scenes.coco, "--json"),
            ("locate", folder, scenes.folder, "--limit", 2, "--quiet", "--json"),
            ("part", "locate", folder, "--name", "head", scenes.coco, "--limit", 3, "--quiet"),
            (*mine_scenes, "--out", folder, "--quiet", "--json"),
        )
        for command in commands:
            ends = []
            why = fault(lambda one=command, ends=ends: ends.append(explgraph(*one)))
            if why is None and ends[0].code not in (0, 1, 2):
                why = f"exit code {ends[0].code}"
            if why is None and ends[0].code and command[0] != "check":
                said = ends[0].err or ends[0].out
                why = fault_of_words(said)
            if why is not None:
                wrong.append(f"{seed}: {how}: {command[0]}: {why}")
    assert not wrong, "\n" + "\n".join(wrong)
