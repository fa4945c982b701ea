"""Write docs/cli.md from the parser itself: python scripts/write_cli_docs.py [--check]"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from explgraph.cli import build_parser
from explgraph.cli.options import MODEL

PATH = Path(__file__).parents[1] / "docs" / "cli.md"
COLUMNS = 100

HEAD = f"""# Command line

*Written by `scripts/write_cli_docs.py` from the parser itself; a test keeps both alike.*

{{description}}

Results go to stdout, progress and errors to stderr; `--json` prints exactly one JSON object to \
stdout, in which `null` stands for a figure that cannot be computed. After a failure that object \
is `{{{{"error": {{{{"type", "message", "exit_code"}}}}}}}}`. What would steer the terminal, such \
as a newline in a file's name, is printed as an escape (`\\n`); JSON has the true name. \
`python -m explgraph` is the same as `explgraph`.

| exit code | meaning |
|---|---|
| 0 | done; images that could not be read were skipped, counted and named |
| 1 | failed, one line on stderr says why and what to do |
| 2 | misuse: an unknown option, layer, class, format |
| 130 | interrupted; what is finished is kept, the same command goes on from there |

Placeholders:

- `SOURCE`: a folder of images (searched recursively; each image one object), a COCO JSON file \
(each annotated box one object; images beside the file unless `--images` says otherwise), or one \
image
- `SPEC`: a network: {MODEL}; package.module:NAME is a module, or a function without arguments \
that returns one; it is searched from the current folder too
- `WORKSPACE`: the folder that `explgraph mine` fills; a job that was stopped or killed goes on \
with the same command
- `ID`: a node, `LAYER:CHANNEL:INDEX` such as `features.12:7:0`

Locations tables have the columns `annotation_id`, `image`, `node`, `layer`, `x`, `y` (pixels of \
the original image, x right, y down, the first pixel's centre at 0.5), `score` (the higher the \
surer; 0: nothing was seen, the place is the expected one) and `mirrored`.

Tables of parts (`part locate`) have the columns `annotation_id`, `image`, `part`, `x`, `y` \
(pixels as above), `score` (0..1), `expected_error` (fractions of the box's diagonal), `visible`, \
`template` (the annotated object that is most alike) and `mirrored`. COCO files hold one \
annotation per object with its parts as keypoints, visibility 1 where a part is not visible; Label \
Studio files hold one task per photograph with predictions for `KeyPointLabels` named `part` on an \
`Image` named `image`.
"""


def cli_docs() -> str:
    """The text of docs/cli.md."""
    parser = build_parser()
    head = HEAD.format(description=parser.description).splitlines()
    commands = _commands(parser)
    lines = [*head, *_contents(commands)]
    for name, command in commands.items():
        lines += _section(name, command)
    wrapped = [part for line in lines for part in _wrapped(line)]
    return "\n".join(wrapped).rstrip() + "\n"


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands by the words that call them, those of a family (``part fit``) one by one."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                family = _commands(command)
                found |= {f"{name} {verb}": one for verb, one in family.items()}
                if not family:
                    found[name] = command
    return found


def _contents(commands: dict[str, argparse.ArgumentParser]) -> Iterator[str]:
    yield "\nCommands:\n"
    for name, command in commands.items():
        yield f"- [`{name}`](#{name.replace(' ', '-')}): {command.description}"
    yield ""


def _section(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    arguments = [a for a in command._actions if not isinstance(a, argparse._HelpAction)]
    arguments.sort(key=lambda a: bool(a.option_strings))
    yield f"## {name}\n\n{command.description}\n"
    yield from (*_continued(f"    {_usage(name, arguments)}"), "")
    yield from (f"- `{_form(a)}`: {_help(a)}" for a in arguments)
    yield "\nExamples:\n"
    for example in (command.epilog or "").splitlines()[1:]:
        yield from _continued(f"    {example.strip()}")
    yield ""


def _usage(name: str, arguments: list[argparse.Action]) -> str:
    required = [_form(a) for a in arguments if a.required]
    options = [] if len(required) == len(arguments) else ["[OPTIONS]"]
    return " ".join(["explgraph", name, *required, *options])


def _form(action: argparse.Action) -> str:
    """An argument as one types it: ``SOURCE``, ``--limit N``, ``--quiet``."""
    choices = f"{{{','.join(map(str, action.choices or ()))}}}"
    value = str(action.metavar or (choices if action.choices else action.dest.upper()))
    value = f"{value} ..." if action.nargs == "+" else value
    if not action.option_strings:
        return value
    flag = action.option_strings[-1]
    return flag if action.nargs == 0 else f"{flag} {value}"


def _help(action: argparse.Action) -> str:
    said = (action.help or "").replace("%%", "%").replace("<", "&lt;")
    if action.required and action.option_strings:
        return f"**required**; {said}"
    unsaid = (None, [], (), argparse.SUPPRESS)
    if "default" in said or action.nargs == 0 or action.default in unsaid:
        return said
    return f"{said} (default {action.default})"


def _wrapped(line: str) -> list[str]:
    """Lines of at most COLUMNS; tables and code stay as they are."""
    parts = []
    for one in line.split("\n"):
        indent = "  " if one.startswith("- ") else ""
        keep = one.startswith(("|", "    ")) or not one
        options = {"break_long_words": False, "break_on_hyphens": False}
        parts += [one] if keep else textwrap.wrap(one, COLUMNS, subsequent_indent=indent, **options)
    return parts


def _continued(line: str) -> list[str]:
    r"""A command of at most COLUMNS in one line, a longer one with ``\`` at the line's end."""
    if len(line) <= COLUMNS:
        return [line]
    at = line.rfind(" --", 0, COLUMNS - 1)
    return [f"{line[:at]} \\", *_continued(f"        {line[at:].strip()}")]


def main() -> int:
    """Write the file, or with --check say whether it is up to date."""
    text = cli_docs()
    if "--check" in sys.argv[1:]:
        return int(not PATH.is_file() or PATH.read_text(encoding="utf-8") != text)
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
