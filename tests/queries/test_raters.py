"""The raters' sheet is blinded, works offline, and its answers are scored with the key."""

import json

import pytest
from builders.commands import explgraph, refused


@pytest.fixture(scope="module")
def sheet(workspace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raters") / "sheet"
    answer = explgraph("evaluate", workspace, "--raters", folder, "--rows", 3, "--json")
    assert answer.json()["rows"] == 6
    return folder


@pytest.fixture(scope="module")
def key(sheet):
    return sheet.with_name("sheet.key.json")


def write(path, sheet, rater, answers):
    path.write_text(json.dumps({"sheet": sheet, "rater": rater, "answers": answers}))
    return path


def test_the_page_is_one_file_that_tells_nothing_of_what_it_shows(sheet, key, workspace):
    page = (sheet / "index.html").read_text()
    rows = json.loads(key.read_text())["rows"]
    assert page.count("<section") == 6
    assert page.count("<img") == sum(one["patches"] for one in rows.values())
    assert "://" not in page  # nothing is loaded
    for secret in ("features", "nodes", "raw", str(workspace), "scene"):
        assert secret not in page.replace("No two", "")
    assert sorted(path.name for path in sheet.iterdir()) == ["index.html", "template.csv"]


def test_the_same_seed_draws_the_same_sheet_and_another_one_another(workspace, key, tmp_path):
    same = lambda name, *more: explgraph(
        "evaluate", workspace, "--raters", tmp_path / name, "--rows", 3, *more
    )
    assert same("a").code == same("b", "--seed", 5).code == 0
    assert (tmp_path / "a.key.json").read_text() == key.read_text()
    assert (tmp_path / "b.key.json").read_text() != key.read_text()


def test_answers_of_the_page_and_of_the_template_are_scored(sheet, key, workspace, tmp_path):
    known = json.loads(key.read_text())
    pure = {
        row: list(range(1, one["patches"] + 1)) if one["kind"] == "nodes" else [1]
        for row, one in known["rows"].items()
    }
    ann = write(tmp_path / "ann.json", known["sheet"], "ann", pure)
    lines = (sheet / "template.csv").read_text().splitlines()
    filled = [lines[0]]
    for line in lines[1:]:
        digest, _, row, _ = line.split(",")
        filled.append(f"{digest},ben,{row},{' '.join(map(str, pure[row])) if row != '1' else ''}")
    (tmp_path / "ben.csv").write_text("\n".join(filled))
    asked = ("evaluate", workspace, "--answers", ann, "--answers", tmp_path / "ben.csv")
    found = explgraph(*asked, "--key", key, "--json").json()
    assert found["raters"] == 2
    assert found["kinds"]["nodes"]["purity"] == 1
    assert found["kinds"]["raw filters"]["purity"] < 0.2
    assert found["agreement"] == found["kappa"] == 1
    assert "kappa 1.000" in explgraph(*asked, "--key", key).out


def test_answers_that_do_not_fit_are_refused(key, workspace, tmp_path):
    sheet = json.loads(key.read_text())["sheet"]
    ask = lambda *files: ("evaluate", workspace, *files, "--key", key)
    other = write(tmp_path / "other.json", "ff", "ann", {"1": [1]})
    assert "another sheet" in refused(2, *ask("--answers", other))
    ann = write(tmp_path / "ann.json", sheet, "ann", {"1": [1]})
    assert "answered already" in refused(2, *ask("--answers", ann, "--answers", ann))
    (tmp_path / "broken.json").write_text("{")
    assert "no answers" in refused(1, *ask("--answers", tmp_path / "broken.json"))
    assert "no key" in refused(1, "evaluate", workspace, "--answers", ann, "--key", ann)
    assert "go together" in refused(2, "evaluate", workspace, "--answers", ann)
    assert "give --dataset" in refused(2, "evaluate", workspace)


def test_without_the_photographs_there_is_no_sheet(workspace, scenes, tmp_path):
    hidden = scenes.coco.parent.with_name("away")
    scenes.coco.parent.rename(hidden)
    try:
        assert "photographs" in refused(1, "evaluate", workspace, "--raters", tmp_path / "s")
    finally:
        hidden.rename(scenes.coco.parent)
