"""`explgraph help` and `explgraph completion`: what a shell is told about the other commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from explgraph.cli.options import Commands, add_command, add_options
from explgraph.cli.printing import print_json, say

# Each asks `explgraph completion SHELL WORDS` for what may follow the words typed so far. Where
# nothing is answered, the shell completes names of files.
SCRIPTS = {
    "bash": """\
_explgraph() {
    local IFS=$'\\n'
    local words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=($(explgraph completion bash -- "${words[@]}" 2>/dev/null))
}
complete -o default -o bashdefault -F _explgraph explgraph""",
    "zsh": """\
#compdef explgraph
_explgraph() {
    local -a found
    found=("${(@f)$(explgraph completion zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -Q -- "${found[@]}"; else _files; fi
}
compdef _explgraph explgraph""",
    "fish": """\
function __explgraph
    set -l last (commandline -ct)
    explgraph completion fish -- (commandline -opc)[2..-1] "$last" 2>/dev/null
end
complete -c explgraph -a '(__explgraph)'""",
}
SETUP = {
    "bash": 'eval "$(explgraph completion bash)"    # a line for ~/.bashrc',
    "zsh": 'eval "$(explgraph completion zsh)"     # a line for ~/.zshrc, after compinit',
    "fish": "explgraph completion fish | source    # a line for ~/.config/fish/config.fish",
}


def add_commands(commands: Commands) -> None:
    """Add ``help`` and ``completion``."""
    helps = add_command(
        commands,
        "help",
        _help,
        "Say what a command does and which options it has, as its --help.",
        "explgraph help mine",
        "explgraph help part fit",
    )
    words = {"nargs": "*", "metavar": "COMMAND"}
    add_options(helps, ("words", words, "such as 'mine' or 'part fit'; none: list the commands"))
    completion = add_command(
        commands,
        "completion",
        _completion,
        "Print the script by which a shell completes commands and options at the tab key.",
        *SETUP.values(),
    )
    typed = {"nargs": "*", "metavar": "WORD"}
    add_options(
        completion,
        ("shell", {"choices": tuple(SCRIPTS), "metavar": "SHELL"}, "bash, zsh or fish"),
        ("words", typed, "typed so far, the last perhaps in part: print what it may become"),
    )


def _help(args: argparse.Namespace) -> None:
    from explgraph.cli import build_parser
    from explgraph.errors import UsageError

    parser = build_parser()
    for word in args.words:
        known = _commands(parser)
        if word not in known:
            raise UsageError(f"there is no command {word!r}; it is one of {', '.join(known)}")
        parser = known[word]
    if args.json:
        print_json({"help": parser.format_help()})
    else:
        say(*parser.format_help().splitlines())


def _completion(args: argparse.Namespace) -> None:
    from explgraph.cli import build_parser

    if args.words:
        lines = candidates(build_parser(), args.words)
    else:
        lines = SCRIPTS[args.shell].splitlines()
    if args.json:
        print_json({"lines": lines})
    elif lines:
        say(*lines)


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """What the last word may become; none where a file or any text may stand.

    >>> from explgraph.cli import build_parser
    >>> candidates(build_parser(), ["part", "fi"]), candidates(build_parser(), ["mine", "--no"])
    (['fit'], ['--no-mirror', '--nodes'])
    """
    *before, last = words
    value_of: argparse.Action | None = None  # the option whose value comes next
    for word in before:
        if value_of is None and word in _commands(parser):
            parser = _commands(parser)[word]
            continue
        option = parser._option_string_actions.get(word)
        value_of = option if option is not None and option.nargs != 0 else None
    if value_of is not None:
        found = [str(one) for one in value_of.choices or ()]
    elif last.startswith("-"):
        found = list(parser._option_string_actions)
    else:
        choices = (one.choices for one in parser._actions if not one.option_strings)
        found = [str(name) for one in choices for name in one or ()]
    return sorted(name for name in found if name.startswith(last))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    families = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return {name: sub for family in families for name, sub in family.choices.items()}
