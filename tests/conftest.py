"""Fixtures that several test files share: generated photographs, and a workspace of them."""

from types import SimpleNamespace

import pytest
import torch

# Arrays this small are computed up to ten times faster by one thread than shared out among many
# (measured).
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Generated photographs.

    ``coco`` has 138 objects with landmarks, ``folder`` 26 single creatures, ``background`` none.
    """
    from builders.scenes import write_background, write_coco, write_folder

    root = tmp_path_factory.mktemp("scenes")
    return SimpleNamespace(
        coco=write_coco(root / "coco"),
        folder=write_folder(root / "folder"),
        background=write_background(root / "background"),
    )


@pytest.fixture(scope="session")
def mine_scenes(scenes):
    """The arguments of the command that mined ``workspace``, without --out."""
    from builders.commands import TINY

    return ("mine", scenes.coco, *TINY, "--background", scenes.background)


@pytest.fixture(scope="session")
def workspace(mine_scenes, tmp_path_factory):
    """A workspace mined from the COCO file; tests leave it as it is."""
    from builders.commands import explgraph

    folder = tmp_path_factory.mktemp("mined") / "ws"
    answer = explgraph(*mine_scenes, "--out", folder)
    assert answer.code == 0, answer.err
    return folder


@pytest.fixture(scope="session")
def folder_workspace(scenes, tmp_path_factory):
    """A workspace mined from the folder; tests leave it as it is."""
    from builders.commands import TINY, explgraph

    folder = tmp_path_factory.mktemp("mined-folder") / "ws"
    answer = explgraph("mine", scenes.folder, *TINY, "--out", folder)
    assert answer.code == 0, answer.err
    return folder
