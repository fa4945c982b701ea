"""The names in the pages are those of the code, and the links lead somewhere."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import explgraph

ROOT = Path(__file__).parents[1]
# The changelog names what is gone.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
ROOMS = sorted(
    one.stem for one in (ROOT / "explgraph").iterdir() if one.is_dir() or one.suffix == ".py"
)


def named(page):
    return page.relative_to(ROOT).as_posix()


def resolves(name):
    """Whether a dotted name is a module or something in one, such as ``a.module.Class.method``."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if not hasattr(found, attribute):
                return attribute in fields
            found = getattr(found, attribute)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_names_of_the_pages_are_in_the_code(page):
    text = page.read_text(encoding="utf-8")
    full = re.findall(r"\bexplgraph(?:_storage)?(?:\.[A-Za-z_]\w*)+", text)
    short = re.findall(rf"`((?:{'|'.join(ROOMS)})(?:\.[A-Za-z_]\w*)+)`", text)
    files = re.findall(r"\b(?:explgraph|storage|tests|scripts|benchmarks)/[\w./]+", text)
    files = [one for one in files if not one.endswith(".md")]  # links have a test of their own
    names = {name for name in full if not name.endswith((".py", ".git"))}
    names |= {
        f"explgraph.{name}"
        for name in short
        if ".db" not in name and not name.endswith((".py", ".md"))
    }
    missing = sorted(name for name in names if not resolves(name))
    missing += sorted(one for one in set(files) if not (ROOT / one.rstrip(".")).exists())
    assert not missing, missing


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=named)
def test_links_lead_to_files_and_sections_that_are_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, section = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if section:
            text = file.read_text(encoding="utf-8")
            titles = [
                re.sub(r"[^\w -]", "", t.lower()) for t in re.findall(r"^#+ (.*)$", text, re.M)
            ]
            assert section in [title.strip().replace(" ", "-") for title in titles], target


def test_every_public_name_stands_in_the_api_reference():
    pages = [page.read_text(encoding="utf-8") for page in ROOT.glob("docs/api/*.md")]
    shown = re.findall(r"^::: (\S+)$", "\n".join(pages), re.M)
    assert sorted({f"explgraph.{name}" for name in explgraph.__all__} - set(shown)) == []
    assert sorted({name for name in shown if shown.count(name) > 1}) == []
    assert [name for name in shown if not resolves(name)] == []


def test_every_room_is_in_the_page_about_the_house():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [room for room in ROOMS if not room.startswith("__")]
    assert all(f"`explgraph.{room}`" in text for room in rooms)
