"""A job goes into the database as plain values and comes back as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders.commands import TINY, explgraph
from torch import nn

from explgraph.errors import UsageError, WorkspaceError
from explgraph.mining import MiningConfig
from explgraph.workspace import MineJob, Workspace

JOB = MineJob(
    source=Path("/photos/zebra.json"),
    model="squeezenet1_0",
    layers=("features.12", "features.10"),
    weights="IMAGENET1K_V1",
    input_size=(96, 128),
    images=Path("/photos/images"),
    background=Path("/photos/others"),
    n_peaks=3,
    mirror=False,
    fit="letterbox",
    limit=20,
    mining=MiningConfig(nodes=2, seed=5, std_max=0.1),
    allow_outside=True,
)
LEAST = MineJob(Path("/photos"), "vgg16", ("features.28",))


@pytest.mark.parametrize("job", [JOB, LEAST])
def test_a_job_comes_back_from_json_as_it_was(job):
    plain = job.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert MineJob.from_dict(plain) == job
    assert MineJob.from_dict(plain).to_dict() == plain


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").touch()
    plain = replace(LEAST, source="photos", weights="net.pth").to_dict()
    assert plain["source"] == str(tmp_path / "photos")
    assert plain["weights"] == str(tmp_path / "net.pth")
    assert replace(LEAST, weights="DEFAULT").to_dict()["weights"] == "DEFAULT"


def test_what_is_missing_has_its_default():
    least = {"source": "/photos", "model": "vgg16", "layers": ["features.28"]}
    assert MineJob.from_dict(least) == LEAST


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "unknown settings: colour; another version of explgraph wrote it"),
        ({"mining": {"nodes": 2, "magic": 1}}, "unknown settings: magic"),
    ],
)
def test_unknown_settings_are_named(change, words):
    with pytest.raises(WorkspaceError, match=words):
        MineJob.from_dict(LEAST.to_dict() | change)


def test_a_job_without_source_is_not_complete():
    with pytest.raises(WorkspaceError, match=r"not complete \(.*'source'"):
        MineJob.from_dict({"model": "vgg16", "layers": []})


def test_an_input_size_of_ones_own_is_mined_and_read_back(scenes, tmp_path):
    command = ("mine", scenes.folder, *TINY, "--input-size", "40x64", "--no-mirror")
    assert explgraph(*command, "--out", tmp_path / "ws").code == 0
    with Workspace(tmp_path / "ws") as workspace:
        assert workspace.job.input_size == (40, 64)
        assert workspace.identity.input.size == (40, 64)
        assert workspace.graph.graph["config"] == workspace.job.to_dict()
        assert workspace.network().input.size == (40, 64)


def test_strings_and_lists_stand_for_the_same_job():
    strings = MineJob("/photos", "vgg16", ["features.28"], background="/others")
    assert strings == MineJob(
        Path("/photos"), "vgg16", ("features.28",), background=Path("/others")
    )
    files = MineJob(["/a/1.jpg", Path("/a/b/2.jpg")], "vgg16", ["features.28"])
    assert files.to_dict()["source"] == ["/a/1.jpg", "/a/b/2.jpg"]
    assert MineJob.from_dict(files.to_dict()) == files
    assert files.root == Path("/a")
    assert files.source_name == "2 files in /a"


def test_a_module_is_named_in_the_job_and_stays_out_of_it():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    job = MineJob("/photos", model, ["0"], input_size=(40, 60))
    assert json.loads(json.dumps(job.to_dict()))["model"] == "nn.Module:Sequential"
    assert job.load_network("cpu").model is model
    assert job.load_network("cpu").input.size == (40, 60)
    assert MineJob.from_dict(job.to_dict()).spec == "nn.Module:Sequential"


def test_settings_that_older_versions_stored_are_passed_over():
    stored = LEAST.to_dict()
    stored["mining"]["n_candidates"] = 600
    assert MineJob.from_dict(stored) == LEAST


def test_a_job_that_contradicts_itself_is_refused():
    with pytest.raises(UsageError, match="layers must be a list of names, got the string"):
        MineJob("/photos", "vgg16", "features.28")
    with pytest.raises(UsageError, match="weights go with the name of a network"):
        MineJob("/photos", nn.Conv2d(3, 4, 3), ["0"], weights="weights.pth")
    with pytest.raises(UsageError, match=r"expected a torch\.nn\.Module or a Network, got a int"):
        MineJob("/photos", 3, ["0"])
