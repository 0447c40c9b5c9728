"""The documents tell the truth: their commands run, their tables say what the program has.

In README.md, blocks tagged `console` are run line by line at a terminal, each block in a folder of
its own against a sandbox of its own, and what they show is compared: times and speeds may differ,
and a line that is `…` stands for any lines. Blocks tagged `bash` and `python` are run as files. Of
blocks tagged `sh` and `yaml` the arguments of our commands are read, and nothing is run.
"""

from __future__ import annotations

import dataclasses
import html
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import picture
import pytest
import typer.main

import sourcecraft_artifacts
from sourcecraft_artifacts import Artifact, ArtifactDates, CubeAddress, FileResult, Request
from sourcecraft_artifacts.choices import IfExists
from sourcecraft_artifacts.cli.app import app
from sourcecraft_artifacts.cli.options import PREFIX
from sourcecraft_artifacts.cli.streams import Voice, say, show_error
from sourcecraft_artifacts.errors import ExitCode, UsageError
from sourcecraft_artifacts.results import Outcome
from sourcecraft_artifacts.sandbox import Sandbox
from sourcecraft_artifacts.service.config import DEFAULT_API_URL, TOKEN_VARIABLE, load_config
from sourcecraft_artifacts.show.progress import JsonEvents

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROGRAM = "sourcecraft-artifacts"
_VARIES = re.compile(r"\d+(\.\d+)? (s\b|[KMGT]?i?B/s)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HELPERS = ("jq", "sha256sum", "xargs", "tar", "bash")


# Reading Markdown.


@dataclass(frozen=True)
class Block:
    """A fenced block, with the heading that it stands under."""

    heading: str
    language: str
    text: str

    def __str__(self) -> str:
        return self.heading


def _blocks(language: str) -> list[Block]:
    found, heading = [], ""
    pattern = re.compile(
        r"^#+ (?P<heading>[^\n]*)$|^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
    )
    for match in pattern.finditer(README):
        heading = match["heading"] or heading
        if match["language"] == language:
            found.append(Block(heading, language, match["text"]))
    return found


def tables(heading: str) -> list[list[list[str]]]:
    """Return the tables under a heading of the README, as rows of cells, without their heads."""
    section = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", README, re.M | re.S)
    assert section is not None, heading
    found = re.findall(r"(?:^\|.*\n)+", section[1], re.M)
    return [[_cells(line) for line in table.splitlines()[2:]] for table in found]


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [cell.strip().replace("\\|", "|") for cell in cells]


def codes(cell: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]*)`", cell)


# Running what is written.


@pytest.fixture
def env(
    request: pytest.FixtureRequest, tmp_path: Path, hurry: dict[str, str]
) -> Iterator[dict[str, str]]:
    """A home, and a sandbox: its run in progress stands still, or passes soon for `--wait`."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    waits = "block" in params and "--wait" in params["block"].text
    began = time.time()
    paths = [sysconfig.get_path("scripts"), os.environ["PATH"]]
    home = tmp_path / "home"
    home.mkdir()
    with Sandbox(clock=lambda: began + 10 * (time.time() - began) * waits) as sandbox:
        yield {
            "PATH": os.pathsep.join(paths),
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            **hurry,
            **sandbox.environment(),
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a block is run."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def needs(block: Block) -> None:
    """Skip a block whose helpers are not there."""
    words = re.findall(r"[\w-]+", block.text)
    missing = [name for name in _HELPERS if name in words and shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def exchanges(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block, continued lines joined, and what it shows."""
    command, shown = "", list[str]()
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line[2:], []
        elif not shown and command.endswith("|"):
            command += "\n" + line
        else:
            shown.append(line)
    yield command, shown


def matches(expected: Sequence[str], shown: Sequence[str]) -> bool:
    """Tell whether lines are as written; `…` stands for any."""
    lines = [
        ".*\n" * 0 + r"(?:.*\n)*" if e == "…" else re.escape(_plain(e)) + r"\n" for e in expected
    ]
    return re.fullmatch("".join(lines), "".join(f"{_plain(line)}\n" for line in shown)) is not None


def _plain(line: str) -> str:
    return _VARIES.sub(r"# \2", _COLOUR.sub("", line)).strip()


@pytest.mark.parametrize("block", _blocks("console"), ids=str)
def test_a_console_block_is_true(block: Block, env: dict[str, str], folder: Path) -> None:
    """Its commands succeed, and show what is written below them, if anything is."""
    needs(block)
    env |= {f"{PREFIX}PROGRESS": "none"}  # the display is gone at the end
    for command, expected in exchanges(block):
        shell = ["bash", "-o", "pipefail", "-c", command]
        status, shown = picture.on_terminal(shell, folder, env)
        assert status == 0, f"{command}\n{shown}"
        assert not expected or matches(expected, shown.splitlines()), f"{command}\n{shown}"


@pytest.mark.parametrize("block", _blocks("bash"), ids=str)
def test_a_script_runs(block: Block, env: dict[str, str], folder: Path) -> None:
    """A script succeeds, also where the service lacks some artifacts."""
    needs(block)
    script = folder / "script"
    script.write_text(block.text, encoding="utf-8")
    finished = subprocess.run(["bash", script], cwd=folder, env=env, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "some artifacts are missing; going on without them\n" in finished.stdout


@pytest.mark.parametrize("block", _blocks("python"), ids=str)
def test_the_library_example_runs(block: Block, env: dict[str, str], folder: Path) -> None:
    """The example does what it says, in about ten lines."""
    code = [line for line in block.text.splitlines() if line and "import" not in line]
    assert len(code) <= 10
    command = [sys.executable, "-P", "-W", "error", "-c", block.text]
    finished = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert finished.stderr == ""
    assert finished.stdout.startswith("out/dist/app.tar downloaded 10240 ")
    assert (folder / "out" / "dist" / "app.tar").stat().st_size == 10240


@pytest.mark.parametrize("block", [*_blocks("sh"), *_blocks("yaml")], ids=str)
def test_a_command_that_is_not_run_can_be_read(block: Block) -> None:
    """The program knows the arguments of each of our commands."""
    for found in re.findall(rf"{PROGRAM}(?:\.pyz)? ([^|)#\n]*)", block.text):
        words = shlex.split(found)
        if words[0].startswith("-"):
            assert words[0] in {name for param in program().params for name in param.opts}
            continue
        name = max((name for name in leaves() if found.startswith(name)), key=len)
        leaves()[name].make_context(name, words[len(name.split()) :])


def test_the_configuration_can_be_read(tmp_path: Path) -> None:
    """The example of a config file has the settings that the program reads, and no others."""
    (block,) = _blocks("toml")
    path = tmp_path / "config.toml"
    path.write_text(block.text, encoding="utf-8")
    config = load_config(str(path))
    assert (config.repo, config.api_url) == ("acme/app", DEFAULT_API_URL)
    assert dict(config.tokens) == {"api.sourcecraft.tech": "..."}
    assert tomllib.loads(block.text).keys() == {"repo", "api_url", "tokens"}


# The options.


def program() -> Any:
    """Return the program's own description of itself."""
    return typer.main.get_command(app)


def leaves(group: Any = None, path: str = "") -> dict[str, Any]:
    """Return the commands by their full names."""
    found: dict[str, Any] = {}
    for name, command in (group or program()).commands.items():
        if hasattr(command, "commands"):
            found |= leaves(command, f"{path}{name} ")
        else:
            found[f"{path}{name}"] = command
    return found


def options(command: Any) -> list[Any]:
    """Return the options of a command."""
    return [param for param in command.params if param.param_type_name == "option"]


def _default(option: Any) -> str:
    """Return a default as the tables write it; empty where that is in words."""
    tacit = {field.name: field.default for field in dataclasses.fields(Request)}
    standard = {
        "--dir": tacit["directory"],
        "--layout": tacit["layout"],
        "--if-exists": IfExists.UPDATE,
        "--api-url": DEFAULT_API_URL,
    }
    value = standard.get(max(option.opts, key=len), option.default)
    if option.is_flag:
        return "off"
    if isinstance(value, float | int):
        return f"`{value:g}`"
    return "" if value is None else f"`{value}`"


def _value(option: Any) -> str:
    if option.is_flag:
        return ""
    return option.metavar or "|".join(map(str, option.type.choices))


Documented = dict[tuple[str, frozenset[str]], tuple[str, str]]


def test_the_tables_have_the_options() -> None:
    """Each option of each command is there, with its value and its default, and no other is."""
    documented: Documented = {}
    (alone,) = tables("`download`")
    (shared,) = tables("The other commands, and what they share")
    rows = [(names, "download", default) for names, _, default in alone]
    rows += [(names, commands, default) for names, commands, _, default in shared]
    for names, commands, default in rows:
        *short, long = codes(names)
        name, _, value = long.partition(" ")
        default = default if default == "off" or codes(default) else ""
        for command in commands.split(", "):
            key = command, frozenset([*short, name])
            assert key not in documented
            documented[key] = value, default
    assert documented == {
        (name, frozenset(option.opts)): (_value(option), _default(option))
        for name, command in leaves().items()
        for option in options(command)
    }


def test_the_table_has_the_exit_statuses() -> None:
    """Each status of the program is there, in order, and no other is."""
    (table,) = tables("Exit status")
    assert [int(code) for code, _ in table] == [*map(int, ExitCode), 130, 143]


def test_the_environment_is_as_said() -> None:
    """Each option has the variable that the rule gives it; more than that is in the table."""
    (table,) = tables("Environment")
    named = {name for names, _ in table for name in codes(names)}
    known = {TOKEN_VARIABLE}
    for command in leaves().values():
        for option in options(command):
            name = max(option.opts, key=len).removeprefix("--").replace("-", "_").upper()
            assert PREFIX + name in option.envvar
            assert set(option.envvar) - {PREFIX + name} <= named
            known |= set(option.envvar)
    mentioned = set(re.findall(r"\bSOURCECRAFT_[A-Z_]*[A-Z]\b", README))
    assert mentioned - {PREFIX.rstrip("_")} <= known


# The output for programs.


def _run(env: Mapping[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "sourcecraft_artifacts", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def test_the_documents_have_the_keys(env: dict[str, str], folder: Path) -> None:
    """The keys of each JSON document are those of the table, in its order."""
    listing, runs, report = (
        json.loads(_run(env, folder, *command).stdout)
        for command in (
            ("list", "43", "ci", "build", "linux", "--json"),
            ("runs", "--limit", "1", "--json"),
            ("download", "43", "ci", "build", "linux", "-i", "plan.json", "--json", "-q"),
        )
    )
    found = [listing, listing["artifacts"][0], runs, runs["runs"][0]]
    found += [report, report["files"][0], report["summary"]]
    table, _ = tables("Output for programs")
    assert [codes(keys) for _, keys in table] == [list(one) for one in found]
    said = re.search(r"^`outcome` is (.*?)\.", README, re.M | re.S)
    assert said is not None
    assert codes(said[1]) == list(Outcome)


@dataclass
class Fetching:
    """A file on its way."""

    name: str = "a"
    size: int | None = 2
    position: int = 0


def _reported() -> str:
    """Return an event of each kind that the reporter has."""
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
    """The keys of each event are those of the table, and there are no other events."""
    monkeypatch.setattr(Voice, "as_events", True)
    say("told")
    say("logged", event="debug")
    show_error(UsageError("wrong", hint="like this"))
    events = _reported() + capsys.readouterr().err
    _, table = tables("Output for programs")
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
    env: dict[str, str], folder: Path, more: tuple[str, ...]
) -> None:
    """With `--progress json` every line is an event, from the first on."""
    said = _run(env, folder, "download", "--progress", "json", *more, "-i", "plan.json").stderr
    assert said
    assert all("event" in json.loads(line) for line in said.splitlines())


# The picture, the links, CONTRIBUTING.


def _lines(svg: str) -> list[str]:
    """Return the lines of a picture without what differs from time to time, sorted."""
    lines: dict[str, str] = {}
    for clip, text in re.findall(r"<text[^>]*line-(\d+)\)[^>]*>([^<]*)</text>", svg):
        lines[clip] = lines.get(clip, "") + html.unescape(text)
    return sorted(" ".join(re.sub(r"[━─\d.]+", "#", line).split()) for line in lines.values())


def test_the_picture_is_current() -> None:
    """The script draws it, and but for numbers the one in the README is what it draws today."""
    kept = picture.PICTURE.read_text(encoding="utf-8")
    assert picture.PICTURE.relative_to(ROOT).as_posix() in README
    ElementTree.fromstring(kept)
    assert all(name in kept for name in picture.LARGE)
    assert _lines(picture.draw()) == _lines(kept)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    """A link leads to a file of the project or a heading of the page, or is a web address."""
    text = (ROOT / name).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (ROOT / target).is_file(), target


def test_contributing_names_every_module() -> None:
    """Whoever looks for a module finds it there, and none that is gone."""
    package = Path(sourcecraft_artifacts.__file__).parent
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    named = {one for one in codes(CONTRIBUTING) if re.fullmatch(r"[a-z_]+\.py", one)}
    assert named == modules


def test_contributing_names_every_command_and_dependency() -> None:
    """The targets of the Makefile and the dependencies of the package are explained."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert phony is not None
    targets = {code.split()[1] for code in codes(CONTRIBUTING) if code.startswith("make ")}
    assert targets == set(phony[1].split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["dependencies"]) <= set(codes(CONTRIBUTING))
