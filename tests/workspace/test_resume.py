"""What tells one job from another."""

from dataclasses import replace

import pytest

from explgraph.errors import WorkspaceError
from explgraph.mining import MiningConfig
from explgraph.workspace import Workspace
from explgraph.workspace.resume import Identity


@pytest.fixture
def identity(workspace):
    with Workspace(workspace) as opened:
        return opened.identity


def test_an_identity_comes_back_from_the_database_as_it_was(identity, workspace):
    assert Identity.from_dict(identity.to_dict()) == identity
    with Workspace(workspace) as opened:
        assert opened.identity.fingerprint == opened.run.extraction_fingerprint
        wanted = identity.mining_fingerprint(opened.job.mining)
        assert wanted == opened.run.mining_fingerprint


def test_every_field_makes_another_identity(identity):
    others = [
        replace(identity, format=1),
        replace(identity, model="vgg16"),
        replace(identity, weights="0" * 64),
        replace(identity, input=replace(identity.input, height=40)),
        replace(identity, layers=identity.layers[:1]),
        replace(identity, images="0" * 64),
        replace(identity, background=None),
        replace(identity, background_seed=1),
        replace(identity, peaks=5),
        replace(identity, mirror=not identity.mirror),
        replace(identity, fit="letterbox"),
    ]
    assert len({one.fingerprint for one in (identity, *others)}) == 12


def test_settings_of_mining_change_the_graph_and_not_the_peaks(identity):
    wanted = {identity.mining_fingerprint(MiningConfig(nodes=n)) for n in (2, 4)}
    assert len(wanted) == 2
    assert identity.fingerprint not in wanted


def test_an_identity_of_another_version_is_named_as_such(identity):
    with pytest.raises(WorkspaceError, match="unknown settings: colour"):
        Identity.from_dict(identity.to_dict() | {"colour": "red"})
