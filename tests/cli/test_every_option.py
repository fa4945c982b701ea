"""Every option of every command is run to the end once: what is parsed must also be obeyed.

The cases are the table below. An option that has none fails the first test. Several options go in
one run, and all runs share two workspaces.
"""

import argparse
import itertools
import json
import shutil
from dataclasses import dataclass

import pytest
from builders.commands import explgraph
from builders.tiny_network import make

from explgraph.cli import build_parser


@dataclass(frozen=True)
class Case:
    """A command with options, in which {names} stand for what is there; what it leaves behind."""

    line: str
    writes: tuple[str, ...] = ()

    @property
    def command(self):
        words = self.line.split()
        return " ".join(words[: 2 if words[0] == "part" else 1])

    def __str__(self):
        return self.line


ON = "--device cpu --quiet"
MANY = "--device cpu --batch-size 3 --workers 1 --quiet"
NET = "--model builders.tiny_network:make"
OWN = f"{NET} --weights {{weights}} --input-size 40x56 --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25"
HEAT = "--fit stretch --out {out} --json"
NEW = f"--images {{photos}} --allow-outside --limit 2 --weights {{weights}} {MANY}"
OBJECT = "--images {photos} --allow-outside --object 1007 --limit 1"
BOX = "--box 4,5,40,30 --box 10,8,44,40"

