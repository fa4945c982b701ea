import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.samples import CONFIG, LOW, TOP, sample

from explgraph.errors import GraphError
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.locations import Locator, layer_peaks
from explgraph.mining import mine, summarise
from explgraph.mining.facing import profile_of
from explgraph.mining.place import MISSING, ROUNDS, STRONG
from explgraph.mining.pose import WITNESSES
from explgraph.peaks import LayerPeaks, MapPeaks

MIDDLE = Layer("middle", 8, 11, 14, (12.0, 12.0), (6.0, 6.0), (48.0, 48.0))
LAYERS = (TOP, MIDDLE, LOW)


@pytest.fixture(scope="module")
def known():
    return sample(5, images=5, n_images=80, layers=LAYERS)


@pytest.fixture(scope="module")
def mined(known):
    return mine(known.layers, CONFIG)


@pytest.fixture(scope="module")
def graph(mined):
    return mined.graph


def by_name(layers):
    return {peaks.layer.name: peaks for peaks in layers}


@pytest.fixture(scope="module")
def located(graph, known):
    return Locator(graph).locate(by_name(known.layers))


def assert_same(one, other, atol=0.0):
    assert one.nodes == other.nodes
    assert np.array_equal(one.mirrored, other.mirrored)
    np.testing.assert_allclose(one.place, other.place, rtol=0, atol=atol)
    np.testing.assert_allclose(one.score, other.score, rtol=0, atol=atol)


def test_the_miners_own_places_and_facing_come_out_again(mined, located):
    assert located.nodes == tuple(mined.graph)
    assert located.place.shape == (80, len(located.nodes), 2)
    assert located.score.shape == (80, len(located.nodes))
    assert located.place.dtype == located.score.dtype == np.float32
    assert np.array_equal(located.mirrored, mined.mirrored.numpy())
    assert 0 < located.mirrored.sum() < 80
    start = 0
    for layer, kept in zip(mined.layers, mined.kept, strict=True):
        here, start = slice(start, start + len(kept)), start + len(kept)
        row, col = layer.places.place[kept].numpy().transpose(1, 2, 0)
        score = layer.score[kept].T.numpy()
        np.testing.assert_allclose(located.place[:, here, 0], row, rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            located.place[:, here, 1],
            np.where(located.mirrored[:, None], 1 - col, col),
            rtol=0,
            atol=1e-5,
        )
        np.testing.assert_allclose(located.score[:, here], score, rtol=1e-4, atol=1e-5)


def found_by_loops(graph, peaks, image, facing, pose, covariance):
    """Return {node: (expected place, place, evidence)} of one image, node by node from the top:

    m_V = mu_V + Lambda_V t + sum of w (p_V' - mu_V' - Lambda_V' t),
    p_V = m_V + sum of e_x (p_x - m_V) / (sum of e_x + MISSING),
    looked for with the variance sigma_V^2 + tr(Lambda_V C Lambda_V') / 2.
    """
    found, still = {}, {}
    for layer in graph.layers:
        for name in graph.nodes_of(layer.name):
            node, of = graph.nodes[name], peaks[layer.name]
            still[name] = (
                np.array([node["row"], node["col"]]) + np.reshape(node["loadings"], (2, -1)) @ pose
            )
            expected = still[name].copy()
            for upper in graph.predecessors(name):
                expected += graph.edges[upper, name]["weight"] * (found[upper][1] - still[upper])
            value, row, col = (
                t[facing, node["channel"], :, image].double().numpy()
                for t in (of.value, of.row, of.col)
            )
            offset = np.stack([row, col], 1) - expected
            loadings = np.reshape(node["loadings"], (2, -1))
            variance = node["std"] ** 2 + np.trace(loadings @ covariance @ loadings.T) / 2
            evidence = value * np.exp(-(offset**2).sum(1) / 2 / variance)
            found[name] = (
                expected,
                expected + evidence @ offset / (evidence.sum() + MISSING),
                evidence.sum(),
            )
    return found


def seen_by_peaks(node, expected, place, evidence):
    """Return the mean place of the node's peaks and how surely it was seen."""
    presence = evidence / (evidence + MISSING)
    return expected + (place - expected) / max(presence, 1e-6), presence


