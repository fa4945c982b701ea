import math

import numpy as np
import pytest
import torch

from explgraph.peaks import column_profiles, find_peaks

CELLS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def normalised(response, std):
    """F(x) = max(f_x, 0) / std_x of one cell; what is no finite number counts as silence."""
    value = response / std
    return value if 0 < value < math.inf else 0.0


def slow_peaks(response, unit_std=None):
    """{(row, column): (value, refined row, refined column)} of all local maxima of a map."""
    height, width = response.shape
    std = [
        [1.0 if unit_std is None else float(unit_std[r, c]) for c in range(width)]
        for r in range(height)
    ]
    f = [
        [normalised(float(response[r, c]), std[r][c]) for c in range(width)] for r in range(height)
    ]
    found = {}
    for r in range(height):
        for c in range(width):
            around = [
                f[r + i][c + j] for i, j in CELLS if 0 <= r + i < height and 0 <= c + j < width
            ]
            if f[r][c] > 0 and all(f[r][c] >= other for other in around):
                row = r + vertex(f[r - 1][c], f[r][c], f[r + 1][c]) if 0 < r < height - 1 else r
                col = c + vertex(f[r][c - 1], f[r][c], f[r][c + 1]) if 0 < c < width - 1 else c
                found[r, c] = (f[r][c], row, col)
    return found


def vertex(before, peak, after):
    """Where the parabola through (-1, before), (0, peak), (1, after) is highest.

    That is -b / 2a of y = a x^2 + b x + peak.
    """
    a, b = (before + after) / 2 - peak, (after - before) / 2
    return 0.0 if a == 0 else -b / (2 * a)


def assert_same_peaks(response, n_peaks, unit_std=None):
    value, row, col = find_peaks(response, n_peaks=n_peaks, unit_std=unit_std)
    assert value.shape == row.shape == col.shape == (*response.shape[:2], n_peaks)
    assert value.dtype == row.dtype == col.dtype == torch.float32
    for i in range(response.shape[0]):
        for c in range(response.shape[1]):
            std = None if unit_std is None else unit_std[c].expand(response.shape[2:])
            slow = slow_peaks(response[i, c], std)
            strongest = sorted((v for v, _, _ in slow.values()), reverse=True)[:n_peaks]
            expected = strongest + [0.0] * (n_peaks - len(strongest))
            assert value[i, c].tolist() == pytest.approx(expected, rel=1e-5)
            found = list(
                zip(value[i, c].tolist(), row[i, c].tolist(), col[i, c].tolist(), strict=True)
            )[: len(strongest)]
            # Which of equal maxima are kept is open. Each must be a true one and come once.
            matches = [
                [k for k, s in slow.items() if s == pytest.approx(f, rel=1e-4, abs=1e-4)]
                for f in found
            ]
            assert all(matches)
            assert len({k for keys in matches for k in keys}) >= len(found)


@pytest.mark.parametrize(
    "shape", [(2, 3, 7, 9), (2, 2, 1, 8), (2, 2, 6, 1), (1, 2, 1, 1), (1, 2, 2, 2)]
)
@pytest.mark.parametrize("n_peaks", [1, 3, 60])
def test_peaks_are_those_of_a_loop_over_all_cells(shape, n_peaks):
    assert_same_peaks(maps(*shape), n_peaks)


def test_ties_and_plateaus_are_all_maxima():
    response = (
        maps(3, 4, 8, 6, seed=1).mul(2).round()
    )  # a handful of levels: ties everywhere, plateaus of two and more cells
    response[0, 0] = 1.0
    assert_same_peaks(response, 5)
    assert_same_peaks(response, 48)
    value, _, _ = find_peaks(response[:1, :1], n_peaks=48)
    assert value.tolist() == [[[1.0] * 48]]


def test_silent_and_negative_maps_have_no_peak():
    response = torch.stack([torch.zeros(5, 7), -torch.rand(5, 7)])[None]
    value, row, col = find_peaks(response, n_peaks=3)
    assert value.eq(0).all()
    assert torch.isfinite(row).all()
    assert torch.isfinite(col).all()


def test_peaks_of_the_border_stand_at_their_cell_and_inner_ones_at_the_vertex():
    response = torch.zeros(1, 1, 5, 7)
    response[0, 0, 0, 3], response[0, 0, 0, 4] = 2.0, 1.0
    response[0, 0, 3, 6], response[0, 0, 2, 6] = 1.5, 1.0
    _, row, col = find_peaks(response, n_peaks=2)
    assert row[0, 0].tolist() == pytest.approx([0, 3 + vertex(1.0, 1.5, 0.0)])
    assert col[0, 0].tolist() == pytest.approx([3 + vertex(0.0, 2.0, 1.0), 6])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (3, 1, 4, 6), (2, 3, 1, 5), (2, 3, 5, 1)])
