"""The estimator keeps scikit-learn's manners and says what the functions say."""

import pickle

import numpy as np
import pytest
from builders.tiny_network import make
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from explgraph.errors import UsageError
from explgraph.images import load_input, read_source
from explgraph.locations import locate_images
from explgraph.mining import mine_images
from explgraph.queries import ExplanatoryGraphMiner

LAYERS = ("features.2", "features.4")


@pytest.fixture(scope="module")
def pixels(scenes):
    objects = read_source(scenes.folder).objects
    return np.stack([load_input(one, height=48, width=64)[0] for one in objects])


@pytest.fixture(scope="module")
def fitted(pixels):
    return ExplanatoryGraphMiner(make(), LAYERS).fit(pixels)


def test_it_is_the_graph_and_the_scores_of_the_functions(fitted, pixels):
    graph = mine_images(make(), pixels, LAYERS)
    assert list(fitted.graph_.nodes(data=True)) == list(graph.nodes(data=True))
    found = locate_images(make(), pixels, graph)
    assert np.array_equal(fitted.transform(pixels), found.score)
    assert tuple(fitted.get_feature_names_out()) == found.nodes


def test_places_have_a_row_and_a_column_for_each_node(fitted, pixels):
    other = clone(fitted).set_params(output="places").fit(pixels)
    places = other.transform(pixels)
    assert np.array_equal(places.reshape(len(pixels), -1, 2), fitted.locate(pixels).place)
    assert other.get_feature_names_out()[0] == f"{fitted.get_feature_names_out()[0]} row"
    with pytest.raises(UsageError, match="output must be 'scores' or 'places'"):
        fitted.set_params(output="both").transform(pixels)
    fitted.set_params(output="scores")


def test_it_stands_in_a_pipeline_and_gives_a_table_where_one_is_wanted(pixels):
    miner = ExplanatoryGraphMiner(make(), LAYERS, nodes=1).set_output(transform="pandas")
    table = miner.fit_transform(pixels)
    assert list(table.columns) == list(miner.graph_.ordered_nodes())
    scaled = make_pipeline(ExplanatoryGraphMiner(make(), LAYERS, nodes=1), StandardScaler())
    assert scaled.fit_transform(pixels).shape == table.shape


def test_it_needs_a_model_and_to_be_fitted(pixels):
    with pytest.raises(UsageError, match="needs a network"):
        ExplanatoryGraphMiner().fit(pixels)
    with pytest.raises(NotFittedError):
        ExplanatoryGraphMiner(make(), LAYERS).transform(pixels)


class _Tabled(ExplanatoryGraphMiner):
    """The same, said to take tables: scikit-learn skips every check of others."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.no_validation = True, False
        return tags


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_the_checks_of_scikit_learn_that_apply():
    """Those that hand over a table, (n, features), cannot apply: it is refused as no images."""
    pytest.importorskip("sklearn", minversion="1.6", reason="older ones offer no such list")
    from sklearn.utils.estimator_checks import estimator_checks_generator

    passed, refused, failed = set(), set(), {}
    for estimator, check in estimator_checks_generator(_Tabled(make(), LAYERS)):
        name = check.func.__name__
        try:
            check(estimator)
        except UsageError as error:
            refused.add(name) if "image" in str(error) else failed.update({name: str(error)})
        except Exception as error:  # what the check itself asserts
            failed[name] = repr(error)
        else:
            passed.add(name)
    assert passed >= {
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimators_unfitted",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_transformers_unfitted",
        "check_valid_tag_types",
    }
    assert len(refused) > 20
    # These wait for an error of scikit-learn's own about a table.
    assert failed.keys() <= {
        "check_array_api_input",
        "check_dtype_object",
        "check_estimator_sparse_array",
        "check_estimator_sparse_matrix",
        "check_estimators_empty_data_messages",
        "check_estimators_nan_inf",
        "check_positive_only_tag_during_fit",
    }


def test_what_those_checks_ask_of_tables_holds_for_images(fitted, pixels):
    before, expected = dict(vars(fitted)), fitted.transform(pixels)
    again = clone(fitted).fit(pixels)
    assert np.array_equal(again.transform(pixels), expected)  # idempotent
    assert vars(fitted) == before  # nothing is overwritten, nothing added
    assert fitted.fit(pixels) is fitted
    order = np.random.default_rng(0).permutation(len(pixels))
    np.testing.assert_allclose(fitted.transform(pixels[order]), expected[order], atol=1e-5)
    np.testing.assert_allclose(fitted.transform(pixels[:3]), expected[:3], atol=1e-5)
    kept = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(kept.transform(pixels), expected)
