"""The source of a value in messages, and unknown variables and keys."""

from __future__ import annotations

import subprocess

import pytest
from conftest import Cli
from fake_service import CUBE, REPO, FakeService

from sourcecraft_artifacts.cli.origins import PREFIX, nearest_of


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("JOBS", "many", " must be a whole number of at least 1, not many"),
        ("RETRIES", "-1", " must be a whole number of at least 0, not -1"),
        ("STALL_TIMEOUT", "soon", " must be a number of seconds, more than 0, not soon"),
        ("STALL_TIMEOUT", "1e9", " must be more than 0 and at most 1,000,000 seconds"),
        ("LIMIT_RATE", "fast", ": fast is not a rate"),
        ("WAIT_TIMEOUT", "later", ": later is not a duration"),
        ("LAYOUT", "tree", ": 'tree' is not one of"),
        ("IF_EXISTS", "ask", ": 'ask' is not one of"),
        ("PROGRESS", "loud", ": 'loud' is not one of"),
        ("WAIT", "maybe", ": 'maybe' is neither 1 (on) nor 0 (off)"),
        ("REPO", "one", ": the repository must be ORG/REPO"),
        ("API_URL", "http://example.org", ": the API address http://example.org cannot be used"),
        ("CA_BUNDLE", "/no/ca", " names '/no/ca', which does not exist"),
        ("CHECKSUMS", ".sourcecraft-artifacts/x", ": .sourcecraft-artifacts/x is inside"),
    ],
)
def test_a_bad_value_of_a_variable_is_told_of_the_variable(
    service: FakeService, cli: Cli, variable: str, value: str, said: str
) -> None:
    """The message for a bad value from a variable names the variable, not the option."""
    service.add("a", b"1")
    name, option = f"{PREFIX}{variable}", f"--{variable.lower().replace('_', '-')}"
    env = {"SOURCECRAFT_API_URL": None} if variable == "API_URL" else {}
    first, *_ = cli.download(env={**env, name: value}, code=2).err.splitlines()
    assert first.startswith(f"error: the variable {name}{said}")
    assert option not in first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--layout", "tree"), "--layout: 'tree' is not one of"),
        (("-R", "one"), "--repo: the repository must be ORG/REPO, not one"),
        (("--api-url", "ftp://h"), "--api-url: the API address ftp://h cannot be used"),
        (("--limit-rate", "fast"), "--limit-rate: fast is not a rate"),
    ],
)
def test_a_bad_value_of_an_option_is_told_of_the_option(
    cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    """The message for a bad value of an option names the option, even if its variable is set."""
    for variable in ("LAYOUT", "REPO", "API_URL", "LIMIT_RATE"):
        env = {f"{PREFIX}{variable}": arguments[1]} if variable.lower() in said else {}
        assert cli.download(*arguments, env=env, code=2).err.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--api-url", "--api-url: the API address is empty"),
        ("--repo", "--repo: the repository is empty"),
    ],
)
def test_an_empty_option_is_no_absent_option(
    service: FakeService, cli: Cli, option: str, said: str
) -> None:
    """A script's unset variable does not silently become a default; nothing is sent."""
    subprocess.run(["git", "init", "-q"], cwd=cli.cwd, check=True)
    remote = f"ssh://ssh.sourcecraft.dev/{REPO}.git"
    subprocess.run(["git", "remote", "add", "origin", remote], cwd=cli.cwd, check=True)
    assert cli("runs", option, "", code=2).err.startswith(f"error: {said}\n")
    assert service.api.requests == []


def test_of_two_variables_the_one_with_the_value_is_told(cli: Cli) -> None:
    """If an option has two variables, the message names the one that is set."""
    err = cli("runs", env={"SOURCECRAFT_API_URL": "ftp://h"}, code=2).err
    assert err.startswith("error: the variable SOURCECRAFT_API_URL: the API address")


@pytest.mark.parametrize(("key", "value"), [("repo", "one"), ("api_url", "ftp://h")])
def test_a_bad_value_of_the_config_file_is_told_of_the_file(cli: Cli, key: str, value: str) -> None:
    """The message for a bad value in the config file names the file."""
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text(f'{key} = "{value}"\n')
    unset = {"SOURCECRAFT_API_URL": None} if key == "api_url" else {f"{PREFIX}REPO": None}
    err = cli("runs", env=unset, code=2).err
    assert err.startswith(f"error: in the config file {cli.config}: ")
    assert "--" not in err.splitlines()[0]


