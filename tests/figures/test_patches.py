import numpy as np
import pytest
from builders.pictures import photograph

from explgraph.errors import UsageError
from explgraph.figures import PatchRow, contact_sheet, cut_patch


def test_a_patch_is_centred_on_its_point_and_grey_beyond_the_border():
    image = photograph()
    np.testing.assert_array_equal(cut_patch(image, 30.5, 20.5, 5), image[18:23, 28:33])
    np.testing.assert_array_equal(cut_patch(image, 30.0, 20.0, 4), image[18:22, 28:32])
    corner = cut_patch(image, 58.0, 2.0, 10)
    np.testing.assert_array_equal(corner[3:, :7], image[:7, 53:])
    assert (corner[:3] == 236).all()
    assert (corner[:, 7:] == 236).all()
    for x, y in [(-500, 10), (10, 1e4)]:
        assert (cut_patch(image, x, y, 10) == 236).all()
    assert cut_patch(image, 30, 20, 200).shape == (200, 200, 3)
    with pytest.raises(UsageError, match="finite"):
        cut_patch(image, float("nan"), 3)
    with pytest.raises(UsageError, match="at least 1 pixel"):
        cut_patch(image, 3, 3, 0)


def test_a_contact_sheet_has_every_patch_and_says_whose_it_is():
    patches = [photograph(9, 9, i) for i in range(3)]
    rows = [
        PatchRow("one", patches, ["a", "b", "c"]),
        PatchRow("two", patches[:1], ["d"]),
        PatchRow("none", [], []),
    ]
    figure = contact_sheet(rows, title="a $title$")
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", "d"]
    assert [text.get_text() for text in figure.texts] == ["a $title$", "one", "two", "none"]
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert all(box.width == pytest.approx(box.height, abs=0.5) for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for empty in ([], rows[2:]):
        with pytest.raises(UsageError, match="at least one patch"):
            contact_sheet(empty)
