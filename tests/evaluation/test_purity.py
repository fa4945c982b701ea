"""Purity: patches on one landmark, and what raters say of them."""

import numpy as np
import pytest

from explgraph.errors import UsageError
from explgraph.evaluation import score_answers, score_purity

OBJECTS, LANDMARKS = 60, 4


def followers(noise, *, nodes=40, seed=0):
    """Nodes each of which follows one landmark but for the noise."""
    rng = np.random.default_rng(seed)
    marks = rng.random((OBJECTS, LANDMARKS, 2))
    followed = np.arange(nodes) % LANDMARKS
    place = marks[:, followed] + rng.normal(0, noise, (OBJECTS, nodes, 2))
    return place, rng.random((OBJECTS, nodes)), marks


def slowly(place, score, marks):
    """The definition, node by node and patch by patch."""
    shares = []
    for node in range(place.shape[1]):
        objects = [i for i in range(len(place)) if not np.isnan(marks[i]).any()]
        best = sorted(objects, key=lambda i: -score[i, node])[:20]
        nearest = [
            min(
                range(marks.shape[1]),
                key=lambda k: np.hypot(*(place[i, node] - marks[i, k])),
            )
            for i in best
        ]
        shares.append(max(nearest.count(k) for k in range(marks.shape[1])) / len(best))
    return np.mean(shares)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_it_is_the_share_of_the_landmark_that_is_nearest_most_often(noise):
    place, score, marks = followers(noise)
    marks[::7, 1] = np.nan
    found = score_purity(place, score, marks)
    assert found.purity == pytest.approx(slowly(place, score, marks))
    assert found.objects == OBJECTS - len(range(0, OBJECTS, 7))
    assert found.nodes == 40


def test_nodes_that_follow_landmarks_are_pure_and_noise_is_as_pure_as_chance():
    assert score_purity(*followers(0.0)).purity == 1
    place, score, marks = followers(0.0, nodes=400)
    anywhere = np.random.default_rng(1).permuted(place, axis=0)  # places of other objects
    found = score_purity(anywhere, score, marks)
    assert found.purity == pytest.approx(found.chance, abs=0.02)
    assert abs(found.beyond_chance) < 0.04


def test_chance_does_not_depend_on_which_node_is_which():
    place, score, marks = followers(0.05)
    found = score_purity(place, score, marks)
    assert 1 / LANDMARKS < found.chance < 0.5 < found.purity


def test_without_an_object_that_shows_all_landmarks_there_is_no_figure():
    place, score, marks = followers(0.1)
    marks[:, 0] = np.nan
    found = score_purity(place, score, marks)
    assert found.objects == 0
    assert np.isnan(found.purity)


KIND_OF = {"1": "nodes", "2": "raw filters", "3": "nodes", "4": "raw filters"}
PATCHES = dict.fromkeys(KIND_OF, 10)


def said(**rows):
    return {name.lstrip("r"): frozenset(range(n)) for name, n in rows.items()}


def test_raters_are_averaged_row_by_row():
    answers = {"ann": said(r1=10, r2=2, r3=8), "ben": said(r1=8, r2=0)}
    found = score_answers(KIND_OF, PATCHES, answers)
    assert found.kinds["nodes"].purity == pytest.approx((0.9 + 0.8) / 2)
    assert found.kinds["nodes"].standard_error == pytest.approx(0.05)
    # No two alike: a group of one.
    assert found.kinds["raw filters"].purity == pytest.approx((0.2 + 0.1) / 2)
    assert found.kinds["raw filters"].rows == 1
    assert found.difference == pytest.approx(0.7)
    assert found.raters == 2


def test_agreement_is_that_of_pairs_and_kappa_is_what_chance_leaves_of_it():
    same = said(r1=7, r2=3)
    assert score_answers(KIND_OF, PATCHES, {"a": same, "b": same}).kappa == 1
    rng = np.random.default_rng(0)
    patches = {str(row): 20 for row in range(200)}
    draw = lambda: {
        row: frozenset(np.flatnonzero(rng.random(20) < 0.7).tolist()) for row in patches
    }
    found = score_answers(dict.fromkeys(patches, "nodes"), patches, {"a": draw(), "b": draw()})
    assert found.agreement == pytest.approx(0.58, abs=0.02)
    assert found.kappa == pytest.approx(0, abs=0.05)
    assert np.isnan(score_answers(KIND_OF, PATCHES, {"a": same}).agreement)


@pytest.mark.parametrize("rows", [{"9": frozenset({1})}, {"1": frozenset({10})}])
def test_what_is_not_on_the_sheet_is_refused(rows):
    with pytest.raises(UsageError, match="not on the sheet"):
        score_answers(KIND_OF, PATCHES, {"ann": rows})


def test_a_sheet_that_nobody_answered_has_no_figure():
    with pytest.raises(UsageError, match="no row is answered"):
        score_answers(KIND_OF, PATCHES, {"ann": {}})