@pytest.mark.parametrize(
    ("env", "arguments", "there"),
    [
        ({"PRUNE": "1"}, ("-o", "f"), {"f"}),
        ({"DIR": "out", "LAYOUT": "flat", "PRUNE": "1"}, ("-o", "f"), {"f"}),
        ({"OUTPUT": "f"}, ("--prune",), {"a"}),
        ({"OUTPUT": "f", "PRUNE": "1"}, ("-d", "."), {"a"}),
        ({"OUTPUT": "f", "PRUNE": "0"}, (), {"f"}),
    ],
)
def test_a_variable_yields_to_an_option_that_excludes_it(
    service: FakeService, cli: Cli, env: dict[str, str], arguments: tuple[str, ...], there: set[str]
) -> None:
    """Of a file and a folder to download to, the one on the command line holds."""
    service.add("a", b"x")
    env = {f"{PREFIX}{name}": value for name, value in env.items()}
    cli("download", "7", *CUBE, *arguments, env=env)
    assert {path.name for path in cli.cwd.iterdir() if path.is_file()} == there


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("OUTPUT", "DIR"), "cannot be combined with"),
        (("OUTPUT", "PRUNE"), "cannot be combined with"),
        (("JSON", "PATHS"), "and the variable"),
    ],
)
def test_variables_that_exclude_each_other_are_both_told(
    cli: Cli, names: tuple[str, str], said: str
) -> None:
    """If two variables cannot be combined, the message names both."""
    env = {f"{PREFIX}{name}": "1" for name in names}
    first = cli("download", "7", *CUBE, env=env, code=2).err.splitlines()[0]
    assert first.startswith(f"error: the variable {PREFIX}{names[0]} {said}")
    assert f"the variable {PREFIX}{names[1]}" in first


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("LAYOT", "SOURCECRAFT_ARTIFACTS_LAYOUT"),
        ("RETRY", "SOURCECRAFT_ARTIFACTS_RETRIES"),
        ("TOKEN", "SOURCECRAFT_TOKEN"),
        ("layout", "SOURCECRAFT_ARTIFACTS_LAYOUT"),
        ("NO_WAIT", "SOURCECRAFT_ARTIFACTS_WAIT"),
    ],
)
def test_a_variable_that_belongs_to_no_option_is_told(
    service: FakeService, cli: Cli, name: str, likely: str
) -> None:
    """A misspelt variable is a warning with the nearest name, without its value."""
    service.add("a", b"1")
    err = cli("list", "7", *CUBE, env={f"{PREFIX}{name}": "s3cret"}).err
    said = f"warning: the variable {PREFIX}{name} belongs to no option; did you mean {likely}?"
    assert err.splitlines() == [said]


@pytest.mark.parametrize("command", [("runs",), ("auth", "status"), ("verify", "out")])
def test_each_command_tells_of_unknown_variables(
    service: FakeService, cli: Cli, command: tuple[str, ...]
) -> None:
    """Commands without requests warn of unknown variables too."""
    service.add("a", b"1")
    cli.download()
    assert f"did you mean {PREFIX}QUIET?" in cli(*command, env={f"{PREFIX}QUITE": "1"}).err


def test_variables_of_other_commands_are_no_typos(service: FakeService, cli: Cli) -> None:
    """Variables of other commands, and those without the prefix, are no warning."""
    service.add("a", b"1")
    env = {f"{PREFIX}LIMIT": "3", f"{PREFIX}DIR": "out", "SOURCECRAFT_RUN": "7", f"X{PREFIX}": "1"}
    assert cli("list", "7", *CUBE, env=env).err == ""


def test_an_unknown_key_of_the_config_file_is_told(service: FakeService, cli: Cli) -> None:
    """An unknown key is a warning with the file's path, without any value."""
    service.add("a", b"1")
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text('rebo = "s3cret/x"\n[token]\n"h" = "s3cret"\n["\\u001b"]\n[colour]\n')
    err = cli("list", "7", *CUBE).err
    place = f"in the config file {cli.config} is unknown; did you mean"
    assert f"warning: the key rebo {place} repo?" in err
    assert f"warning: the key token {place} tokens?" in err
    assert "is unknown; known are api_url, repo, tokens" in err
    assert "s3cret" not in err
    assert "\x1b" not in err


def test_the_nearest_name_is_looked_for_behind_the_prefix() -> None:
    """The common prefix does not count when names are compared."""
    names = {f"{PREFIX}DIR", f"{PREFIX}JOBS", "SOURCECRAFT_TOKEN"}
    assert nearest_of(f"{PREFIX}JOB", names) == f"{PREFIX}JOBS"
    assert nearest_of(f"{PREFIX}TOKEN", names) == "SOURCECRAFT_TOKEN"
