import itertools
import subprocess
import sys

import pytest
from builders.pictures import photograph
from builders.real import ROOT

from explgraph.errors import UsageError
from explgraph.figures import PatchRow, contact_sheet, save_figure
from explgraph.figures.canvas import named, show_grid


def test_nothing_of_pyplots_global_state_is_touched():
    code = "import sys, explgraph.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_workspace_is_opened_without_loading_what_only_pictures_and_mixtures_need():
    code = """if True:
        import sys, explgraph.workspace
        sys.exit(bool({'matplotlib', 'sklearn'} & set(sys.modules)))"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_files_are_whole_or_not_there(tmp_path):
    figure = contact_sheet([PatchRow("top:0:0", [photograph()], ["1"])])
    for name in ("a.png", "a.PDF", "a.svg"):
        assert save_figure(figure, tmp_path / name).stat().st_size > 500
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["a.PDF", "a.png", "a.svg"]
    (tmp_path / "folder.png").mkdir()
    for path, message in [
        (tmp_path / "b.docx", "must end in .*, got '.docx'"),
        (tmp_path / "none" / "b.png", "does not exist; create it"),
        (tmp_path / "folder.png", "is a folder"),
    ]:
        with pytest.raises(UsageError, match=message):
            save_figure(figure, path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*written, "folder.png"]


@pytest.mark.parametrize(
    "sizes", [[(40, 60)] * 7, [(20, 60), (60, 20), (40, 40), (30, 60), (50, 30)]]
)
def test_a_row_of_pictures_has_one_height_and_nothing_blank_between_them(sizes):
    images = [photograph(*size) for size in sizes]
    figure, grid = show_grid(images, columns=4, cell=2.0, title="all", titled=True)
    figure.canvas.draw()
    boxes = [axes.get_window_extent() for axes in grid]
    assert figure.get_suptitle() == "all"
    rows = {}
    for box, (height, width) in zip(boxes, sizes, strict=True):
        assert box.width / box.height == pytest.approx(width / height, rel=0.02)
        rows.setdefault(round(box.y0), []).append(box)
    assert len(rows) == 2
    for row in rows.values():
        assert len({round(box.height) for box in row}) == 1
        gaps = [right.x0 - left.x1 for left, right in itertools.pairwise(row)]
        assert gaps == pytest.approx([gaps[0]] * len(gaps), abs=0.1)
        assert gaps[0] < 10


def test_a_name_takes_the_place_of_the_layer_and_a_long_one_is_cut():
    assert named("features.12:7:0", None) == "features.12:7:0"
    assert named("features.12:7:0", "ear") == "ear  7:0"
    long = named("features.12:7:0", "the left front leg above the knee")
    assert long == "the left front leg…  7:0"
