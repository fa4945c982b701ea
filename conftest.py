"""What the examples in docstrings start from: the demo's network, pictures and graph.

An example may use these names without making them. Each is made when a first example needs it.

* ``pictures``: folder of six photographs of a creature
* ``coco``: COCO file of 48 such photographs, with their parts as landmarks
* ``network``: the demo's `Network`, eight classes
* ``x``: two photographs as the network takes them, (2, 3, 112, 112)
* ``folder``: workspace folder of a graph mined from ``coco``, with the semantic part "head";
  an example may change it
* ``workspace``: that workspace, open
* ``graph``: its graph
* ``peaks``: the peaks that it was mined from, by layer
* ``known``: what is known of the objects that it was mined from
* ``head``: the part "head", fitted on the first three of them
* ``out``: an empty folder
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

LAYERS = ("features.11", "features.14")


@pytest.fixture(scope="session")
def example_coco(tmp_path_factory):
    from explgraph.demo import unpack_pictures

    path = unpack_pictures(tmp_path_factory.mktemp("examples")).mined
    document = json.loads(path.read_text())
    document["images"] = document["images"][:48]
    kept = {image["id"] for image in document["images"]}
    marks = document["annotations"]
    document["annotations"] = [mark for mark in marks if mark["image_id"] in kept]
    few = path.with_name("few.json")
    few.write_text(json.dumps(document))
    return few


@pytest.fixture(scope="session")
def example_pictures(example_coco):
    from explgraph import read_source

    folder = example_coco.parent / "few"
    folder.mkdir()
    for one in read_source(example_coco).objects[:6]:
        shutil.copy(one.path, folder)
    return folder


@pytest.fixture(scope="session")
def example_network():
    from explgraph import load_network

    return load_network("explgraph.demo.network:demo_network")


@pytest.fixture(scope="session")
def example_x(example_network, example_pictures):
    import numpy as np
    import torch

    from explgraph import read_source
    from explgraph.images import load_input

    height, width = example_network.input.size
    objects = read_source(example_pictures).objects[:2]
    pixels = [load_input(one, height=height, width=width)[0] for one in objects]
    return example_network.preprocess(torch.from_numpy(np.stack(pixels)))


@pytest.fixture(scope="session")
def example_mined(example_coco, tmp_path_factory):
    from explgraph import MineJob, fit_workspace_part, mine_workspace
    from explgraph.images import read_source
    from explgraph.parts import Marked

    folder = tmp_path_factory.mktemp("mined") / "workspace"
    job = MineJob(example_coco, "explgraph.demo.network:demo_network", LAYERS)
    mine_workspace(folder, job, device="cpu")
    marked = [one for one in read_source(example_coco).objects if "head" in one.landmarks][:3]
    ids = tuple(one.annotation_id for one in marked)
    fit_workspace_part(folder, "head", Marked(example_coco, ids, "head"))
    return folder


@pytest.fixture
def example_folder(example_mined, tmp_path):
    return Path(shutil.copytree(example_mined, tmp_path / "workspace"))


@pytest.fixture
def example_workspace(example_folder):
    from explgraph import Workspace

    with Workspace(example_folder) as workspace:
        yield workspace


@pytest.fixture
def example_graph(example_workspace):
    return example_workspace.graph


@pytest.fixture(scope="session")
def example_peaks(example_mined):
    from explgraph import Workspace
    from explgraph.peaks import read_layer

    with Workspace(example_mined) as workspace:
        files, images = workspace.peak_files(), [one.index for one in workspace.objects_read]
        wanted = {"images": images, "n_peaks": 4, "n_facings": 2}
        return {one.name: read_layer(files, one, **wanted) for one in workspace.graph.layers}


@pytest.fixture(scope="session")
def example_known(example_mined):
    from explgraph import Workspace

    with Workspace(example_mined) as workspace:
        return workspace.known_objects()


@pytest.fixture(scope="session")
def example_head(example_known):
    from explgraph.parts import Mark, fit_marks

    marks = [Mark(1, 205.67, 87.79), Mark(2, 207.97, 96.94), Mark(3, 37.68, 97.19)]
    return fit_marks("head", marks, example_known)


@pytest.fixture
def example_out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


GIVEN = (
    "pictures",
    "coco",
    "network",
    "x",
    "folder",
    "workspace",
    "graph",
    "peaks",
    "known",
    "head",
    "out",
)


@pytest.fixture(autouse=True)
def _given_names(request, doctest_namespace):
    """The given names that a doctest uses, and only those."""
    test = getattr(request.node, "dtest", None)
    if test is None:
        return
    code = "".join(example.source for example in test.examples)
    for name in GIVEN:
        if re.search(rf"(?<![\w.]){name}\b(?!\s*=[^=])", code):
            doctest_namespace[name] = request.getfixturevalue(f"example_{name}")