TABLE = [
    Case("help mine"),
    Case("help part fit --json"),
    *(Case(f"completion {shell} --json") for shell in ("bash", "zsh", "fish")),
    Case("demo --out {out} --quiet --json", ("figures.json",)),
    Case(f"layers {OWN} --json"),
    Case(
        f"mine {{coco}} --out {{out}}/ws {OWN} --layers features.2,features.4 --images {{photos}} "
        f"--allow-outside --background {{background}} --no-mirror --fit letterbox --nodes 2 "
        f"--seed 3 --limit 30 --restart --db sqlite:///{{out}}/own.db {MANY} --json",
        ("own.db", "ws/locations/part-00000.parquet"),
    ),
    Case(
        f"mine {{folder}} --out {{out}}/ws {NET} --layers features.4 --flip-maps --fit stretch",
        ("ws/graph.db",),
    ),
    Case(
        "show {workspace} --db {db} --top 2 --out {out}/a.png --graph {out}/b.png --json",
        ("a.png", "b.png"),
    ),
    Case(
        "show {workspace} --node {node} --out {out}/a.png --graph {out}/b.png", ("a.png", "b.png")
    ),
    Case("show {workspace} --channel features.4:3 --out {out}/a.png", ("a.png",)),
    Case(
        f"locate {{workspace}} {{coco}} --db {{db}} --out {{out}}/a.csv --top 3 --draw {{out}}/d "
        f"{NEW} --json",
        ("a.csv", "d"),
    ),
    Case("locate {workspace} {coco} --object 1007"),
    Case(f"locate {{workspace}} {{photo}} {BOX}"),
    Case("evaluate {workspace} --db {db} --dataset {coco} --json"),
    Case(
        "evaluate {workspace} --dataset {coco} --few-shot {splits} --out {out}/p.parquet",
        ("p.parquet",),
    ),
    Case("evaluate {workspace} --raters {out}/sheet --rows 1 --seed 2", ("sheet/index.html",)),
    Case("evaluate {workspace} --answers {answers} --key {key} --json"),
    Case(
        "export {workspace} --out {out}/graph.dot --top 3 --min-weight 0.01 --node {node} "
        "--folders --json",
        ("graph.dot",),
    ),
    *(
        Case(f"export {{workspace}} --db {{db}} --format {name} --out {{out}}/graph --json")
        for name in ("gexf", "graphml", "cytoscape", "node-link", "dot", "parquet")
    ),
    Case(
        "part fit {parts} --db {parts_db} --name head --annotations {coco} --ids 1000,1007,1014 "
        "--landmark head --json"
    ),
    Case("part fit {parts} --name nose --at scene-00.png:20,30 --at scene-01.png:22,31"),
    Case("part fit {parts} --name head --annotations {coco} --ids 1021,1028 --add"),
    Case("part fit {parts} --name head --annotations {coco} --ids 1000,1007,1014 --replace"),
    Case("export {parts} --part head --part nose --out {out}/head.gexf", ("head.gexf",)),
    Case("part list {parts} --db {parts_db} --json"),
    Case(
        "part show {parts} --db {parts_db} --name head --top 3 --out {out}/head.png --json",
        ("head.png",),
    ),
    *(
        Case(
            f"part locate {{parts}} {{coco}} --db {{parts_db}} --name head --name nose --joint "
            f"--out {{out}}/places --format {name} {NEW} --json",
            ("places",),
        )
        for name in ("coco", "csv", "parquet", "cvat")
    ),
    Case(
        "part locate {parts} {coco} --name head --limit 2 --format label-studio "
        "--image-prefix https://host/ --out {out}/places",
        ("places",),
    ),
    Case(
        "part locate {parts} {coco} --name head --object 1007 --object 1014 --draw {out}/d",
        ("d/scene-00-1007.png",),
    ),
    Case(f"part locate {{parts}} {{photo}} --name head {BOX}"),
    Case(f"check {{parts}} --db {{parts_db}} --repair {MANY} --json"),
    Case(
        "relocate {parts} --db {parts_db} --source {coco} --images {photos} "
        "--weights {weights} --background {background} --json"
    ),
    Case("name {parts} {node} ear --db {parts_db} --json"),
    Case("name {parts} --from {names}"),
    Case("name {parts} --from-part head"),
    Case("name {parts} --remove {node}"),
    Case("part suggest {parts} --db {parts_db} --name head --top 2 --json"),
    Case("part remove {parts} --db {parts_db} --name nose --json"),
    Case(
        f"explain {{photo}} --workspace {{workspace}} --db {{db}} --weights {{weights}} "
        f"--target 1 --nodes 3 --tested 5 --ablate features.4:2 --accuracy {{coco}} "
        f"--images {{photos}} --allow-outside --limit 3 --out {{out}} {ON} --json",
        ("04.explain.json",),
    ),
    Case(f"explain {{coco}} --workspace {{workspace}} --tested 3 {OBJECT}"),
    Case(f"explain {{photo}} --workspace {{workspace}} --tested 3 {BOX}"),
    Case(
        f"explain --workspace {{workspace}} --ablate features.4:2 --accuracy {{coco}} "
        f"--classes {{classes}} --limit 3 {ON}"
    ),
    *(
        Case(
            f"repair {{parts}} --accuracy {{coco}} --ablate features.4:2 --method {name} "
            f"--target creature --out {{out}}/new.safetensors --images {{photos}} "
            f"--allow-outside --limit 6 --weights {{weights}} {ON} --db {{parts_db}} --json"
        )
        for name in ("zero", "damp", "best")
    ),
    Case(f"repair {{parts}} --accuracy {{coco}} --method retrain --classes {{classes}} {ON}"),
    Case("repair {parts} --write 1 --out {out}/new.pth", ("new.pth",)),
    Case("repair {parts} --remove 1"),
    Case(
        f"correspondence {{coco}} {OWN} --layers features.4 --landmark head "
        f"--box corner=0,0,0.3,0.3 --side 0.3 --window 1 --random 2 --images {{photos}} "
        f"--allow-outside --limit 4 {ON} --json"
    ),
    Case("correspondence {coco} --workspace {workspace} --db {db} --node {node} --limit 4 --quiet"),
    Case(
        f"correspondence {{coco}} {NET} --layers features.4 --landmark head --object 1000 "
        "--object 1007"
    ),
    Case(
        f"saliency {{photo}} {OWN} --target 1 --times-input --samples 2 --noise 0.1 "
        f"--views mirror --segment {ON} {HEAT}"
    ),
    Case(
        "saliency {photo} --workspace {workspace} --db {db} --node {node} --views crops --out {out}"
    ),
    Case(
        f"saliency {{photo}} {NET} --channel features.4:3 --views one --fit letterbox --out {{out}}"
    ),
    Case(
        f"gradcam {{photo}} {OWN} --target 1 --layer features.2 --weighting gradcam++ "
        f"--signed --guided --segment {ON} {HEAT}"
    ),
    Case(
        "gradcam {photo} --workspace {workspace} --db {db} --node {node} --weighting layercam "
        "--out {out}"
    ),
    Case(
        f"gradcam {{photo}} {NET} --channel features.4:3 --weighting gradcam --fit letterbox "
        "--out {out}"
    ),
    Case(
        f"integrated-gradients {{photo}} {OWN} --target 1 --steps 3 --baseline mean --segment "
        f"{ON} {HEAT}"
    ),
    Case(
        "integrated-gradients {photo} --workspace {workspace} --db {db} --node {node} --steps 2 "
        "--baseline black --out {out}"
    ),
    Case(
        f"integrated-gradients {{photo}} {NET} --channel features.4:3 --steps 2 --fit letterbox "
        "--out {out}"
    ),
    Case(
        f"deconv {{photo}} {OWN} --layer features.2 --channel 3 --strongest 2 --guided {ON} {HEAT}"
    ),
    Case(f"deconv {{photo}} {NET} --target 1 --fit letterbox --out {{out}}"),
    Case("deconv {photo} --workspace {workspace} --db {db} --node {node} --out {out}"),
    Case(
        f"occlusion {{photo}} {OWN} --target 1 --size 16 --stride 16 --layer features.2 "
        f"--channel 3 --batch-size 3 {ON} {HEAT}"
    ),
    Case(
        "occlusion {photo} --workspace {workspace} --db {db} --node {node} --size 16 --stride 16 "
        "--fit letterbox --out {out}"
    ),
    Case(
        f"nodemap {{photo}} --workspace {{workspace}} --db {{db}} --weights {{weights}} --target 1 "
        f"--layer features.4 --top 0.3 --segment --out {{out}} {ON} --json"
    ),
    Case("nodemap {photo} --workspace {workspace} --node {node} --out {out}"),
    *(
        Case(f"{method} {asked} --workspace {{workspace}} --out {{out}}")
        for method in ("saliency", "gradcam", "integrated-gradients", "deconv", "nodemap")
        for asked in (f"{{coco}} {OBJECT}", f"{{photo}} {BOX}")
    ),
    *(
        Case(f"occlusion {asked} --workspace {{workspace}} --size 24 --stride 16 --out {{out}}")
        for asked in (f"{{coco}} {OBJECT}", f"{{photo}} {BOX}")
    ),
]


