"""The commands that ask why and where: deconv, occlusion, nodemap, explain, correspondence, and what --node and --channel mean."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from builders.commands import explgraph, files_of, refused
from builders.tiny_network import TOP, Tiny
from PIL import Image

from explgraph.workspace import Workspace

MODEL = ("--model", "builders.tiny_network:make")


@pytest.fixture
def photo(scenes):
    return scenes.folder / "04.png"


@pytest.fixture(scope="module")
def node(workspace):
    with Workspace(workspace) as opened:
        graph = opened.store.load_graph()
    return max(graph.nodes_of(TOP), key=lambda name: graph.nodes[name]["score"])


def checked(answer, folder, method, photo):
    """The one record of a map command, after a look at its three files."""
    (record,) = answer.json()["results"]
    assert files_of(folder) == [f"04.{method}.{suffix}" for suffix in ("json", "npy", "png")]
    assert json.loads((folder / f"04.{method}.json").read_text()) == record
    with Image.open(photo) as image, Image.open(record["overlay"]) as overlay:
        assert np.load(record["map"]).shape == image.size[::-1]
        assert overlay.width > image.width
    assert np.isfinite(np.load(record["map"])).all()
    return record


def test_deconv_projects_the_strongest_activations_of_a_layer(photo, tmp_path):
    answer = explgraph(
        "deconv", photo, *MODEL, "--layer", TOP, "--strongest", 2, "--out", tmp_path, "--json"
    )
    record = checked(answer, tmp_path, "deconv", photo)
    first, second = record["activations"]
    assert first["activation"] >= second["activation"] > 0
    assert first["channel"] != second["channel"]
    answer = explgraph(
        "deconv",
        photo,
        *MODEL,
        "--layer",
        TOP,
        "--channel",
        3,
        "--guided",
        "--out",
        tmp_path / "g",
        "--json",
    )
    assert {one["channel"] for one in answer.json()["results"][0]["activations"]} == {3}


def test_occlusion_says_what_every_square_does(photo, tmp_path):
    answer = explgraph(
        "occlusion",
        photo,
        *MODEL,
        "--size",
        16,
        "--stride",
        8,
        "--layer",
        TOP,
        "--out",
        tmp_path,
        "--json",
    )
    record = checked(answer, tmp_path, "occlusion", photo)
    assert record["squares"] == 5 * 7
    assert record["feature"].startswith(f"{TOP}:")
    assert "occlusion 35/35" in answer.err


@pytest.mark.parametrize("method", ["saliency", "gradcam", "deconv", "occlusion"])
def test_a_node_is_a_target_of_every_method(method, workspace, node, photo, tmp_path):
    answer = explgraph(
        method, photo, "--workspace", workspace, "--node", node, "--out", tmp_path, "--json"
    )
    record = checked(answer, tmp_path, method, photo)
    assert record["class"] == node
    assert (record["class_index"], record["probability"]) == (None, None)
    assert record["score"] >= 0


def test_a_channel_is_a_target(photo, tmp_path):
    maps = []
    for channel in (1, 2):
        answer = explgraph(
            "saliency",
            photo,
            *MODEL,
            "--channel",
            f"{TOP}:{channel}",
            "--out",
            tmp_path / str(channel),
            "--json",
        )
        record = answer.json()["results"][0]
        assert record["class"] == f"{TOP}:{channel}"
        maps.append(np.load(record["map"]))
    assert not np.array_equal(*maps)


def test_options_of_the_methods_change_their_maps(photo, tmp_path):
    seen = {}
    options = {
        "saliency": (
            [],
            ["--times-input"],
            ["--samples", "3"],
            ["--views", "crops"],
            ["--segment"],
        ),
        "gradcam": (
            [],
            ["--weighting", "gradcam++"],
            ["--weighting", "layercam"],
            ["--signed"],
            ["--guided"],
        ),
    }
    for method, choices in options.items():
        for number, choice in enumerate(choices):
            out = tmp_path / f"{method}{number}"
            record = explgraph(
                method, photo, *MODEL, "--target", 0, *choice, "--out", out, "--json"
            ).json()["results"][0]
            seen[(method, *choice)] = (np.load(record["map"]), Path(record["overlay"]).read_bytes())
    for key, (values, picture) in seen.items():
        plain = seen[key[:1]]
        if len(key) > 1:
            assert picture != plain[1]
            assert (key[1] in ("--segment", "--guided")) == np.array_equal(values, plain[0])


def test_nodemap_draws_every_layer_beside_gradcam_or_one_node(workspace, node, photo, tmp_path):
    answer = explgraph(
        "nodemap", photo, "--workspace", workspace, "--out", tmp_path / "all", "--json"
    )
    record = checked(answer, tmp_path / "all", "nodemap", photo)
    assert set(record["node_boxes"]) == {"features.2", "features.4"}
    answer = explgraph(
        "nodemap",
        photo,
        "--workspace",
        workspace,
        "--layer",
        TOP,
        "--segment",
        "--out",
        tmp_path / "cut",
        "--json",
    )
    assert set(checked(answer, tmp_path / "cut", "nodemap", photo)["node_boxes"]) == {TOP}
    answer = explgraph(
        "nodemap",
        photo,
        "--workspace",
        workspace,
        "--node",
        node,
        "--out",
        tmp_path / "one",
        "--json",
    )
    record = checked(answer, tmp_path / "one", "nodemap", photo)
    assert record["node"] == node
    x, y, width, height = record["receptive_field"]
    with Image.open(photo) as image:
        assert -1e-6 <= x < x + width <= image.width + 1e-6
        assert -1e-6 <= y < y + height <= image.height + 1e-6


# explain


def test_explain_names_nodes_with_their_measured_drop(workspace, photo, tmp_path):
    answer = explgraph(
        "explain", photo, "--workspace", workspace, "--nodes", 3, "--out", tmp_path, "--json"
    )
    (record,) = answer.json()["results"]
    assert files_of(tmp_path) == ["04.explain.json", "04.explain.png"]
    assert json.loads((tmp_path / "04.explain.json").read_text()) == record
    assert record["class"] in Tiny.classes
    assert record["class"] == record["classes"][0]["name"]
    drops = [one["drop"] for one in record["nodes"]]
    assert drops == sorted(drops, reverse=True)
    assert 0 < len(drops) <= 3
    assert record["without_these"]["score"] < record["score"]
    with Image.open(photo) as image:
        assert all(
            0 <= one["x"] <= image.width and 0 <= one["y"] <= image.height
            for one in record["nodes"]
        )
    text = explgraph("explain", photo, "--workspace", workspace, "--nodes", 3).out
    assert all(one["node"] in text for one in record["nodes"])


def test_explain_names_the_part_that_a_node_lies_on(workspace, scenes, photo, tmp_path):
    copy = tmp_path / "ws"
    shutil.copytree(workspace, copy)
    fitted = explgraph(
        "part",
        "fit",
        copy,
        "--name",
        "face",
        "--annotations",
        scenes.coco,
        "--ids",
        "1000,1021",
        "--landmark",
        "head",
    )
    assert fitted.code == 0, fitted.err
    record = explgraph("explain", photo, "--workspace", copy, "--nodes", 90, "--json").json()[
        "results"
    ][0]
    parts = {one["node"]: one["part"] for one in record["nodes"]}
    assert set(parts.values()) == {"face", None}
    votes = explgraph("part", "show", copy, "--name", "face", "--top", 999, "--json").json()[
        "strongest"
    ]
    near = {vote["node"] for vote in votes if np.hypot(vote["d_row"], vote["d_col"]) <= 0.1}
    assert {node for node, part in parts.items() if part} == near & set(parts)
    before = explgraph("explain", photo, "--workspace", workspace, "--nodes", 90, "--json").json()[
        "results"
    ][0]
    assert {one["part"] for one in before["nodes"]} == {None}


def test_explain_can_be_asked_for_another_class_and_without_a_filter(workspace, photo):
    answer = explgraph(
        "explain",
        photo,
        "--workspace",
        workspace,
        "--target",
        "nothing",
        "--ablate",
        f"{TOP}:2",
        "--json",
    )
    (record,) = answer.json()["results"]
    assert record["class"] == "nothing"
    assert record["ablated"]["removed"] == [f"{TOP}:2"]


def test_a_repair_says_what_it_does_to_the_accuracy(workspace, node, scenes, photo):
    plain = explgraph("explain", photo, "--workspace", workspace, "--json").json()["results"][0][
        "class"
    ]
    ask = lambda *removed: explgraph(
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        scenes.folder,
        "--target",
        plain,
        *removed,
        "--limit",
        6,
        "--json",
    ).json()["repair"]
    every = [part for k in range(10) for part in ("--ablate", f"{TOP}:{k}")]
    found = ask(*every)
    assert found["images"] == 6
    assert 0 < found["correct_before"] <= 6
    # Nothing but the bias is left, so all images are said to be one class.
    assert found["correct_after"] in (0, 6)
    assert len(found["changed"]) >= abs(found["correct_before"] - found["correct_after"])
    assert ask("--ablate", node)["images"] == 6
    text = explgraph(
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        scenes.folder,
        "--target",
        plain,
        *every,
        "--limit",
        6,
    ).out
    assert "accuracy" in text


def test_labels_are_the_subfolders_of_a_labelled_source(workspace, scenes, tmp_path):
    for label in ("creature", "something"):
        (tmp_path / label).mkdir()
    for number in range(3):
        name = f"{number:02d}.png"
        (tmp_path / ("creature" if number else "something") / name).write_bytes(
            (scenes.folder / name).read_bytes()
        )
    answer = explgraph(
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        tmp_path,
        "--ablate",
        f"{TOP}:1",
        "--json",
    )
    assert answer.json()["repair"]["images"] == 3
    (tmp_path / "lion").mkdir()
    (tmp_path / "lion" / "x.png").write_bytes((scenes.folder / "03.png").read_bytes())
    assert "'lion' is no class" in refused(
        2,
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        tmp_path,
        "--ablate",
        f"{TOP}:1",
        "--quiet",
    )


# correspondence


def test_correspondence_lists_every_layer_and_part(workspace, node, scenes):
    parts = ("--landmark", "head", "--node", node, "--box", "corner=0,0,0.3,0.3")
    answer = explgraph(
        "correspondence",
        scenes.coco,
        "--workspace",
        workspace,
        *parts,
        "--limit",
        8,
        "--random",
        2,
        "--json",
    )
    found = answer.json()["results"]
    assert {(one["layer"], one["part"]) for one in found} == {
        (layer, part) for layer in ("features.2", "features.4") for part in ("head", node, "corner")
    }
    assert all(
        0 <= one["mean"] <= 1 and one["pairs"] == one["n_images"] * (one["n_images"] - 1) // 2
        for one in found
    )
    text = explgraph(
        "correspondence",
        scenes.coco,
        *MODEL,
        "--layers",
        TOP,
        "--landmark",
        "head",
        "--limit",
        5,
        "--window",
        1,
    ).out
    assert text.startswith("layer")


# misuse


def test_misuse_is_refused_before_anything_is_written(workspace, photo, tmp_path, scenes):
    out = ("--out", tmp_path / "maps", "--quiet")
    for code, arguments, message in (
        (2, ("saliency", photo, *MODEL, "--node", "a:1:0", *out), "say with --workspace which"),
        (
            1,
            ("saliency", photo, "--workspace", workspace, "--node", f"{TOP}:0:99", *out),
            "did you mean",
        ),
        (
            2,
            ("saliency", photo, *MODEL, "--channel", "features", *out),
            "--channel must be LAYER:CHANNEL",
        ),
        (2, ("gradcam", photo, *MODEL, "--channel", f"{TOP}:99", *out), "counted from 0; got 99"),
        (
            2,
            ("deconv", photo, *MODEL, "--layer", TOP, "--strongest", 99, *out),
            "offers 10 activations, asked for 99",
        ),
        (2, ("occlusion", photo, *MODEL, "--size", 99, *out), "must fit the input"),
        (
            1,
            ("nodemap", photo, "--workspace", workspace, "--layer", "features.0", *out),
            "is not in the graph",
        ),
        (2, ("explain", "--workspace", workspace, "--quiet"), "at least one IMAGE"),
        (
            2,
            ("explain", photo, "--workspace", workspace, "--accuracy", scenes.folder, "--quiet"),
            "which filter or node",
        ),
        (
            2,
            ("explain", photo, "--workspace", workspace, "--ablate", "features", "--quiet"),
            "--ablate takes LAYER:CHANNEL",
        ),
        (
            2,
            ("explain", photo, "--workspace", workspace, "--target", "lion", "--quiet"),
            "'lion' is no class",
        ),
        (
            2,
            ("correspondence", scenes.folder, *MODEL, "--landmark", "head", "--quiet"),
            "name the layers",
        ),
        (
            2,
            ("correspondence", scenes.folder, "--workspace", workspace, "--quiet"),
            "at least one part",
        ),
        (
            2,
            (
                "correspondence",
                scenes.folder,
                *MODEL,
                "--layers",
                TOP,
                "--node",
                "a:1:0",
                "--quiet",
            ),
            "say with --workspace which",
        ),
        (
            2,
            (
                "correspondence",
                scenes.folder,
                *MODEL,
                "--layers",
                TOP,
                "--box",
                "a=0,0,2,1",
                "--quiet",
            ),
            "inside it",
        ),
        (
            2,
            (
                "correspondence",
                scenes.folder,
                *MODEL,
                "--layers",
                TOP,
                "--landmark",
                "nose",
                "--quiet",
            ),
            "nose",
        ),
    ):
        assert message in refused(code, *arguments), arguments
    assert not (tmp_path / "maps").exists() or not files_of(tmp_path / "maps")
