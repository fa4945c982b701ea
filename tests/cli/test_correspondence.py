"""correspondence: whether a network changes in the same way when one part is hidden."""

from builders.commands import explgraph, refused
from builders.tiny_network import TOP

MODEL = ("--model", "builders.tiny_network:make")


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


def test_misuse_is_refused(workspace, scenes):
    for code, arguments, message in (
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