def commands(parser, name=()):
    """Every command's name with its parser."""
    families = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not families:
        yield " ".join(name), parser
    for family in families:
        for word, sub in family.choices.items():
            yield from commands(sub, (*name, word))


def wanted():
    """(command, option, value) that must be run; the value is one of the choices, or None."""
    for name, parser in commands(build_parser()):
        for action in parser._actions:
            for flag in action.option_strings[-1:]:
                for value in action.choices or [None]:
                    if flag != "--help":  # test_cli.py, which every option ends
                        yield name, flag, value


def is_run(command, flag, value, table=TABLE):
    words = [case.line.split() for case in table if case.command == command]
    if value is None:
        return any(flag in line for line in words)
    return any((flag, value) in itertools.pairwise(line) for line in words)


def test_every_option_and_every_choice_has_a_case():
    missing = [" ".join(filter(None, one)) for one in wanted() if not is_run(*one)]
    assert not missing, f"no case in TABLE for: {', '.join(missing)}"


def test_an_option_without_a_case_is_found():
    table = [case for case in TABLE if "--flip-maps" not in case.line]
    missing = [one for one in wanted() if not is_run(*one, table)]
    assert ("mine", "--flip-maps", None) in missing


@pytest.fixture(scope="module")
def there(workspace, node, scenes, tmp_path_factory):
    """What the table's {names} stand for."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("every")
    parts = folder / "parts"
    shutil.copytree(workspace, parts)  # the one that the part commands write to
    save_file(make().state_dict(), folder / "weights.safetensors")
    objects = json.loads(scenes.coco.read_text())["annotations"]
    ids = [one["id"] for one in objects]
    splits = [{"split": 0, "part": "head", "fit": ids[:3], "test": ids[3:7]}]
    (folder / "splits.json").write_text(json.dumps(splits))
    (folder / "classes.txt").write_text("creature 0\n")
    said = {"sheet": "a", "rater": "ann", "answers": {"1": [1, 2]}}
    (folder / "answers.json").write_text(json.dumps(said))
    shown = {"1": {"kind": "nodes", "what": node, "patches": 3}}
    (folder / "key.json").write_text(json.dumps({"sheet": "a", "rows": shown}))
    (folder / "names.csv").write_text(f"target,name\n{node},ear\n")
    return {
        "workspace": workspace,
        "names": folder / "names.csv",
        "answers": folder / "answers.json",
        "key": folder / "key.json",
        "db": f"sqlite:///{workspace}/graph.db",
        "parts": parts,
        "parts_db": f"sqlite:///{parts}/graph.db",
        "node": node,
        "coco": scenes.coco,
        "photos": scenes.coco.parent,
        "folder": scenes.folder,
        "background": scenes.background,
        "photo": scenes.folder / "04.png",
        "weights": folder / "weights.safetensors",
        "splits": folder / "splits.json",
        "classes": folder / "classes.txt",
    }


# In the order of the table: parts are fitted before they are asked for.
@pytest.mark.parametrize("case", TABLE, ids=str)
def test_every_option_is_obeyed_to_the_end(case, there, tmp_path):
    words = [word.format(**there, out=tmp_path) for word in case.line.split()]
    answer = explgraph(*words)
    assert answer.code == 0, answer.err
    assert answer.out
    if "--json" in words:
        assert answer.json()
    for name in case.writes:
        assert (tmp_path / name).exists(), sorted(tmp_path.rglob("*"))
    # What does not pay is not written.
    assert "{out}" not in case.line or "repair" in case.line or any(tmp_path.iterdir())
