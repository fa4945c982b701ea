"""Whatever peak shards, locations and deviations hold, no answer changes without a word."""

import shutil

import pytest
from builders.broken_parquet import damage_parquet
from builders.fuzzing import cases, fault

from explgraph import Workspace
from explgraph.locations import read_locations
from explgraph.peaks import read_layer, read_shard_content
from explgraph.queries import check_workspace

CHUNK = 10


def asked(folder):
    """What is asked of a workspace, each as a function that gives plain values."""

    def places():
        with Workspace(folder) as workspace:
            found = workspace.locations()
            return [found.points.tobytes(), found.score.tobytes(), found.mirrored.tobytes()]

    def peaks():
        with Workspace(folder) as workspace:
            return peaks_of(workspace, workspace.peak_files())

    return {"places": places, "peaks": peaks}


def peaks_of(workspace, files):
    wanted = {"images": range(138), "n_peaks": 4, "n_facings": 2}
    read = [read_layer(files, one, **wanted) for one in workspace.graph.layers]
    return [one.value.numpy().tobytes() for one in read]


@pytest.fixture(scope="module")
def whole(workspace):
    """What a sound workspace answers."""
    return {name: ask() for name, ask in asked(workspace).items()}


@pytest.mark.parametrize("first", cases(160, quick=10)[::CHUNK])
def test_damaged_parquet_is_refused_or_gives_the_same_answer(workspace, whole, tmp_path, first):
    folder = shutil.copytree(workspace, tmp_path / "ws")
    files = sorted([*workspace.glob("peaks/*.parquet"), *workspace.glob("locations/*.parquet")])
    wrong = []
    for seed in range(first, first + CHUNK):
        one = files[seed % len(files)].relative_to(workspace)
        how = damage_parquet(folder / one, seed)
        for name, ask in asked(folder).items():
            got = []
            why = fault(lambda ask=ask, got=got: got.append(ask()))
            if got and got[0] != whole[name]:
                why = "another answer"
            if why is not None:
                wrong.append(f"{how}: {name}: {why}")
        same = (folder / one).read_bytes() == (workspace / one).read_bytes()
        checked = []
        why = fault(lambda got=checked: got.append(check_workspace(folder)))
        if why is not None or (checked[0].well and not same):
            wrong.append(f"{how}: check: {why or 'says that all is well'}")
        shutil.copy(workspace / one, folder / one)
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("first", cases(160, quick=40)[::CHUNK])
def test_files_without_a_hash_are_read_or_refused_in_words(workspace, tmp_path, first):
    """Those of older versions: numbers that became others are not seen, all else is."""
    folder = shutil.copytree(workspace / "locations", tmp_path / "locations")
    shards = shutil.copytree(workspace / "peaks", tmp_path / "peaks")
    wrong = []
    with Workspace(workspace) as opened:
        graph, ids = opened.graph, [one.id for one in opened.objects_read]
        for seed in range(first, first + CHUNK):
            file = sorted([*folder.glob("*.parquet"), *shards.glob("*.parquet")])[seed % 4]
            content = file.read_bytes()
            how = damage_parquet(file, 1000 + seed)
            if file.parent == folder:
                why = fault(lambda: read_locations(folder, graph, ids), file, folder)
            else:
                ask = lambda file=file: (read_shard_content(file), peaks_of(opened, [file]))
                why = fault(ask, file)
            if why is not None:
                wrong.append(f"{how}: {why}")
            file.write_bytes(content)
    assert not wrong, "\n" + "\n".join(wrong)
