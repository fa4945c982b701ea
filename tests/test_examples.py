"""The examples of README, tutorial and notebooks run, and type checkers are content with them."""

import shlex
import shutil
from pathlib import Path

import pytest
from builders.commands import explgraph
from builders.resnet_like import ResnetLike

from examples import NOTEBOOKS, PAGES, ROOT, blocks_of, commands_of, module_of, mypy, write_modules
from explgraph.demo import unpack_pictures

README, TUTORIAL = PAGES
N_PHOTOS = 40  # enough to be mined; they are mined twice
NOTEBOOK_LIMIT = 500_000  # bytes, with the stored pictures


def test_mypy_is_content_with_every_example(tmp_path):
    pytest.importorskip("PIL", minversion="11.0", reason="the types of older ones have holes")
    files = write_modules(tmp_path)
    assert len(files) == 4
    code, said = mypy(files)
    assert code == 0, said


def test_both_packages_say_that_they_are_typed():
    for package in ("explgraph", "storage/explgraph_storage"):
        assert (ROOT / package / "py.typed").is_file()


def test_every_page_has_examples():
    assert all(len(module_of(page).split()) > 50 for page in (*PAGES, *NOTEBOOKS))


def test_a_line_of_a_page_stands_where_it_stood():
    lines = TUTORIAL.read_text(encoding="utf-8").splitlines()
    code = module_of(TUTORIAL).splitlines()
    assert any(code)
    assert all(said == lines[number] for number, said in enumerate(code) if said)


def test_the_tutorial_runs_in_the_shell_and_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks_of(TUTORIAL):
        if block.language == "sh":
            for command in commands_of(block):
                program, *arguments = shlex.split(command)
                assert program == "explgraph"
                if arguments[0] == "demo":
                    # The tutorial needs its photographs; `scripts/wheel` runs all of it.
                    unpack_pictures(arguments[2])
                    continue
                answer = explgraph(*arguments)
                assert answer.code == 0, (command, answer.err)
        else:
            exec(compile(block.code, f"{TUTORIAL.name}, line {block.line}", "exec"), names)
    for file in ("patches", "graph", "node", "places/creatures-00001-1", "gradcam", "head"):
        assert (tmp_path / f"{file}.png").is_file()
    # Done by the shell before, so that Python found it done.
    assert names["mined"].unchanged
    assert len(names["heads"].places) == 12


def test_the_readme_runs_in_python(example_pictures, example_coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for one in sorted((example_coco.parent / "creatures").iterdir())[:N_PHOTOS]:
        shutil.copy(one, "photos")
    for name in ("photo.jpg", "other.jpg"):
        shutil.copy(example_pictures / "00001.jpg", name)
    # Published weights would be fetched. The stand-in has the layers and the outputs of a ResNet.
    monkeypatch.setattr("torchvision.models.resnet50", lambda **_: ResnetLike())
    code = module_of(README).replace('"resnet50", layers', '"builders.resnet_like:make", layers')
    names = {}
    exec(compile(code, README.name, "exec"), names)
    assert Path("zebra.png").is_file()
    assert Path("patches.png").is_file()
    assert len(names["where"].score) == 1


def test_the_commands_of_the_readme_are_understood():
    from explgraph.cli import build_parser

    commands = [
        command
        for block in blocks_of(README)
        if block.language == "sh"
        for command in commands_of(block)
        if command.startswith("explgraph ")
    ]
    assert len(commands) > 5
    for command in commands:
        build_parser().parse_args(shlex.split(command)[1:])


# Of the kernel's own packages, about sockets and event loops.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_results(path, tmp_path):
    from run_notebooks import run

    notebook = run(path, tmp_path)
    shown = [
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert shown.count("text/html") >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_outputs_and_stays_small(path):
    text = path.read_text(encoding="utf-8")
    assert '"text/html"' in text
    assert len(text) < NOTEBOOK_LIMIT
