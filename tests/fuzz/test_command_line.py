"""Whatever stands on the command line, it is answered or refused in one line."""

import json
import random
import shutil

import pytest
from builders.commands import TINY, explgraph
from builders.fuzzing import cases, fault, fault_of_words, structured
from hypothesis import given
from hypothesis import strategies as st

from explgraph import MineJob, Workspace
from explgraph.errors import WorkspaceError
from explgraph.mining import MiningConfig

# None that would rightly take for ever, such as a billion steps.
NUMBERS = (
    "0", "-1", "1", "2", "7", "1.5", ".5", "1e400", "-1e400", "nan", "inf", "-inf", "9" * 5000,
    "٣", "²", "0x10", "1_0", " 3", "3 ", "", " ", "1,2", "3x", "1e-400", "+2", "0.0", "-0",
)  # fmt: skip
NAMES = (
    "features.4", "features.2,features.4", "features.9", "features", "classifier", "features.4:3",
    "features.4:-1", "features.4:99", "features.4:" + "9" * 5000, "features.4:3:0", "features.4:٣",
    "features.4:3:99", ":", "::", ":::", ",", ",,", "0", "creature", "head", "x" * 5000, "é" * 300,
    "a\nb", "\x1b[2J", "\udcff", "../none", "/none", "/dev/null", "-", "=1", "[red]", "%s", "{x}",
)  # fmt: skip
BOXES = (
    "a=0,0,1,1", "a=0,0,.5", "a=nan,0,.5,.5", "a=0,0,1e400,1", "=0,0,1,1", "a", "a=", "a=-1,0,1,1",
    "a=0,0,0,0", "a=0.9,0,0.2,1", "a=0,0,1,1,1", "é=0,0,.5,.5",
)  # fmt: skip
SIZES = (
    "0", "-1", "1", "8", "40x56", "1x1", "x", "40x", "40x56x3", "٤٠", "9" * 30, "9" * 5000, "1.5",
    "1e3", "40X56", "",
)  # fmt: skip
NET = "--model builders.tiny_network:make"
ON = f"{{photo}} {NET} --device cpu --quiet --out {{out}}"
LINES = {
    NUMBERS: (
        "show {ws} --top ?", "show {ws} --node {node} --top ?", "export {ws} --out {out}/g.gexf "
        "--top ?", "export {ws} --out {out}/g.json --min-weight ?", "part suggest {ws} --name head "
        "--top ?", "part show {ws} --name head --top ?", "locate {ws} {photo} --top ? --quiet",
        "locate {ws} {coco} --limit ? --quiet", "locate {ws} {photo} --batch-size ? --quiet",
        f"saliency {ON} --samples 2 --noise ?", f"saliency {ON} --target ?",
        f"deconv {ON} --layer features.2 --channel ?", f"deconv {ON} --channel features.2:3 "
        "--strongest ?", f"occlusion {ON} --size ? --stride 20", f"occlusion {ON} --size 20 "
        "--stride ?", "nodemap {photo} --workspace {ws} --layer features.4 --top ? --out {out}",
        "mine {folder} {tiny} --out {out}/new --limit 3 --nodes ? --quiet",
        "mine {folder} {tiny} --out {out}/new --limit 3 --seed ? --quiet",
        "mine {folder} {tiny} --out {out}/new --limit ? --quiet --min-images 1",
        f"correspondence {{coco}} {NET} --layers features.4 --landmark head --limit 3 --side ?",
        f"correspondence {{coco}} {NET} --layers features.4 --landmark head --limit 3 --window ?",
        "part fit {parts} --name nose --add --at scene-00.png:?,?", "part fit {parts} --name nose "
        "--annotations {coco} --landmark head --add --ids ?",
    ),
    NAMES: (
        "show {ws} --node ?", "show {ws} --channel ?", "show ?", "part list ?", "show {ws} --db ?",
        "part show {ws} --name ?", "part fit {parts} --name ? --at scene-00.png:20,30 --add",
        "part remove {parts} --name ?", "part locate {ws} --name ? {photo} --quiet",
        "part fit {parts} --name nose --at ?", "export {ws} --out {out}/g.dot --node ?",
        "export {ws} --out {out}/g.dot --part ?", "export {ws} --out {out}/?",
        "evaluate {ws} --dataset ?", "locate {ws} ? --quiet", "locate {ws} {photo} --out ?",
        f"saliency {ON} --target ?", f"saliency {ON} --channel ?", f"gradcam {ON} --layer ?",
        "nodemap {photo} --workspace {ws} --layer ? --out {out}", "saliency {photo} --workspace "
        "{ws} --node ? --out {out}", "layers --model ?", "layers --model builders.tiny_network:?",
        f"layers {NET} --weights ?", "mine ? {tiny} --out {out}/new --quiet",
        f"mine {{folder}} {NET} --layers ? --limit 3 --out {{out}}/new --quiet",
        f"saliency {ON} --device ?", "explain {photo} --workspace {ws} --ablate ? --out {out}",
    ),
    BOXES: (f"correspondence {{coco}} {NET} --layers features.4 --limit 3 --box ?",),
    SIZES: (f"layers {NET} --input-size ?", f"saliency {ON} --input-size ?"),
}  # fmt: skip


