"""`explgraph mine` on sources as they come: broken files, nothing to mine, wrong names."""

import binascii
import shutil
import struct

import pytest
from builders.commands import TINY, explgraph, files_of, refused
from PIL import Image

from explgraph.workspace import Workspace

BROKEN = {
    "broken.jpg": "its content is not JPEG",
    "cut.png": "cannot be decoded",
    "empty.png": "expected 1 to",
    "huge.png": "70000 x 70000 pixels are more than the limit",
    "notes.txt": "not an image by its suffix '.txt'",
}


def png_chunk(kind, data):
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))
    )


def write_broken(folder, whole):
    """Write the files of BROKEN; ``whole`` is an image to be cut."""
    (folder / "broken.jpg").write_bytes(b"no picture at all" * 20)
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    header = struct.pack(">IIBBBBB", 70000, 70000, 8, 2, 0, 0, 0)
    (folder / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x" * 30)
    )
    (folder / "notes.txt").write_text("a text")


@pytest.fixture
def mixed(scenes, tmp_path):
    """A folder with 26 photographs, and five files that are none."""
    folder = shutil.copytree(scenes.folder, tmp_path / "mixed")
    write_broken(folder, (folder / "00.png").read_bytes())
    return folder


def names_all(skipped):
    assert {one["path"] for one in skipped} == set(BROKEN)
    return all(BROKEN[one["path"]] in one["reason"] for one in skipped)


def test_files_that_are_no_images_are_skipped_counted_and_named(mixed, tmp_path):
    answer = explgraph("mine", mixed, *TINY, "--out", tmp_path / "ws")
    assert answer.code == 0
    assert "26 objects" in answer.out
    assert "skipped 5:\n" in answer.out
    assert all(f"  {name}: " in answer.out for name in BROKEN)
    again = explgraph("mine", mixed, *TINY, "--out", tmp_path / "ws", "--json").json()
    assert again["unchanged"]
    assert names_all(again["skipped"])
    assert names_all(explgraph("show", tmp_path / "ws", "--json").json()["skipped"])
    shown = explgraph("show", tmp_path / "ws").out
    assert all(name in shown for name in BROKEN)


def test_many_skipped_files_are_counted_but_not_all_listed(scenes, tmp_path):
    folder = shutil.copytree(scenes.folder, tmp_path / "many")
    for i in range(14):
        (folder / f"note-{i:02d}.txt").write_text("x")
    out = explgraph("mine", folder, *TINY, "--out", tmp_path / "ws").out
    assert "skipped 14:\n" in out
    assert out.count("note-") == 10
    assert "  ... and 4 more (--json names all)\n" in out


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "no source at "),
        (lambda folder: folder.mkdir(), "no image in "),
        (
            lambda folder: (folder.mkdir(), (folder / "notes.txt").write_text("x")),
            "skipped 1, first notes.txt",
        ),
        (
            lambda folder: folder.write_text("{}"),
            "expected a folder of images, a COCO .json file or an image",
        ),
    ],
)
def test_a_source_without_images_is_an_error_and_makes_no_workspace(tmp_path, make, words):
    make(tmp_path / "photos")
    assert words in refused(1, "mine", tmp_path / "photos", *TINY, "--out", tmp_path / "ws")
    assert not (tmp_path / "ws").exists()


def test_too_few_images_are_refused_before_anything_is_made(scenes, tmp_path):
    line = refused(1, "mine", scenes.folder, *TINY, "--limit", 9, "--out", tmp_path / "ws")
    assert "expected at least 10 objects, got 9" in line
    assert not (tmp_path / "ws").exists()


def test_too_few_readable_images_leave_no_graph(scenes, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        whole = (scenes.folder / f"{i:02d}.png").read_bytes()
        (folder / f"{i:02d}.png").write_bytes(whole if i < 9 else whole[:100])
    assert "expected at least 10 usable images, got 9" in refused(
        1, "mine", folder, *TINY, "--out", tmp_path / "ws"
    )
    assert "has no graph yet" in refused(1, "show", tmp_path / "ws")
    assert not (tmp_path / "ws" / "locations").exists()


def test_not_one_readable_image_is_an_error_that_says_why(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i:02d}.png").write_bytes(b"broken")
    assert "readable" in refused(1, "mine", folder, *TINY, "--out", tmp_path / "ws")


def test_an_empty_coco_file_and_a_broken_one_are_named(tmp_path):
    for text, words in (
        ('{"images": [], "annotations": []}', "gives no object: expected at least one box"),
        ("{", "is not a JSON file"),
        ("[]", "is not a COCO file"),
    ):
        (tmp_path / "data.json").write_text(text)
        assert words in refused(1, "mine", tmp_path / "data.json", *TINY, "--out", tmp_path / "ws")
    assert files_of(tmp_path) == ["data.json"]


def test_an_empty_background_is_named(scenes, tmp_path):
    (tmp_path / "none").mkdir()
    line = refused(
        1, "mine", scenes.folder, *TINY, "--background", tmp_path / "none", "--out", tmp_path / "ws"
    )
    assert f"no image in {tmp_path / 'none'}" in line
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--model", "builders.tiny_network:make", "--layers", "feature.4"),
            "did you mean 'features.4'? 'explgraph layers --model",
        ),
        (
            ("--model", "builders.tiny_network:make", "--layers", "features.4,features.4"),
            "got 'features.4' twice",
        ),
        (("--model", "builders.tiny_network:make", "--layers", " , "), "layer"),
        (("--model", "builders.tiny_network:make", "--layers", "classifier"), "classifier"),
        (("--model", "builders.tiny_network:mak", "--layers", "features.4"), "did you mean make?"),
        (
            ("--model", "no_such_module:make", "--layers", "features.4"),
            "'no_such_module:make' is not a network",
        ),
        ((*TINY, "--device", "abacus"), "device must be auto, cpu"),
        ((*TINY, "--images", "."), "goes with a COCO .json file only"),
    ],
)
def test_misuse_ends_with_2_one_line_and_no_workspace(scenes, tmp_path, options, words):
    assert words in refused(2, "mine", scenes.folder, *options, "--out", tmp_path / "ws")
    assert not (tmp_path / "ws").exists()


