"""Semantic parts as the database keeps them."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from builders.commands import refused

from explgraph.queries import fit_workspace_part


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tempo": 3}, "expected settings as numbers above 0, got 3 as tempo"),
        ({"nodes": "many"}, "got 'many' as nodes"),
    ],
)
def test_settings_of_another_version_are_refused_by_name(
    workspace, scenes, tmp_path, change, words
):
    from explgraph.parts import Marked

    copy = shutil.copytree(workspace, tmp_path / "ws")
    fit_workspace_part(copy, "head", Marked(scenes.coco, (1000, 1007), "head"))
    with closing(sqlite3.connect(copy / "graph.db")) as database, database:
        ((config,),) = database.execute("SELECT config FROM semantic_parts")
        stored = json.dumps(json.loads(config) | change)
        database.execute("UPDATE semantic_parts SET config = ?", (stored,))
    line = refused(1, "part", "show", copy, "--name", "head")
    assert words in line
    assert "fit the part again" in line
