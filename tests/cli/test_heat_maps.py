"""saliency, gradcam, deconv, occlusion, nodemap: overlay, raw map and record of image files."""

import json
from pathlib import Path

import numpy as np
import pytest
from builders.commands import explgraph, files_of, refused
from builders.tiny_network import MIDDLE, TOP, Tiny
from PIL import Image

from explgraph.network import load_network
from explgraph.queries import draw_heat_maps

MODEL = ("--model", "builders.tiny_network:make")


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


def test_a_neuron_is_asked_like_a_channel(photo, tmp_path):
    """`--layer classifier --channel 1` and `--channel classifier:1`."""
    layer = ("--layer", "classifier", "--channel", 1)
    neuron = ("--channel", "classifier:1")
    records = {}
    for method, options in {
        "deconv": layer,
        "occlusion": (*layer, "--size", 16, "--stride", 16),
        "saliency": neuron,
        "integrated-gradients": neuron,
        "gradcam": (*neuron, "--guided"),
    }.items():
        out = tmp_path / method
        answer = explgraph(method, photo, *MODEL, *options, "--out", out, "--json")
        records[method] = checked(answer, out, method, photo)
    assert [one["channel"] for one in records["deconv"]["activations"]] == [1]
    assert records["occlusion"]["feature"] == "classifier:1"
    # It is a score of the network, which the class's number asks for too.
    same = explgraph("saliency", photo, *MODEL, "--target", 1, "--out", tmp_path, "--json").json()
    assert records["saliency"]["score"] == pytest.approx(same["results"][0]["score"])
    assert np.array_equal(np.load(records["saliency"]["map"]), np.load(same["results"][0]["map"]))
    assert records["gradcam"]["layer"] == "features"


def test_a_question_is_bound_by_the_factory(photo, tmp_path):
    model = ("--model", "builders.questions:make")
    answer = explgraph("gradcam", photo, *model, "--target", "two", "--out", tmp_path, "--json")
    record = checked(answer, tmp_path, "gradcam", photo)
    assert (record["class"], record["layer"]) == ("two", "cnn")
    listed = explgraph("layers", *model, "--json").json()
    assert [layer["name"] for layer in listed["layers"]] == ["cnn.0", "cnn.2", "cnn"]


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


@pytest.mark.parametrize("method", ["saliency", "gradcam"])
def test_every_image_gets_an_overlay_a_map_of_its_size_and_a_record(photo, tmp_path, method):
    answer = explgraph(method, photo, *MODEL, "--out", tmp_path, "--json").json()
    (record,) = answer["results"]
    assert files_of(tmp_path) == [f"04.{method}.{suffix}" for suffix in ("json", "npy", "png")]
    assert json.loads((tmp_path / f"04.{method}.json").read_text()) == record
    with Image.open(photo) as image:
        size = image.size
    values = np.load(record["map"])
    assert (values.dtype, values.shape) == (np.float32, (size[1], size[0]))
    assert values.min() >= 0
    assert values.max() > 0
    with Image.open(record["overlay"]) as overlay:
        assert overlay.width > size[0]
    assert record["class"] == Tiny.classes[record["class_index"]]
    assert 1 / 3 <= record["probability"] <= 1
    for x, y, width, height in record["boxes"]:
        assert -1e-6 <= x <= x + width <= size[0] + 1e-6
        assert -1e-6 <= y <= y + height <= size[1] + 1e-6


def test_the_printed_line_names_class_probability_and_file(photo, tmp_path):
    answer = explgraph("gradcam", photo, *MODEL, "--target", "creature", "--out", tmp_path)
    assert answer.out.startswith(f"{photo}: creature (")
    assert answer.out.endswith(f"%) -> {tmp_path / '04.gradcam.png'}\n")
    assert "gradcam 1/1" in answer.err


def test_a_class_is_a_name_or_a_number(photo, tmp_path):
    ask = lambda target: explgraph(
        "saliency", photo, *MODEL, "--target", target, "--out", tmp_path, "--json"
    ).json()
    assert ask("2")["results"][0]["class"] == "something"
    assert ask("nothing")["results"][0]["class_index"] == 1


def test_gradcam_looks_at_the_last_layer_or_at_the_one_it_is_given(photo, tmp_path):
    maps = {}
    for name, options in (("default", ()), (TOP, ("--layer", TOP)), (MIDDLE, ("--layer", MIDDLE))):
        answer = explgraph(
            "gradcam", photo, *MODEL, *options, "--target", "0", "--out", tmp_path / name, "--json"
        ).json()
        maps[name] = np.load(answer["results"][0]["map"])
    assert not np.array_equal(maps[TOP], maps[MIDDLE])