def test_a_file_where_the_workspace_should_be_is_one_clear_line(scenes, tmp_path):
    (tmp_path / "ws").write_text("occupied")
    assert str(tmp_path / "ws") in refused(
        1, "mine", scenes.folder, *TINY, "--out", tmp_path / "ws"
    )
    assert (tmp_path / "ws").read_text() == "occupied"


# Networks of grey images


GREY = ("--model", "builders.grey_network:make", "--layers", "features.4", "--quiet")


@pytest.fixture(scope="module")
def grey(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("grey") / "ws"
    answer = explgraph("mine", scenes.folder, *GREY, "--mean", 0.5, "--std", 0.5, "--out", out)
    assert answer.code == 0, answer.err
    return out


def test_a_network_of_grey_images_is_mined_and_its_input_is_kept(grey):
    with Workspace(grey) as workspace:
        assert (workspace.identity.input.mean, workspace.identity.input.std) == ((0.5,), (0.5,))
        assert workspace.job.mean == (0.5,)
        assert workspace.network().input == workspace.identity.input
        assert len(workspace.graph)


def test_the_graph_of_the_luminance_is_that_of_grey_photographs(grey, scenes, tmp_path):
    greyed = tmp_path / "greyed"
    greyed.mkdir()
    for path in scenes.folder.iterdir():
        Image.open(path).convert("L").save(greyed / path.name)
    arguments = (*GREY, "--mean", "0.5", "--std", "0.5", "--out", tmp_path / "ws")
    assert explgraph("mine", greyed, *arguments).code == 0
    with Workspace(grey) as one, Workspace(tmp_path / "ws") as other:
        # The boxes are resized before they become grey, which rounds by one level.
        assert abs(len(one.graph) - len(other.graph)) <= 0.05 * len(one.graph)


@pytest.mark.parametrize(
    "line",
    [
        "locate {ws} {photos} --draw {out}/d --out {out}/a.csv --quiet",
        "show {ws} --out {out}/a.png --graph {out}/b.png",
        "explain {photo} --workspace {ws} --nodes 2 --tested 3 --out {out} --quiet",
        "nodemap {photo} --workspace {ws} --out {out} --quiet",
        "gradcam {photo} --workspace {ws} --guided --segment --out {out} --quiet",
        "deconv {photo} --workspace {ws} --strongest 2 --out {out} --quiet",
        "saliency {photo} --workspace {ws} --views crops --out {out} --quiet",
        "occlusion {photo} --workspace {ws} --size 16 --stride 16 --out {out} --quiet",
        "integrated-gradients {photo} --model builders.grey_network:make --steps 2 --mean 0.5 "
        "--std 0.5 --out {out} --quiet",
        "layers --model builders.grey_network:make --mean 0.5 --std 0.5",
    ],
)
def test_its_workspace_and_its_network_are_asked_like_others(line, grey, scenes, tmp_path):
    there = {"ws": grey, "photos": scenes.folder, "photo": scenes.folder / "04.png"}
    answer = explgraph(*(word.format(**there, out=tmp_path) for word in line.split()))
    assert answer.code == 0, answer.err
    assert "{out}" not in line or any(tmp_path.iterdir())


def test_a_network_of_two_channels_is_refused_before_anything_is_extracted(scenes, tmp_path):
    out = tmp_path / "ws"
    net = ("--model", "builders.grey_network:two", "--layers", "features.4")
    said = refused(2, "mine", scenes.folder, *net, "--out", out)
    assert "takes images of 2 channels, and a photograph has three colours or one grey" in said
    assert not list(out.glob("peaks/*.parquet"))
    photo = scenes.folder / "04.png"
    said = refused(2, "saliency", photo, *net[:2], "--out", tmp_path / "maps")
    assert "takes images of 2 channels" in said


def test_without_layers_the_last_two_stages_are_mined_and_named(scenes, tmp_path):
    mine = ("mine", scenes.folder, *TINY[:2], "--out", tmp_path / "ws")
    answer = explgraph(*mine, "--nodes", 1)
    assert answer.code == 0, answer.err
    assert answer.out.startswith("layers, by default: features.4, features.0 (--layers names")
    assert "] layers features.4, features.0, by default" in answer.err
    with Workspace(tmp_path / "ws") as workspace:
        assert workspace.job.layers == ("features.4", "features.0")
    assert explgraph(*mine, "--nodes", 1, "--json").json()["unchanged"]


def test_a_graph_that_is_nearly_empty_is_told_with_what_may_be_wrong(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("explgraph.workspace.job._LEAST_NODES", 10_000)
    mine = ("mine", scenes.folder, *TINY, "--out", tmp_path / "ws", "--nodes", 1)
    answer = explgraph(*mine)
    assert answer.code == 0
    assert "note: the graph is nearly empty, " in answer.out
    assert "are the weights trained" in answer.out
    assert explgraph(*mine, "--json").json()["note"].startswith("the graph is nearly empty")
    monkeypatch.undo()
    assert explgraph(*mine, "--json").json()["note"] is None