def test_the_memory_layout_does_not_matter(layout, shape):
    response, std = maps(*shape, seed=2), maps(*shape[1:], seed=3).abs() + 0.1
    expected = find_peaks(response, n_peaks=4, unit_std=std)
    got = find_peaks(response.contiguous(memory_format=layout), n_peaks=4, unit_std=std)
    sliced = find_peaks(
        torch.cat([response, response], 3)[..., : shape[3]], n_peaks=4, unit_std=std
    )
    for one, other, third in zip(expected, got, sliced, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)


@pytest.mark.parametrize("per_unit", [True, False])
def test_responses_are_measured_in_deviations_of_their_unit(per_unit):
    response = maps(2, 3, 6, 8, seed=4)
    std = (
        maps(3, 6, 8, seed=5).abs() + 0.2
        if per_unit
        else torch.tensor([0.5, 2.0, 3.0]).reshape(3, 1, 1)
    )
    assert_same_peaks(response, 4, std)


def test_a_unit_of_infinite_deviation_never_peaks():
    response, std = maps(2, 2, 6, 8, seed=6).abs() + 1, torch.ones(2, 6, 8)
    std[0], std[1, :, :4] = torch.inf, torch.inf
    value, _, col = find_peaks(response, n_peaks=48, unit_std=std)
    assert value[:, 0].eq(0).all()
    assert col[:, 1][value[:, 1] > 0].min() >= 3.5
    assert_same_peaks(response, 4, std)


def test_responses_that_are_no_numbers_count_as_silence():
    response = maps(1, 2, 5, 7, seed=7).abs() + 0.1
    response[0, 0, 2, 2], response[0, 0, 0, 5], response[0, 1, 4, 4] = (
        torch.nan,
        torch.inf,
        -torch.inf,
    )
    value, row, col = find_peaks(response, n_peaks=35)
    assert all(torch.isfinite(t).all() for t in (value, row, col))
    silent = response.nan_to_num(0.0, posinf=0.0, neginf=0.0)
    for got, expected in zip((value, row, col), find_peaks(silent, n_peaks=35), strict=True):
        assert torch.equal(got, expected)
    loud = find_peaks(response, n_peaks=2, unit_std=torch.full((2, 1, 1), torch.inf))
    assert loud[0].eq(0).all()


def test_values_fit_into_the_half_precision_of_the_peak_store():
    value, _, _ = find_peaks(
        torch.full((1, 1, 1, 2), 3.0), n_peaks=1, unit_std=torch.full((1, 1, 1), 1e-9)
    )
    assert torch.isfinite(value.half()).all()
    assert value.item() > 6e4


def test_a_sampled_quadratic_gives_its_vertex_back():
    generator = torch.Generator().manual_seed(8)
    at_row, at_col = (
        torch.rand(20, generator=generator) * 5 + 2,
        torch.rand(20, generator=generator) * 7 + 2,
    )
    curvature = torch.rand(20, 2, generator=generator) + 0.2
    rows, cols = torch.arange(9.0)[:, None], torch.arange(11.0)[None]
    height = lambda k: (
        200 - curvature[k, 0] * (rows - at_row[k]) ** 2 - curvature[k, 1] * (cols - at_col[k]) ** 2
    )
    response = torch.stack([height(k) for k in range(20)])[:, None]
    value, row, col = find_peaks(response, n_peaks=2)
    assert value[:, 0, 1].eq(0).all()
    np.testing.assert_allclose(row[:, 0, 0], at_row, rtol=0, atol=1e-3)
    np.testing.assert_allclose(col[:, 0, 0], at_col, rtol=0, atol=1e-3)


def test_neither_order_nor_size_of_the_batch_matters():
    response, std = maps(7, 3, 6, 9, seed=10), maps(3, 6, 9, seed=11).abs() + 0.1
    whole = find_peaks(response, n_peaks=5, unit_std=std)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    shuffled = find_peaks(response[order], n_peaks=5, unit_std=std)
    parts = [find_peaks(part, n_peaks=5, unit_std=std) for part in response.split(3)]
    for k in range(3):
        assert torch.equal(shuffled[k], whole[k][order])
        assert torch.equal(torch.cat([part[k] for part in parts]), whole[k])


def test_a_batch_without_images_has_no_peaks():
    value, row, col = find_peaks(torch.zeros(0, 3, 6, 9), n_peaks=4)
    assert value.shape == row.shape == col.shape == (0, 3, 4)