def test_the_network_of_a_workspace_can_be_asked(folder_workspace, photo, tmp_path):
    here = explgraph(
        "gradcam", photo, "--workspace", folder_workspace, "--out", tmp_path / "a", "--json"
    ).json()["results"][0]
    there = explgraph("gradcam", photo, *MODEL, "--out", tmp_path / "b", "--json").json()[
        "results"
    ][0]
    assert here["class"] == there["class"]
    assert np.allclose(np.load(here["map"]), np.load(there["map"]))


def test_letterbox_and_stretch_see_another_picture(photo, tmp_path):
    maps = []
    for fit in ("stretch", "letterbox"):
        answer = explgraph(
            "saliency",
            photo,
            *MODEL,
            "--fit",
            fit,
            "--target",
            "0",
            "--out",
            tmp_path / fit,
            "--json",
        ).json()
        maps.append(np.load(answer["results"][0]["map"]))
    assert maps[0].shape == maps[1].shape
    assert not np.array_equal(*maps)


def test_images_of_one_name_do_not_overwrite_each_other(scenes, tmp_path):
    paths = [tmp_path / name for name in ("a/x/p.png", "b/x/p.png", "a/x/p.PNG", "q.png")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((scenes.folder / f"{number:02d}.png").read_bytes())
    network = load_network("builders.tiny_network:make")
    answer = draw_heat_maps("saliency", network, [*paths, paths[3]], tmp_path / "out")
    names = [one.map.name.lower() for one in answer.results]
    assert len(set(names)) == len(names) == 5
    for one, path in zip(answer.results, [*paths, paths[3]], strict=True):
        with Image.open(path) as image:
            assert np.load(one.map).shape == image.size[::-1]


def test_broken_images_are_skipped_and_named(photo, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    images = (photo, tmp_path / "broken.png", tmp_path / "missing.png")
    answer = explgraph("saliency", *images, *MODEL, "--out", tmp_path / "out", "--json").json()
    assert len(answer["results"]) == 1
    assert [one["path"] for one in answer["skipped"]] == [str(path) for path in images[1:]]
    assert not any(one["path"] in one["reason"] for one in answer["skipped"])
    assert "skipped 2:\n" in explgraph("saliency", *images, *MODEL, "--out", tmp_path / "out").out
    line = refused(1, "saliency", *images[1:], *MODEL, "--out", tmp_path / "none")
    assert "none of the 2 images could be read" in line


def test_misuse_is_refused(folder_workspace, photo, tmp_path):
    out = ("--out", tmp_path / "maps")
    for options in ((*MODEL, "--workspace", folder_workspace), ()):
        assert "give either --model or --workspace" in refused(2, "saliency", photo, *options, *out)
    assert "lion" in refused(2, "saliency", photo, *MODEL, "--target", "lion", *out)
    assert "number must be" in refused(2, "saliency", photo, *MODEL, "--target", "3", *out)
    assert "did you mean 'features.4'?" in refused(
        2, "gradcam", photo, *MODEL, "--layer", "feature.4", *out
    )
    assert "is not a workspace" in refused(1, "gradcam", photo, "--workspace", tmp_path, *out)


def test_misuse_is_refused_before_anything_is_written(workspace, photo, tmp_path):
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
    ):
        assert message in refused(code, *arguments), arguments
    assert not (tmp_path / "maps").exists() or not files_of(tmp_path / "maps")


def test_a_projection_of_which_nothing_arrives_is_said_printed_recorded_and_drawn(
    photo, tmp_path, monkeypatch
):
    """Its noise was stretched to full contrast before, as strong as a projection."""
    own = "def make():\n"
    own += "    from builders.tiny_network import Tiny\n"
    own += "    model = Tiny()\n"
    own += "    model.features[4].weight.data = -model.features[4].weight.data.abs()\n"
    own += "    model.features[4].weight.data[0, 0, 0, 0] = 1e-9\n"
    own += "    model.features[4].bias.data.fill_(5.0)\n"
    own += "    return model\n"
    (tmp_path / "stopped.py").write_text(own)
    monkeypatch.chdir(tmp_path)
    asked = ["deconv", photo, "--model", "stopped:make", "--target", 0, "--quiet"]
    printed = explgraph(*asked, "--out", tmp_path / "out").out
    assert "nothing arrives at the pixels: the ReLU over 12 maps of 12 x 16" in printed
    record = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert record["empty"].startswith("nothing arrives")
    assert np.load(record["map"]).max() < 1e-6
    with Image.open(record["overlay"]) as overlay:
        grey = np.asarray(overlay.convert("RGB"))[:, overlay.width // 2 :]
    assert (np.abs(grey.astype(int) - 128).max(2) <= 1).mean() > 0.2
    told = explgraph("gradcam", *asked[1:], "--json", "--out", tmp_path / "cam")
    assert "empty" in told.json()["results"][0]
