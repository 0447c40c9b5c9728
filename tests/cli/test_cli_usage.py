"""Errors in arguments, and the help pages."""

from __future__ import annotations

import pytest
from conftest import Cli
from fake_service import CUBE, FakeService

PROGRAM = "sourcecraft-artifacts"
OPTIONS = f"  hint: {PROGRAM} download --help shows the options"
USAGE = f"{PROGRAM} download [OPTIONS] RUN [WORKFLOW [TASK [CUBE]]]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("download 7 --jobs 0", ["error: --jobs must be a whole number of at least 1, not 0"]),
        ("download 7 -j x", ["error: --jobs must be a whole number of at least 1, not x"]),
        ("download 7 --jobs=", ["error: --jobs must be a whole number of at least 1, not empty"]),
        ("list 7 --retries -1", ["error: --retries must be a whole number of at least 0, not -1"]),
        ("runs -L 1.5", ["error: --limit must be a whole number of at least 1, not 1.5"]),
        (
            "download 7 --stall-timeout soon",
            ["error: --stall-timeout must be a number of seconds, more than 0, not soon"],
        ),
        (
            "download 7 --layout odd",
            ["error: --layout: 'odd' is not one of 'auto', 'mirror', 'nested', 'flat'", OPTIONS],
        ),
        ("download 7 --zz", ["error: no such option: --zz", OPTIONS]),
        (
            "-R o/r list 7",
            [
                "error: no such option: -R",
                f"  hint: options come after the command, as in: {PROGRAM} list -R ...",
            ],
        ),
        (
            "--with-token login",
            [
                "error: no such option: --with-token",
                f"  hint: {PROGRAM} --help shows the options",
            ],
        ),
        (
            "--zz list 7",
            ["error: no such option: --zz", f"  hint: {PROGRAM} --help shows the options"],
        ),
        (
            "download 7 --layuot",
            ["error: no such option: --layuot (Possible options: --layout)", OPTIONS],
        ),
        (
            "list 7 --limt",  # --quiet is like it only by its dashes
            ["error: no such option: --limt", OPTIONS.replace("download", "list")],
        ),
        (
            "download 7 --layout",
            ["error: option '--layout' requires an argument", "  hint: --help shows the options"],
        ),
        ("download", ["error: missing argument 'RUN'", f"  hint: write {USAGE}"]),
        ("download 7 a b c d e", ["error: too many arguments: d e", f"  hint: write {USAGE}"]),
        (
            "lst",
            [
                "error: no such command 'lst'. Did you mean 'list'?",
                f"  hint: {PROGRAM} --help shows the commands",
            ],
        ),
        (
            "sandbox --bogus",
            [
                "error: no such option: --bogus",
                f"  hint: {PROGRAM} sandbox --help shows the options",
            ],
        ),
        (
            "auth nope",
            [
                "error: no such command 'nope'",
                f"  hint: {PROGRAM} auth --help shows the commands",
            ],
        ),
        (
            "list latest --run-status=",
            [
                "error: --run-status: the status is empty",
                "  hint: write success, failed or processing",
            ],
        ),
    ],
)
def test_a_usage_error_is_told_as_any_other(
    service: FakeService, cli: Cli, arguments: str, said: list[str]
) -> None:
    """The message names the option and what to do; nothing is requested, stdout stays empty."""
    finished = cli(*arguments.split(), code=2)
    assert finished.err.splitlines() == said
    assert finished.stdout == b""
    assert service.api.requests == []


def test_what_an_argument_holds_is_made_visible(cli: Cli) -> None:
    """An escape character in an argument is made visible."""
    for arguments in (["list", "7", "--no\x1b[2J\nx"], ["runs", "-L", "\x1b[2J"], ["\x1b[2J"]):
        err = cli(*arguments, code=2).err
        assert "\x1b" not in err
        assert r"\x1b[2J" in err


def test_numbers_come_from_the_environment_too(service: FakeService, cli: Cli) -> None:
    """A variable is parsed as its option is."""
    service.add("a", b"1")
    cli.download(env={"SOURCECRAFT_ARTIFACTS_JOBS": "2"})


@pytest.mark.parametrize(
    ("variables", "arguments", "shown"),
    [
        ({"INCLUDE": "a.* b.txt"}, (), ["a.txt", "b.txt"]),
        ({"INCLUDE": "c d.txt"}, (), []),
        ({"INCLUDE": "'c d.txt'"}, (), []),
        ({"INCLUDE": "c?d.txt"}, (), ["c d.txt"]),
        ({"EXCLUDE": "a.txt\tb.txt"}, (), ["c d.txt"]),
        ({"INCLUDE": "a.txt"}, ("-i", "b.txt"), ["b.txt"]),
        ({"INCLUDE": "", "EXCLUDE": ""}, (), ["a.txt", "b.txt", "c d.txt"]),
        ({"INCLUDE": "a.txt", "JSON": ""}, (), ["a.txt"]),
        ({"INCLUDE": "a.txt", "JSON": "0"}, (), ["a.txt"]),
    ],
)
def test_variables_of_lists_and_flags(
    service: FakeService,
    cli: Cli,
    variables: dict[str, str],
    arguments: tuple[str, ...],
    shown: list[str],
) -> None:
    """Lists are split at blanks, an option replaces them, and an empty variable counts as unset."""
    for name in ("a.txt", "b.txt", "c d.txt"):
        service.add(name)
    env = {f"SOURCECRAFT_ARTIFACTS_{name}": value for name, value in variables.items()}
    lines = cli("list", "7", *CUBE, *arguments, "--allow-empty", env=env).out.splitlines()
    assert [line.split("\t")[-1] for line in lines] == shown


@pytest.mark.parametrize("command", ["", "auth"])
def test_without_arguments_there_is_help(cli: Cli, command: str) -> None:
    """Without arguments the help goes to stderr, and it is exit 2."""
    finished = cli(*command.split(), code=2)
    assert finished.stdout == b""
    assert finished.err.startswith("Usage: ")
    assert "Commands:" in finished.err
    assert "..." not in finished.err.replace("[ARGS]...", "")


@pytest.mark.parametrize(
    "command",
    ["", "list", "download", "runs", "verify", "auth", "auth login", "auth status", "sandbox"],
)
def test_help_is_for_people(cli: Cli, command: str) -> None:
    """Help shows nothing of the parser: no braces, ranges or type names."""
    out = cli(*command.split(), "--help", env={"COLUMNS": "80"}).out
    out = out.replace("< token.txt", "")
    assert not [mark for mark in ("{", "<", "x>=", "INTEGER", "TEXT", "_number") if mark in out]
    assert max(map(len, out.splitlines())) <= 80
    if command == "download":
        assert out.splitlines()[0] == f"Usage: {USAGE}"


def test_an_empty_path_is_named_in_the_list_of_what_there_is(
    service: FakeService, cli: Cli
) -> None:
    """An empty local_path has a visible name in the list of what there is."""
    for path in ("ok", ""):
        service.add(path, b"1")
    finished = cli("download", "7", *CUBE, "-i", "nope", code=3)
    assert "available: ok, (an empty path)" in finished.err
