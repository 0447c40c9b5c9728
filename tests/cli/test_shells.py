"""Completion in real shells on a terminal."""

from __future__ import annotations

import os
import pty
import select
import shutil
import sys
import time
from collections.abc import Iterator
from subprocess import Popen

import pytest
from conftest import Cli
from fake_service import WAIT, FakeService
from generate import FOLDER

# A shell that evaluates this name creates a file.
HOSTILE = ("$(touch evil)", "`touch evil`", r"\$(touch evil)", "';touch evil;'", '";touch evil;"')
NAMES = ("My Flow", "ci:build", "ci:bundle x", "it's", 'say "hi"', "a*b", r"b\s", "сборка")
START = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}
LOAD = {
    "bash": f"source '{FOLDER}/sourcecraft-artifacts.bash'\n",
    "zsh": f"fpath=('{FOLDER}' $fpath); autoload -U compinit; compinit -u -D\n",
    "fish": f"source '{FOLDER}/sourcecraft-artifacts.fish'\n",
}
# A program that completes as the real one, and writes down its arguments.
SHIM = """#!/bin/sh
[ -n "$_SOURCECRAFT_ARTIFACTS_COMPLETE" ] && exec '{python}' -P -m sourcecraft_artifacts
for argument do printf '%s\\n' "$argument"; done >> "$ARGUMENTS"
echo . >> "$ARGUMENTS"
"""


class Terminal:
    """An interactive shell; only the commands that it runs are observed."""

    def __init__(self, shell: str, cli: Cli) -> None:
        self.arguments = cli.cwd / "arguments"
        self.arguments.touch()
        folder = cli.cwd / "bin"
        folder.mkdir()
        shim = folder / "sourcecraft-artifacts"
        shim.write_text(SHIM.format(python=sys.executable))
        shim.chmod(0o755)
        env = {**cli.env, "ARGUMENTS": str(self.arguments), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        env["PATH"] = f"{folder}{os.pathsep}{env['PATH']}"
        self.screen = b""
        self._terminal, self._other = pty.openpty()
        # The first terminal that a session's leader opens becomes its controlling terminal.
        on_terminal = 'exec "$@" <"$0" >"$0" 2>&1'
        command = ["sh", "-c", on_terminal, os.ttyname(self._other), *START[shell]]
        self._process = Popen(command, cwd=cli.cwd, env=env, start_new_session=True)
        self._write(LOAD[shell])

    def type(self, keys: str, program: str = "sourcecraft-artifacts") -> list[str]:
        """Type a command's arguments and Enter; return the arguments that the command got."""
        before = self.arguments.read_text().count("\n.\n")
        self._write(f"{program} {keys}\n")
        deadline = time.monotonic() + WAIT
        while self.arguments.read_text().count("\n.\n") == before:
            assert time.monotonic() < deadline, self.screen.decode(errors="replace")
            self._read()
        return self.arguments.read_text().split("\n.\n")[before].split("\n")

    def _write(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _read(self) -> None:
        if select.select([self._terminal], [], [], 0.02)[0]:
            self.screen += os.read(self._terminal, 1 << 16)

    def close(self) -> None:
        """Hang up."""
        os.close(self._other)
        os.close(self._terminal)
        self._process.wait(WAIT)


@pytest.fixture(params=START)
def shell(request: pytest.FixtureRequest) -> str:
    """Yield the name of a shell that this machine has."""
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    return name


@pytest.fixture
def terminal(shell: str, cli: Cli, service: FakeService) -> Iterator[Terminal]:
    """Start a shell with completion, beside a service with odd names."""
    for name in NAMES + HOSTILE:
        service.add("f", cube=(name, "build", "linux"))
    terminal = Terminal(shell, cli)
    yield terminal
    terminal.close()


def test_names_come_through(terminal: Terminal, cli: Cli) -> None:
    """A name is completed from its first characters, and reaches the program unchanged."""
    typed = {"My": "My Flow", "ci:bui": "ci:build", "ci:bun": "ci:bundle x", "it": "it's"}
    typed |= {"sa": 'say "hi"', "a": "a*b", "b": r"b\s", "сб": "сборка"}
    for keys, name in typed.items():
        assert terminal.type(f"list 7 {keys}\t") == ["list", "7", name]


def test_nothing_of_a_name_is_evaluated(terminal: Terminal, cli: Cli) -> None:
    """A name that is shell code is inserted as text."""
    for keys, name in zip((r"\$\(", r"\`", r"\\", r"\'", r"\""), HOSTILE, strict=True):
        assert terminal.type(f"list 7 {keys}\t") == ["list", "7", name]
    assert not (cli.cwd / "evil").exists()


def test_an_open_quote_is_closed(terminal: Terminal) -> None:
    """A name is completed after an open quote too."""
    for keys, name in {'"My F': "My Flow", "'My F": "My Flow", '"ci:bui': "ci:build"}.items():
        assert terminal.type(f"list 7 {keys}\t") == ["list", "7", name]


def test_what_is_typed_already_counts(terminal: Terminal) -> None:
    """Commands, options and values are completed, and options on the line are used."""
    assert terminal.type("down\t7 --lay\tfl\t") == ["download", "7", "--layout", "flat"]
    assert terminal.type("list --with\t--repo=org/repo 7 My\tbu\tli\t")[-3:] == [
        "My Flow",
        "build",
        "linux",
    ]


def test_the_program_may_be_named_by_a_path(terminal: Terminal) -> None:
    """A program that is called by its path completes too, also with `~`."""
    for folder in ("bin", "~/work/bin"):
        typed = terminal.type("list 7 My\t", f"{folder}/sourcecraft-artifacts")
        assert typed == ["list", "7", "My Flow"]
