"""The reference agrees with the program: options, statuses, variables, keys and events."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import leaves, options
from pages import README, REFERENCE, RUSSIAN, Page, codes

from sourcecraft_artifacts import Artifact, ArtifactDates, CubeAddress, FileResult, Request
from sourcecraft_artifacts.choices import IfExists
from sourcecraft_artifacts.cli.config import TOKEN_VARIABLE
from sourcecraft_artifacts.cli.origins import PREFIX
from sourcecraft_artifacts.cli.stderr import listen, show_error
from sourcecraft_artifacts.errors import ExitCode, UsageError
from sourcecraft_artifacts.logs import PACKAGE
from sourcecraft_artifacts.models import ACTIVE_STATUSES, EVENT_TYPES, FINAL_STATUSES
from sourcecraft_artifacts.results import Outcome
from sourcecraft_artifacts.service.access import DEFAULT_API_URL
from sourcecraft_artifacts.show.progress import JsonEvents

# The options.


def _default(option: Any) -> str:
    """Return a default as the tables have it; empty if the table uses words."""
    tacit = Request._field_defaults
    standard = {
        "--dir": tacit["directory"],
        "--layout": tacit["layout"],
        "--if-exists": IfExists.UPDATE,
        "--api-url": DEFAULT_API_URL,
    }
    value = standard.get(max(option.opts, key=len), option.default)
    if option.is_flag:
        return "on" if option.default else "off"
    if isinstance(value, float | int):
        return f"`{value:g}`"
    return "" if value is None else f"`{value}`"


def _value(option: Any) -> str:
    if option.is_flag:
        return ""
    return option.metavar or "|".join(map(str, option.type.choices))


Documented = dict[tuple[str, frozenset[str]], tuple[str, str]]


def test_the_tables_have_the_options() -> None:
    """The tables have exactly the options of each command, with value and default."""
    documented: Documented = {}
    (alone,) = REFERENCE.tables("`download`")
    (shared,) = REFERENCE.tables("The other commands, and what they share")
    rows = [(names, "download", default) for names, _, default in alone]
    rows += [(names, commands, default) for names, commands, _, default in shared]
    for names, commands, default in rows:
        *short, long = codes(names)
        name, _, value = long.partition(" ")
        default = default if default in ("on", "off") or codes(default) else ""
        for command in commands.split(", "):
            key = command, frozenset([*short, name])
            assert key not in documented
            documented[key] = value, default
    assert documented == {
        (name, frozenset(option.opts)): (_value(option), _default(option))
        for name, command in leaves().items()
        for option in options(command)
    }


@pytest.mark.parametrize(
    ("page", "heading"), [(REFERENCE, "Exit status"), (RUSSIAN, "Коды завершения")], ids=str
)
def test_the_table_has_the_exit_statuses(page: Page, heading: str) -> None:
    """The table has exactly the program's statuses, in order."""
    (table,) = page.tables(heading)
    assert [int(code) for code, _ in table] == [*map(int, ExitCode), 129, 130, 143]


def test_the_filters_have_the_known_values() -> None:
    """The known values of the filters are in the table."""
    (table,) = REFERENCE.tables("Addresses")
    named = {codes(name)[0]: codes(values) for name, values in table}
    assert named["--run-status"] == [*ACTIVE_STATUSES, *FINAL_STATUSES]
    assert named["--event"] == [*EVENT_TYPES]


def test_the_environment_is_as_said() -> None:
    """Each option has the variable that the rule gives; other variables are in the table."""
    (table,) = REFERENCE.tables("Environment")
    named = {name for names, _ in table for name in codes(names)}
    known = {TOKEN_VARIABLE}
    for command in leaves().values():
        for option in options(command):
            name = max(option.opts, key=len).removeprefix("--").replace("-", "_").upper()
            assert PREFIX + name in option.envvar
            assert set(option.envvar) - {PREFIX + name} <= named
            known |= set(option.envvar)
    mentioned = set(re.findall(r"\bSOURCECRAFT_[A-Z_]*[A-Z]\b", REFERENCE.text + README.text))
    assert mentioned - {PREFIX.rstrip("_")} <= known


# The output for programs.


def _run(env: Mapping[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "sourcecraft_artifacts", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def test_the_documents_have_the_keys(sandbox_env: dict[str, str], folder: Path) -> None:
    """The keys of each JSON document are those of the table, in order."""
    listing, runs, report = (
        json.loads(_run(sandbox_env, folder, *command).stdout)
        for command in (
            ("list", "43", "ci", "build", "linux", "--json"),
            ("runs", "--limit", "1", "--json"),
            ("download", "43", "ci", "build", "linux", "-i", "plan.json", "--json", "-q"),
        )
    )
    found = [listing, listing["artifacts"][0], runs, runs["runs"][0]]
    found += [report, report["files"][0], report["summary"]]
    table, _ = REFERENCE.tables("Output for programs")
    assert [codes(keys) for _, keys in table] == [list(one) for one in found]
    said = re.search(r"^`outcome` is (.*?)\.", REFERENCE.text, re.M | re.S)
    assert said is not None
    assert codes(said[1]) == list(Outcome)


@dataclass
class Fetching:
    """A file in transfer."""

    name: str = "a"
    size: int | None = 2
    position: int = 0
    stage: str = ""


def _reported() -> str:
    """Return an event of each kind."""
    address = CubeAddress("o/r", "1", "w", "t", "c")
    result = FileResult(Artifact(address, "a", "success", ArtifactDates()), "a", Outcome.DOWNLOADED)
    stream, fetching, seconds = io.StringIO(), Fetching(), iter(range(1000))
    events = JsonEvents(stream, clock=lambda: float(next(seconds)), ticks=None)
    events.begin(1)
    events.started(fetching)
    fetching.position = 1
    events.tick()
    events.retrying(fetching, "because", 1.0)
    events.refreshing(1)
    events.waiting("for it")
    events.finished(fetching, result)
    events.close()
    return stream.getvalue()


def test_the_events_have_the_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tables have exactly the keys of each event, and exactly the events."""
    package = logging.getLogger(PACKAGE)
    monkeypatch.setattr(package, "handlers", list(package.handlers))
    monkeypatch.setattr(package, "level", package.level)
    listen(debug=True, events=True)
    package.info("told")
    package.debug("logged")
    show_error(UsageError("wrong", hint="like this"))
    events = _reported() + capsys.readouterr().err
    _, table = REFERENCE.tables("Output for programs")
    documented = {codes(kind)[0]: codes(keys) for kind, keys, _ in table}
    found = [json.loads(line) for line in events.splitlines()]
    assert {one["event"] for one in found} == documented.keys()
    for one in found:
        assert list(one) == ["event", *documented[one["event"]]]


@pytest.mark.parametrize(
    "more",
    [
        ("43", "--debug"),
        ("latest", "--run-status", "success"),
        ("latest", "-R", "wrong"),
    ],
)
def test_stderr_holds_events_alone(
    sandbox_env: dict[str, str], folder: Path, more: tuple[str, ...]
) -> None:
    """With `--progress json` every line is an event, from the first on."""
    said = _run(
        sandbox_env, folder, "download", "--progress", "json", *more, "-i", "plan.json"
    ).stderr
    assert said
    assert all("event" in json.loads(line) for line in said.splitlines())
