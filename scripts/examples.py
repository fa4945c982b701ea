#!/usr/bin/env python
"""The Python of the README, the tutorial and the notebooks: what type checkers say of it.

    scripts/examples.py      # mypy --strict and pyright, both on all of it

A page becomes a module in which each line stands where it stands in the page, so that an error
names the line to mend.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md")
NOTEBOOKS = tuple(sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")))
PYRIGHT = {
    "typeCheckingMode": "standard",  # pyright's own default
    "reportUnusedExpression": False,  # the last line of a cell is there to be shown
    "extraPaths": [str(ROOT), str(ROOT / "storage")],
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        line: number of its first line of code in the page, from 1.
    """

    language: str
    line: int
    code: str


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a Markdown page, in their order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    return [Block(one[1], text.count("\n", 0, one.start(2)) + 1, one[2]) for one in found if one[2]]


def commands_of(block: Block) -> list[str]:
    """The commands of a shell block, without comments, continued lines joined."""
    joined = block.code.replace("\\\n", " ")
    lines = (line.partition(" #")[0].strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def module_of(page: Path) -> str:
    """The Python of a page or a notebook as one module."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        return "\n\n".join(f"# cell {k}\n{one}" for k, one in enumerate(code, 1)) + "\n"
    lines: list[str] = []
    for block in blocks_of(page):
        if block.language == "python":
            lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
    return "\n".join(lines) + "\n"


def write_modules(folder: Path) -> list[Path]:
    """The written modules, one for each page and notebook."""
    written = []
    for page in (*PAGES, *NOTEBOOKS):
        written.append(folder / f"{page.stem.replace('-', '_')}.py")
        written[-1].write_text(module_of(page), encoding="utf-8")
    return written


def mypy(files: list[Path]) -> tuple[int, str]:
    """What ``mypy --strict`` says of the files, all in one call: exit code and text."""
    # Silent, as of an installed package: only what the examples say is of interest. A cache of its
    # own, as another set of options would throw the checkout's away.
    options = ("--strict", "--follow-imports=silent", "--cache-dir", ".mypy_cache/examples")
    return _said("-m", "mypy", *options, *map(str, files))


def pyright(folder: Path) -> tuple[int, str]:
    """What pyright says of a folder; basedpyright brings its own node, so nothing is fetched."""
    # A file, as pyright reads no settings where it is given files.
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    # The Python that runs this has the packages; by itself pyright takes the one on the path.
    python = ("--pythonpath", sys.executable)
    return _said("-m", "basedpyright", "--level", "error", *python, "-p", str(folder))


def _said(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    """Print what both say; 1 if one of them has an objection."""
    with tempfile.TemporaryDirectory() as folder:
        answers = (mypy(write_modules(Path(folder))), pyright(Path(folder)))
        for _, said in answers:
            print(said.strip())
    return int(any(code for code, _ in answers))


if __name__ == "__main__":
    sys.exit(main())
