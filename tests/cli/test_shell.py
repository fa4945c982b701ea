"""`explgraph help` and `explgraph completion`."""

import os
import shutil
import subprocess
import sys

import pytest
from builders.commands import explgraph
from builders.real import ROOT

from explgraph.cli import build_parser
from explgraph.cli.shell import candidates


@pytest.mark.parametrize("words", [(), ("mine",), ("part",), ("part", "fit")])
def test_help_is_that_of_the_option(words):
    asked = explgraph("help", *words)
    assert asked.code == 0
    if words:
        assert asked.out == explgraph(*words, "--help").out
    else:
        assert asked.out == explgraph("--help").out


def test_help_of_no_command_names_those_there_are():
    answer = explgraph("help", "part", "fti")
    assert answer.code == 2
    assert "no command 'fti'; it is one of fit, list, show, locate" in answer.err


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", {"mine", "gradcam", "help", "part"}),
        ("mi", {"mine"}),
        ("part ", {"fit", "list", "suggest"}),
        ("mine photos --inp", {"--input-size"}),
        ("mine --fit ", {"stretch", "letterbox"}),
        ("mine --fit=x photos --lay", {"--layers"}),
        ("export ws --format gr", {"graphml"}),
        ("part locate ws --format la", {"label-studio"}),
        ("saliency a.jpg --js", {"--json"}),
        ("completion f", {"fish"}),
    ],
)
def test_commands_options_and_choices_are_completed(typed, found):
    words = typed.split(" ")
    answer = set(candidates(build_parser(), words))
    assert found <= answer
    assert all(one.startswith(words[-1]) for one in answer)


@pytest.mark.parametrize("typed", ["mine ph", "mine --out ", "show ws --node ", "mine --weights w"])
def test_files_and_texts_are_left_to_the_shell(typed):
    assert candidates(build_parser(), typed.split(" ")) == []


def test_bash_completes(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    command = tmp_path / "explgraph"
    path = f"{ROOT}{os.pathsep}{ROOT / 'storage'}"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {sys.executable} -m explgraph "$@"\n')
    command.chmod(0o755)
    script = """
    eval "$(explgraph completion bash)"
    complete -p explgraph
    try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _explgraph; echo "${COMPREPLY[*]}"; }
    try explgraph part fi
    try explgraph mine --fit ''
    try explgraph mine 'my photos' --inp
    """
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=env, check=True
    )
    assert ran.stdout.splitlines() == [
        "complete -o bashdefault -o default -F _explgraph explgraph",
        "fit",
        "letterbox stretch",
        "--input-size",
    ]
    assert ran.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_the_script(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    script = tmp_path / "script"
    script.write_text(explgraph("completion", shell).out)
    subprocess.run([shell, "-n", str(script)], check=True)
