"""The help pages: sections, examples, and the commands `help` and `version`."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from conftest import Cli

from sourcecraft_artifacts.cli.app import program
from sourcecraft_artifacts.cli.help import OTHER, PROGRAM, SECTIONS, folded_command

COMMANDS = ["", "list", "download", "runs", "verify", "sandbox", "auth login"]


def command_of(path: str) -> Any:
    """Return the program's object for a command."""
    found: Any = program()
    for word in path.split():
        found = found.commands[word]
    return found


def paragraphs(page: str) -> dict[str, list[str]]:
    """Return the lines below each heading of a page."""
    found: dict[str, list[str]] = {}
    for line in page.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            found[line[:-1]] = lines = []
        elif found and line:
            lines.append(line.strip())
    return found


@pytest.mark.parametrize("path", ["list", "download", "runs"])
def test_options_stand_in_sections(cli: Cli, path: str) -> None:
    """Each option is in one section, and the sections are in order."""
    page = paragraphs(cli(*path.split(), "--help", env={"COLUMNS": "80"}).out)
    shown = {title: lines for title, lines in page.items() if title in SECTIONS}
    assert list(shown) == [title for title in SECTIONS if title in shown]
    assert len(shown) >= 4
    (other,) = shown[OTHER]
    assert other.startswith("-h, --help ")
    names = [word.strip(",") for lines in shown.values() for line in lines for word in line.split()]
    for param in command_of(path).params:
        if param.param_type_name == "option":
            assert names.count(max(param.opts, key=len)) >= 1


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_examples_are_not_broken(cli: Cli, path: str, columns: int) -> None:
    """Each example is one line at 80 columns; at 40 it is folded between words."""
    page = paragraphs(cli(*path.split(), "--help", env={"COLUMNS": str(columns)}).out)
    shown, examples = page["Examples"], command_of(path).epilog.splitlines()
    if columns >= 80:
        assert shown == examples
        assert max(map(len, shown)) <= 78
    joined = "\n".join(shown).replace("\\\n", " ").splitlines()
    assert list(map(shlex.split, joined)) == list(map(shlex.split, examples))


@pytest.mark.parametrize(
    ("command", "width", "lines"),
    [
        ("a b c", 5, ["a b c"]),
        ("aa bb cc", 7, ["aa bb \\", "    cc"]),
        ("aaaaaaaaaa --long-option", 4, ["aaaaaaaaaa \\", "    --long-option"]),
    ],
)
def test_a_command_is_folded_between_words(command: str, width: int, lines: list[str]) -> None:
    """No word is broken at any width."""
    assert [line.rstrip() for line in folded_command(command, width)] == lines


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["-V"], ["--version"]),
        (["version"], ["--version"]),
        (["help"], ["--help"]),
        (["help", "download"], ["download", "--help"]),
        (["help", "auth", "login"], ["auth", "login", "-h"]),
    ],
)
def test_words_lead_to_the_options(cli: Cli, words: list[str], options: list[str]) -> None:
    """`help` and `version` do what `--help` and `--version` do."""
    said = cli(*words)
    assert said.out == cli(*options).out
    assert said.out.startswith(("Usage: ", PROGRAM))
    assert said.err == ""


def test_help_about_nothing_is_a_usage_error(cli: Cli) -> None:
    """`help` with an unknown command is exit 2."""
    finished = cli("help", "downlaod", code=2)
    assert finished.out == ""
    assert finished.err.startswith("error: no such command 'downlaod'. Did you mean 'download'?")