def test_mirrored_maps_give_mirrored_peaks():
    response, std = maps(4, 3, 8, 11, seed=12), maps(3, 8, 11, seed=13).abs() + 0.1
    value, row, col = find_peaks(response, n_peaks=5, unit_std=std)
    value_, row_, col_ = find_peaks(response.flip(-1), n_peaks=5, unit_std=std.flip(-1))
    there = value > 0
    assert torch.equal(value_, value)
    np.testing.assert_allclose(row_[there], row[there], rtol=0, atol=1e-5)
    np.testing.assert_allclose(col_[there], 10 - col[there], rtol=0, atol=1e-5)


def test_fewer_peaks_are_the_first_of_more():
    response = maps(3, 2, 9, 7, seed=14)
    more, fewer = find_peaks(response, n_peaks=8), find_peaks(response, n_peaks=3)
    for one, other in zip(fewer, more, strict=True):
        assert torch.equal(one, other[..., :3])


# Profiles.


def slow_profiles(response, n_columns, unit_std=None):
    """The mean of F over each strip; a cell shares out its F among the strips it overlaps."""
    n, channels, height, width = response.shape
    out = np.zeros((n, channels, n_columns))
    for i, c, row, col in np.ndindex(*response.shape):
        f = normalised(
            float(response[i, c, row, col]),
            1.0 if unit_std is None else float(unit_std[c].expand(height, width)[row, col]),
        )
        for k in range(n_columns):
            start, end = k * width / n_columns, (k + 1) * width / n_columns
            out[i, c, k] += (
                f * max(min(col + 1, end) - max(col, start), 0) / (height * (end - start))
            )
    return out


@pytest.mark.parametrize("width", [16, 8, 13, 20, 7, 3, 1])
def test_profiles_are_means_over_strips_that_may_end_within_a_cell(width):
    response = maps(2, 3, 5, width, seed=20)
    got = column_profiles(response, n_columns=8)
    assert got.shape == (2, 3, 8)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, slow_profiles(response, 8), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        got.mean(2), response.clamp_min(0).mean((2, 3)), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("n_columns", [1, 3, 8])
@pytest.mark.parametrize("per_unit", [True, False])
def test_profiles_are_measured_in_deviations_of_their_unit(per_unit, n_columns):
    response = maps(2, 3, 6, 11, seed=21)
    std = (
        maps(3, 6, 11, seed=22).abs() + 0.2
        if per_unit
        else torch.tensor([0.5, 2.0, torch.inf]).reshape(3, 1, 1)
    )
    got = column_profiles(response, n_columns=n_columns, unit_std=std)
    np.testing.assert_allclose(got, slow_profiles(response, n_columns, std), rtol=1e-4, atol=1e-6)
    assert per_unit or got[:, 2].eq(0).all()


@pytest.mark.parametrize("width", [16, 13, 9, 5, 3])
def test_the_profile_of_a_flipped_map_is_the_flipped_profile(width):
    response, std = maps(4, 3, 6, width, seed=23), maps(3, 6, width, seed=24).abs() + 0.1
    flipped = column_profiles(response.flip(3), n_columns=8, unit_std=std.flip(2))
    np.testing.assert_allclose(
        flipped, column_profiles(response, n_columns=8, unit_std=std).flip(2), rtol=1e-4, atol=1e-6
    )


def test_silence_has_an_empty_profile_and_a_batch_without_images_none():
    assert column_profiles(-torch.rand(2, 3, 4, 5), n_columns=8).eq(0).all()
    assert column_profiles(torch.zeros(0, 3, 6, 9), n_columns=8).shape == (0, 3, 8)


def test_the_batch_and_the_memory_layout_do_not_matter_to_profiles():
    response = maps(5, 3, 6, 9, seed=25)
    whole = column_profiles(response, n_columns=8)
    parts = torch.cat([column_profiles(part, n_columns=8) for part in response.split(2)])
    assert torch.equal(parts, whole)
    last = column_profiles(response.contiguous(memory_format=torch.channels_last), n_columns=8)
    np.testing.assert_allclose(last, whole, rtol=1e-5, atol=1e-7)


def test_profiles_fit_into_the_half_precision_of_the_peak_store():
    profile = column_profiles(
        torch.full((1, 1, 1, 2), 3.0), n_columns=8, unit_std=torch.full((1, 1, 1), 1e-9)
    )
    assert torch.isfinite(profile.half()).all()
    assert profile.min() > 6e4


def test_responses_that_are_no_numbers_count_as_silence_in_a_profile_too():
    response = maps(1, 2, 5, 7, seed=7).abs() + 0.1
    response[0, 0, 2, 2], response[0, 0, 0, 5], response[0, 1, 4, 4] = (
        torch.nan,
        torch.inf,
        -torch.inf,
    )
    got = column_profiles(response, n_columns=8)
    np.testing.assert_allclose(got, slow_profiles(response, 8), rtol=1e-4, atol=1e-6)