def pose_by_loops(graph, found):
    """The posterior mean and covariance of the pose of one image, given where its nodes are.

    Each node counts as WITNESSES / nodes.
    """
    q = len(next(iter(graph.nodes.values()))["loadings"]) // 2
    left, right = np.eye(q), np.zeros(q)
    for name, of_image in found.items():
        node = graph.nodes[name]
        seen, presence = seen_by_peaks(node, *of_image)
        loadings = np.reshape(node["loadings"], (2, -1))
        weight = min(1, WITNESSES / len(graph)) * presence / node["std"] ** 2
        left += weight * loadings.T @ loadings
        right += weight * loadings.T @ (seen - [node["row"], node["col"]])
    return np.linalg.solve(left, right), np.linalg.inv(left)


def scores_by_loops(graph, found):
    """{node: score}: strength of evidence times the mean likelihood of the nodes' places."""
    weights, misfit = {}, 0.0
    for name, (expected, place, evidence) in found.items():
        node = graph.nodes[name]
        seen, presence = seen_by_peaks(node, expected, place, evidence)
        weights[name] = presence * node["communality"]
        misfit += weights[name] * ((seen - expected) ** 2).sum() / 2 / node["std"] ** 2
    likelihood = np.exp(-misfit / sum(weights.values()))
    return {
        name: evidence / (evidence + STRONG) * likelihood
        for name, (_, _, evidence) in found.items()
    }


def test_places_and_scores_are_those_of_loops_over_nodes_and_peaks(graph, known, located):
    peaks, column = by_name(known.layers), {name: i for i, name in enumerate(located.nodes)}
    for image in (0, 7, 41):
        facing = int(located.mirrored[image])
        q = len(graph.nodes[located.nodes[0]]["loadings"]) // 2
        pose, covariance = np.zeros(q), np.eye(q)
        for _ in range(ROUNDS):
            found = found_by_loops(graph, peaks, image, facing, pose, covariance)
            pose, covariance = pose_by_loops(graph, found)
        found = found_by_loops(graph, peaks, image, facing, pose, covariance)
        scores = scores_by_loops(graph, found)
        for name, (_, place, _) in found.items():
            shown = [place[0], 1 - place[1] if facing else place[1]]
            np.testing.assert_allclose(located.place[image, column[name]], shown, atol=1e-5)
            assert located.score[image, column[name]] == pytest.approx(
                scores[name], rel=1e-3, abs=1e-5
            )


def test_scores_lie_between_zero_and_one(located):
    assert located.score.min() >= 0
    assert 0.3 < located.score.max() < 1


def test_a_graph_that_does_not_sway_locates_around_parents_alone(graph, known):
    """So do graphs from before there was a pose; their scores are the evidence's strength."""
    still = copied(graph)
    for name in still:
        del still.nodes[name]["loadings"]
    located, zero = Locator(still).locate(by_name(known.layers)), copied(graph)
    for name in zero:
        zero.nodes[name]["loadings"] = (0.0, 0.0)
    assert_same(Locator(zero).locate(by_name(known.layers)), located)
    assert located.score.max() > 0.3
    for name in still:
        still.nodes[name]["loadings"] = (0.0,) * 2
    peaks, column = by_name(known.layers), {name: i for i, name in enumerate(located.nodes)}
    for image in (3, 20):
        facing = int(located.mirrored[image])
        still_found = found_by_loops(still, peaks, image, facing, np.zeros(1), np.eye(1))
        for name, (_, place, _) in still_found.items():
            shown = [place[0], 1 - place[1] if facing else place[1]]
            np.testing.assert_allclose(located.place[image, column[name]], shown, atol=1e-5)


