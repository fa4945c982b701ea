"""The names of the package itself: all there, all listed, none loaded before it is asked for."""

import re
from pathlib import Path

import explgraph

ROOT = Path(__file__).parents[1]


def test_every_public_name_can_be_had_and_is_listed():
    assert len(explgraph.__all__) > 20
    for name in explgraph.__all__:
        assert getattr(explgraph, name) is not None
        assert name in dir(explgraph)


def test_every_public_name_stands_in_the_docstring():
    missing = [name for name in explgraph.__all__ if f"`{name}`" not in (explgraph.__doc__ or "")]
    assert not missing


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(explgraph, "no_such_name")


def test_the_version_is_that_of_the_citation_and_of_the_changelog():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = f"{explgraph.__version__} - {re.findall(r'^date-released: (.*)$', citation, re.M)[0]}"
    assert re.findall(r"^version: (.*)$", citation, re.M) == [explgraph.__version__]
    assert re.findall(r"^## (\d.*)$", changes, re.M)[0] == dated