@pytest.fixture(scope="module")
def there(workspace, scenes, tmp_path_factory):
    """What the {names} stand for."""
    root = tmp_path_factory.mktemp("there")
    parts = shutil.copytree(workspace, root / "parts")
    at = ("--at", "scene-00.png:20,30")
    assert explgraph("part", "fit", parts, "--name", "head", *at).code == 0
    with Workspace(parts) as opened:
        node = opened.graph.ordered_nodes()[0]
    return {
        "ws": shutil.copytree(parts, root / "ws"), "parts": parts, "node": node, "out": root,
        "photo": scenes.folder / "04.png", "coco": scenes.coco, "folder": scenes.folder,
    }  # fmt: skip


EVERY = [(line, value) for values, lines in LINES.items() for line in lines for value in values]
random.Random(0).shuffle(EVERY)  # so that the first of them are of all kinds
CHUNK = 50


@pytest.mark.parametrize("first", cases(600, quick=10)[::CHUNK])
def test_any_value_is_answered_or_refused_in_words(first, there):
    wrong = []
    for number in cases(first + CHUNK, quick=10)[first:]:
        template, value = EVERY[number]
        why = fault(lambda: check(template, value, there, as_json=number % 2 == 0))  # noqa: B023
        if why is not None:
            wrong.append(f"{template} with {value[:50]!r}: {why}")
    assert not wrong, "\n" + "\n".join(wrong)


def check(template, value, there, *, as_json):
    """Run a command; its answer must be one that people and programs can read."""
    words = [one for word in template.split() for one in (TINY if word == "{tiny}" else [word])]
    words = [word.format(**there).replace("?", value) for word in words]
    answer = explgraph(*words, *(["--json"] if as_json else []))
    shutil.rmtree(there["out"] / "new", ignore_errors=True)
    assert answer.code in (0, 1, 2)
    if answer.code == 0 and as_json:
        json.loads(answer.out)
        assert "NaN" not in answer.out
    if answer.code:
        said = answer.err or answer.out
        assert "Traceback" not in said
        assert said.startswith("usage: ") or fault_of_words(said) is None, said


values = st.sampled_from(
    (0, 1, -1, 3, 2.5, 10**400, float("nan"), float("inf"), None, True, "", "3", [], {}, b"x")
)


@structured(300, quick=40)
@given(st.dictionaries(st.sampled_from([*MiningConfig.__dataclass_fields__, "more"]), values))
def test_any_settings_of_mining_are_kept_or_refused(settings):
    try:
        kept = MiningConfig(**settings)
    except (TypeError, ValueError):
        return
    json.dumps(MineJob("photos", "vgg16", ("features.28",), mining=kept).to_dict())


@structured(300, quick=40)
@given(st.dictionaries(st.sampled_from([*MineJob.__dataclass_fields__, "more"]), values))
def test_any_stored_job_is_read_or_refused(plain):
    whole = MineJob("photos", "vgg16", ("features.28",)).to_dict()

    def read():
        try:
            job = MineJob.from_dict(whole | plain)
        # What `read_stored` turns into words.
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise WorkspaceError(f"expected a job, got {error}") from error
        assert job.layers is not None

    assert fault(read) is None
