"""The house rules that no linter knows; CONTRIBUTING.md says them in words."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = sorted([*ROOT.glob("explgraph/**/*.py"), *ROOT.glob("storage/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))
WRITTEN = sorted(
    [
        *PRODUCT,
        *TESTS,
        *ROOT.glob("scripts/**/*.py"),
        *ROOT.glob("benchmarks/*.py"),
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
)


def dotted(file: Path) -> str:
    """The module that a file is: ``explgraph.network.load`` for explgraph/network/load.py."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "storage" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The package or module directly below explgraph, or explgraph_storage."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "explgraph" else 1])


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(file: Path) -> list[str]:
    """The modules that a file imports, anywhere in it."""
    found = []
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def test_rooms_import_each_other_through_their_front_door():
    found = []
    packages = {dotted(file) for file in PRODUCT if file.name == "__init__.py"}
    for file in [*PRODUCT, *ROOT.glob("benchmarks/*.py")]:
        here = room(dotted(file))
        for module in imported(file):
            ours = module.split(".")[0] in ("explgraph", "explgraph_storage")
            if ours and room(module) not in (here, module) and module not in packages:
                found.append(f"{dotted(file)} imports {module}, not {room(module)}")
    assert not found, "\n".join(found)


def test_no_function_takes_more_than_six_positional_arguments():
    found = []
    for file in PRODUCT:
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.FunctionDef):
                names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
                names = names[names[:1] in (["self"], ["cls"]) :]
                if len(names) > 6:
                    found.append(f"{dotted(file)}.{node.name} takes {len(names)}")
    assert not found, "\n".join(found)


def test_lines_have_at_most_100_columns():
    found = []
    for file in WRITTEN:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if len(line) > 100:
                found.append(f"{file.relative_to(ROOT)}:{number} has {len(line)} columns")
    assert not found, "\n".join(found)


def test_shapes_are_said_of_arrays_that_are_classes():
    """NDArray is none from NumPy 2.5 on, and jaxtyping asks for a class: the import would fail."""
    wrong = [path for path in PRODUCT if re.search(r'\w\[NDArray\[[^]]*\], "', path.read_text())]
    assert not wrong


def test_every_room_has_its_place_in_the_import_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    stated = {name for layer in layers for name in layer.split(" | ")}
    rooms = {room(dotted(file)) for file in PRODUCT} - {"explgraph", "explgraph.__main__"}
    assert stated == rooms


def test_no_test_imports_a_test():
    names = {file.stem for file in TESTS if file.stem.startswith("test_")}
    found = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in TESTS
        for module in imported(file)
        if names & set(module.split("."))
    ]
    assert not found, "\n".join(found)


def test_the_folders_of_tests_are_those_of_the_code():
    rooms = {room(dotted(file)).removeprefix("explgraph.") for file in PRODUCT}
    others = {"builders", "benchmarks", "fuzz", "storage"}
    paths = [file.relative_to(ROOT / "tests").parts for file in TESTS]
    folders = {parts[0] for parts in paths if len(parts) > 1}
    assert folders - others <= rooms


@pytest.mark.parametrize(
    "code",
    [
        "import explgraph",
        "import explgraph.cli",
        "from explgraph.cli import build_parser; build_parser().format_help()",
    ],
)
def test_importing_loads_none_of_the_heavy_packages(code):
    heavy = {"torch", "matplotlib", "sklearn", "sqlalchemy", "pandas", "numpy"}
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'storage'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not heavy & set(answer.stdout.split())


def exported(package: str) -> dict[str, object]:
    """The functions that a room offers, by name; each in the room that it belongs to."""
    module = importlib.import_module(package)
    names = getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]
    found = {name: getattr(module, name) for name in names}
    return {
        f"{package}.{name}": value
        for name, value in found.items()
        if inspect.isfunction(value) and value.__module__.startswith(package)
    }


def test_every_function_that_a_room_offers_has_an_example_that_runs():
    rooms = {room(dotted(file)) for file in PRODUCT} - {"explgraph", "explgraph.__main__"}
    rooms.add("explgraph.network.partial")
    functions = {name: value for one in sorted(rooms) for name, value in exported(one).items()}
    assert len(functions) > 100
    missing = [name for name, value in functions.items() if ">>>" not in (value.__doc__ or "")]
    assert not missing
