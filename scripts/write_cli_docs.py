"""Write docs/cli.md from the command line's own parser: python scripts/write_cli_docs.py [--check]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from explgraph.cli import build_parser

PATH = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """# Command line

*Written by `scripts/write_cli_docs.py` from the parser itself; a test keeps both alike.*

{description}

Results go to stdout, progress and errors to stderr; `--json` prints exactly one JSON object, in which `null` stands for a figure that
cannot be computed. `python -m explgraph` is the same as `explgraph`.

| exit code | meaning |
|---|---|
| 0 | done; images that could not be read were skipped, counted and named |
| 1 | failed, one line on stderr says why and what to do |
| 2 | misuse: an unknown option, layer, class, format |
| 130 | interrupted; what is finished is kept, the same command goes on from there |

| placeholder | stands for |
|---|---|
| SOURCE | a folder of images (searched recursively; each image one object), a COCO JSON file (each annotated box one object; images \
beside the file unless `--images` says otherwise), or one image |
| SPEC | a network: {model}; a factory takes no argument and returns a module, and is searched from the current folder too |
| WORKSPACE | the folder that `explgraph mine` fills; a job that was stopped or killed goes on with the same command |
| ID | a node, `LAYER:CHANNEL:INDEX` such as `features.12:7:0` |

Locations tables have the columns `annotation_id`, `image`, `node`, `layer`, `x`, `y` (pixels of the original image, x right, y down, the
first pixel's centre at 0.5), `score` (the higher the surer; 0: nothing was seen, the place is the expected one) and `mirrored`.

Tables of parts (`part locate`) have the columns `annotation_id`, `image`, `part`, `x`, `y` (pixels as above), `score` (0..1),
`expected_error` (fractions of the box's diagonal), `visible`, `template` (the annotated object that is most alike) and `mirrored`. COCO
files hold one annotation per object with its parts as keypoints, visibility 1 where a part is not visible; Label Studio files hold one task
per photograph with predictions for `KeyPointLabels` named `part` on an `Image` named `image`.
"""


def cli_docs() -> str:
    """Return docs/cli.md."""
    from explgraph.cli.options import MODEL

    parser = build_parser()
    return (
        "\n".join(
            [
                HEAD.format(description=parser.description, model=MODEL),
                *_contents(parser),
                *_sections(parser),
            ]
        ).rstrip()
        + "\n"
    )


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands by the words that call them, those of a family (``part fit``) one by one."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        for name, command in (
            action.choices.items() if isinstance(action, argparse._SubParsersAction) else ()
        ):
            nested = _commands(command)
            found |= (
                {f"{name} {verb}": one for verb, one in nested.items()}
                if nested
                else {name: command}
            )
    return found


def _contents(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield "| command | |\n|---|---|"
    for name, command in _commands(parser).items():
        yield f"| [`{name}`](#{name.replace(' ', '-')}) | {_cell(command.description or '')} |"
    yield ""


def _sections(parser: argparse.ArgumentParser) -> Iterator[str]:
    for name, command in _commands(parser).items():
        arguments = [a for a in command._actions if not isinstance(a, argparse._HelpAction)]
        yield f"## {name}\n\n{command.description}\n"
        yield f"    {_usage(name, arguments)}\n"
        yield "| argument | |\n|---|---|"
        yield from (
            f"| `{_cell(_form(a))}` | {_cell(_help(a))} |"
            for a in sorted(arguments, key=lambda a: bool(a.option_strings))
        )
        examples = (command.epilog or "").removeprefix("examples:\n")
        yield f"\nExamples:\n\n    {examples.strip().replace(chr(10) + '  ', chr(10) + '    ')}\n"


def _usage(name: str, arguments: list[argparse.Action]) -> str:
    required = sorted((a for a in arguments if a.required), key=lambda a: bool(a.option_strings))
    options = " [OPTIONS]" if len(required) < len(arguments) else ""
    return " ".join(["explgraph", name, *map(_form, required)]) + options


def _form(action: argparse.Action) -> str:
    """Return an argument as one types it: ``SOURCE``, ``--limit N``, ``--quiet``."""
    value = action.metavar or (
        f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper()
    )
    value = f"{value} ..." if action.nargs == "+" else str(value)
    if not action.option_strings:
        return value
    return (
        action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {value}"
    )


def _help(action: argparse.Action) -> str:
    said = (action.help or "").replace("%%", "%")
    if action.required and action.option_strings:
        return f"**required**; {said}" if said else "**required**"
    told = (
        "default" in said or action.default in (None, False, argparse.SUPPRESS) or action.nargs == 0
    )
    return said if told else f"{said} (default {action.default})".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """Write the file, or with --check say whether it is up to date."""
    text = cli_docs()
    if "--check" in sys.argv[1:]:
        return int(not PATH.is_file() or PATH.read_text(encoding="utf-8") != text)
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