def test_loadings_of_fewer_dimensions_count_as_zero_in_the_others(graph, known):
    short, long = copied(graph), copied(graph)
    for name in list(graph)[::3]:
        row, col = np.reshape(graph.nodes[name]["loadings"], (2, -1))[:, :2].tolist()
        short.nodes[name]["loadings"] = (*row, *col)
        zeros = [0.0] * (len(graph.nodes[name]["loadings"]) // 2 - 2)
        long.nodes[name]["loadings"] = (*row, *zeros, *col, *zeros)
    assert_same(
        Locator(short).locate(by_name(known.layers)), Locator(long).locate(by_name(known.layers))
    )


def copied(graph, *, nodes=None):
    """A graph made anew from plain attributes, the nodes in another order if given."""
    copy = ExplanatoryGraph()
    copy.graph["layers"] = tuple(Layer(**vars(layer)) for layer in graph.layers)
    copy.graph["facing"] = json.loads(json.dumps(graph.facing))
    for name in nodes or graph:
        copy.add_pattern(**dict(graph.nodes[name]))
    for upper, lower, attributes in reversed(list(graph.edges(data=True))):
        copy.add_edge(upper, lower, **dict(attributes))
    return copy.check()


def test_a_graph_rebuilt_from_its_attributes_locates_alike(graph, known, located):
    assert_same(Locator(copied(graph)).locate(by_name(known.layers)), located, atol=1e-5)


def test_the_order_of_the_nodes_does_not_matter(graph, known, located):
    shuffled = np.random.default_rng(0).permutation(list(graph)).tolist()
    other = Locator(copied(graph, nodes=shuffled)).locate(by_name(known.layers))
    assert other.nodes != located.nodes
    order = [other.nodes.index(name) for name in located.nodes]
    np.testing.assert_allclose(other.place[:, order], located.place, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.score[:, order], located.score, rtol=0, atol=1e-5)


def test_mirrored_photographs_have_mirrored_places(graph, known, located):
    turned = [
        replace(x, value=x.value.flip(0), row=x.row.flip(0), col=x.col.flip(0))
        for x in known.layers
    ]
    other = Locator(graph).locate(by_name(turned))
    assert np.array_equal(other.mirrored, ~located.mirrored)
    np.testing.assert_allclose(other.place[..., 0], located.place[..., 0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(other.place[..., 1], 1 - located.place[..., 1], rtol=0, atol=1e-6)
    assert np.array_equal(other.score, located.score)


def test_each_image_is_located_as_if_it_were_alone(graph, known, located):
    locator = Locator(graph)
    for part in (slice(0, 1), slice(3, 17), slice(70, 80)):
        some = locator.locate(by_name([x.images(part) for x in known.layers]))
        np.testing.assert_allclose(some.place, located.place[part], rtol=0, atol=1e-5)
        assert np.array_equal(some.mirrored, located.mirrored[part])


def test_no_images_have_no_places(graph, known):
    nothing = Locator(graph).locate(by_name([x.images(slice(0, 0)) for x in known.layers]))
    assert nothing.place.shape == (0, len(graph), 2)
    assert nothing.mirrored.shape == (0,)


def test_with_one_facing_nothing_is_mirrored(graph, known):
    plain = [LayerPeaks(x.layer, x.value[:1], x.row[:1], x.col[:1]) for x in known.layers]
    assert not Locator(graph).locate(by_name(plain)).mirrored.any()


def test_an_image_without_peaks_has_every_node_where_it_is_expected(graph, known):
    silent = [replace(x, value=torch.zeros_like(x.value)) for x in known.layers]
    found = Locator(graph).locate(by_name(silent))
    means = np.array(
        [[graph.nodes[name]["row"], graph.nodes[name]["col"]] for name in found.nodes], np.float32
    )
    np.testing.assert_allclose(
        found.place, np.broadcast_to(means, found.place.shape), rtol=0, atol=1e-6
    )
    assert not found.score.any()
    assert not found.mirrored.any()


def test_edges_that_pad_a_node_do_not_matter(graph, known):
    """Nodes with few parents are padded; what they are padded with must have no say."""
    few = copied(graph)
    lower = list(few.nodes_of("low"))
    for name in lower[::2]:
        few.remove_edges_from([(parent, name) for parent in few.parents(name)[1:]])
    few.remove_edges_from(list(few.in_edges(lower[1])))
    padded = Locator(few).locate(by_name(known.layers))
    same = copied(few)
    for name in lower:
        taken = set(few.predecessors(name))
        for parent in [p for p in few.nodes_of("middle") if p not in taken][: 5 - len(taken)]:
            same.add_edge(parent, name, d_row=0.1, d_col=0.1, std=0.2, weight=0.0)
    assert {same.in_degree(name) for name in lower} == {5}
    assert_same(Locator(same).locate(by_name(known.layers)), padded, atol=1e-6)


def test_images_are_explained_by_the_chance_that_mining_learned(graph, known, mined):
    layers = by_name(known.layers)
    found = Locator(graph).locate(layers)
    network = summarise(list(graph.explained.values()))
    shares = found.explained
    assert shares is not None
    np.testing.assert_allclose(shares.sum(1), 1)
    mass = sum(p.facing(mined.mirrored).value[0, :, :2].sum((0, 1)) for p in known.layers)
    # Each image by its own mass: together what is said of the filters.
    together = np.average(shares, axis=0, weights=mass.numpy())
    assert together[0] == pytest.approx(network["part"], abs=0.02)
    alone = Locator(graph).locate({name: p.images(slice(3, 4)) for name, p in layers.items()})
    np.testing.assert_allclose(alone.explained[0], shares[3], rtol=1e-4)
    assert found.shares(3).part == shares[3, 0]


def test_a_graph_of_before_explains_no_image(graph, known):
    older = graph.copy()
    older.graph["explained"] = {
        name: {key: values for key, values in one.items() if key not in ("chance", "repeats")}
        for name, one in graph.graph["explained"].items()
    }
    found = Locator(older).locate(by_name(known.layers))
    assert found.explained is None
    assert found.shares(0) is None


def test_a_missing_layer_is_named(graph, known):
    without = {name: peaks for name, peaks in by_name(known.layers).items() if name != "middle"}
    with pytest.raises(
        GraphError, match="no peaks of layer 'middle', which the graph needs; got top, low"
    ):
        Locator(graph).locate(without)
    with pytest.raises(GraphError, match="got none"):
        Locator(graph).locate({})


def test_peaks_of_another_network_are_refused(graph, known):
    peaks = by_name(known.layers)
    fewer = replace(
        peaks["low"],
        value=peaks["low"].value[:, :9],
        row=peaks["low"].row[:, :9],
        col=peaks["low"].col[:, :9],
    )
    with pytest.raises(GraphError, match="layer 'low' has 14 channels, got peaks of 9"):
        Locator(graph).locate({**peaks, "low": fewer})


def test_layers_of_other_images_are_refused(graph, known):
    peaks = by_name(known.layers)
    with pytest.raises(GraphError, match="same images and facings"):
        Locator(graph).locate({**peaks, "low": peaks["low"].images(slice(0, 5))})


def test_a_graph_without_nodes_is_refused():
    empty = ExplanatoryGraph()
    empty.graph["layers"] = LAYERS
    with pytest.raises(GraphError, match="the graph has no nodes"):
        Locator(empty)


@pytest.mark.parametrize("emptied", ["top", "middle", "low"])
def test_a_layer_that_lost_its_nodes_stops_only_what_hung_on_them(graph, known, emptied):
    rest = copied(graph)
    rest.remove_nodes_from(list(rest.nodes_of(emptied)))
    found = Locator(rest).locate(by_name(known.layers))
    assert found.nodes == tuple(rest)
    assert np.isfinite(found.place).all()


def test_batch_peaks_become_what_a_locator_reads_in_the_precision_of_the_store(
    graph, known, located
):
    batch = {}
    for x in known.layers:
        of_maps = (x.value, x.row, x.col, profile_of(x))
        batch[x.layer.name] = MapPeaks(*(t.permute(0, 3, 1, 2) for t in of_maps))
    dense = layer_peaks(graph, batch)
    for x in known.layers:
        got = dense[x.layer.name]
        assert got.layer == x.layer
        assert torch.equal(got.value, x.value.half().float())
        assert torch.equal(got.row, torch.where(got.value > 0, x.row, 0.0))
        assert torch.equal(got.profile, profile_of(x).half().float())
    found = Locator(graph).locate(dense)
    assert np.array_equal(found.mirrored, located.mirrored)
    assert np.abs(found.place - located.place).max() < 1e-3
