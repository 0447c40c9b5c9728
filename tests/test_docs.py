"""The documents are correct: their commands run, their links lead somewhere.

Blocks tagged `console` are run line by line on a terminal, each block in its own folder with its
own sandbox, and their output is compared: times and speeds may differ, and a line `…` stands for
any lines. Blocks tagged `bash` and `python` are run as files. In blocks tagged `sh` and `yaml` only
the arguments of our commands are parsed.
"""

from __future__ import annotations

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import picture
import pytest
from commands import leaves
from conftest import Cli
from fake_service import FakeService
from pages import (
    ALL,
    CHANGELOG,
    CONTRIBUTING,
    LIBRARY,
    README,
    ROOT,
    RUSSIAN,
    Block,
    Page,
    anchor,
    blocks,
    codes,
)
from servers import Response

import sourcecraft_artifacts
from sourcecraft_artifacts.cli.app import program
from sourcecraft_artifacts.cli.config import load_config
from sourcecraft_artifacts.cli.origins import PREFIX
from sourcecraft_artifacts.service.access import DEFAULT_API_URL

PROGRAM = "sourcecraft-artifacts"
_VARIES = re.compile(r"\d+(\.\d+)? (s\b|[KMGT]?i?B/s)")
_TAKEN = re.compile(r" in [\d.]+ s( \([^)]*/s\))?")  # left out if it is almost nothing
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HELPERS = ("jq", "sha256sum", "xargs", "tar", "bash")


def needs(block: Block) -> None:
    """Skip a block whose helper programs are missing."""
    words = re.findall(r"[\w-]+", block.text)
    missing = [name for name in _HELPERS if name in words and shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def exchanges(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block, with continued lines joined, and its output."""
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
    return _VARIES.sub(r"# \2", _TAKEN.sub("", _COLOUR.sub("", line))).strip()


def different(found: Iterable[Block]) -> list[Block]:
    """Return each block once: both READMEs have some of them."""
    return list({block.text: block for block in found}.values())


@pytest.mark.parametrize("block", different(blocks("console")), ids=str)
def test_a_console_block_is_true(block: Block, sandbox_env: dict[str, str], folder: Path) -> None:
    """Its commands succeed, and print what is written below them."""
    check(block, sandbox_env, folder)


def check(block: Block, env: dict[str, str], folder: Path) -> None:
    """Type a console block, and compare what the terminal shows."""
    needs(block)
    env = {**env, f"{PREFIX}PROGRESS": "none"}  # the display is gone at the end
    for command, expected in exchanges(block):
        shell = ["bash", "-o", "pipefail", "-c", command]
        status, shown = picture.on_terminal(shell, folder, env)
        assert status == 0, f"{command}\n{shown}"
        assert not expected or matches(expected, shown.splitlines()), f"{command}\n{shown}"


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_a_script_runs(block: Block, sandbox_env: dict[str, str], folder: Path) -> None:
    """A script goes on if the service lacks some artifacts."""
    run_script(block, sandbox_env, folder)


def run_script(block: Block, env: dict[str, str], folder: Path) -> None:
    """Run a block as a script, which goes on without what the service lacks."""
    needs(block)
    script = folder / "script"
    script.write_text(block.text, encoding="utf-8")
    finished = subprocess.run(["bash", script], cwd=folder, env=env, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert told_at_the_end(block) in finished.stdout
    assert "unavailable: " in finished.stderr


def told_at_the_end(block: Block) -> str:
    """Return what a script says when it goes on."""
    (told,) = re.findall(r'^echo "(.*)"', block.text, re.MULTILINE)
    return f"{told}\n"


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_a_script_stops_at_a_failed_transfer(block: Block, service: FakeService, cli: Cli) -> None:
    """A script does not go on without a file that the service has."""
    needs(block)
    service.add("lacking.txt", run="44", status="missing")
    service.add("broken.bin", b"x", Response(404), run="44")
    script = cli.cwd / "script"
    script.write_text(block.text, encoding="utf-8")
    path = os.pathsep.join([sysconfig.get_path("scripts"), cli.env["PATH"]])
    finished = subprocess.run(
        ["bash", script], cwd=cli.cwd, env={**cli.env, "PATH": path}, capture_output=True, text=True
    )
    assert finished.returncode == 6
    assert finished.stdout == ""


@pytest.mark.parametrize("page", [README, RUSSIAN], ids=str)
def test_a_readme_can_be_followed(page: Page, sandbox_env: dict[str, str], folder: Path) -> None:
    """All its examples succeed one after the other, in one folder, with what is written below them.

    Not the one of `--wait`, which asks for a new sandbox.
    """
    for block in page.blocks("console", "bash"):
        if block.language == "bash":
            run_script(block, sandbox_env, folder)
        elif "--wait" not in block.text:
            check(block, sandbox_env, folder)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_a_library_example_runs(block: Block, sandbox_env: dict[str, str], folder: Path) -> None:
    """Each example does what it says, in about ten lines."""
    code = [line for line in block.text.splitlines() if line and "import" not in line]
    assert len(code) <= 10
    command = [sys.executable, "-P", "-W", "error", "-c", block.text]
    finished = subprocess.run(command, cwd=folder, env=sandbox_env, capture_output=True, text=True)
    assert finished.stderr == ""
    assert "out/dist/app.tar downloaded 10240" in finished.stdout
    assert (folder / "out" / "dist" / "app.tar").stat().st_size == 10240


@pytest.mark.parametrize("block", blocks("sh", "yaml"), ids=str)
def test_a_command_that_is_not_run_can_be_read(block: Block) -> None:
    """The arguments of each of our commands are valid."""
    for found in re.findall(rf"{PROGRAM}(?:\.pyz)? ([^|)#\n]*)", block.text):
        words = shlex.split(found)
        if words[0].startswith("-"):
            assert words[0] in {name for param in program().params for name in param.opts}
            continue
        name = max((name for name in leaves() if found.startswith(name)), key=len)
        leaves()[name].make_context(name, words[len(name.split()) :])


def test_the_configuration_can_be_read(tmp_path: Path) -> None:
    """The example of a config file has all settings that the program reads, and no others."""
    (block,) = blocks("toml")
    path = tmp_path / "config.toml"
    path.write_text(block.text, encoding="utf-8")
    config = load_config(str(path))
    assert (config.repo, config.api_url) == ("acme/app", DEFAULT_API_URL)
    assert dict(config.tokens) == {"api.sourcecraft.tech": "..."}
    assert tomllib.loads(block.text).keys() == {"repo", "api_url", "tokens"}


# The picture, the links, CONTRIBUTING.


def _lines(svg: str) -> list[str]:
    """Return the lines of a picture without what changes from time to time, sorted."""
    lines: dict[str, str] = {}
    for clip, text in re.findall(r"<text[^>]*line-(\d+)\)[^>]*>([^<]*)</text>", svg):
        lines[clip] = lines.get(clip, "") + html.unescape(text)
    return sorted(" ".join(re.sub(r"[━─\d.]+", "#", line).split()) for line in lines.values())


def test_the_picture_is_current() -> None:
    """Except for numbers, the README's picture is what its script draws today."""
    kept = picture.PICTURE.read_text(encoding="utf-8")
    assert picture.PICTURE.relative_to(ROOT).as_posix() in README.links()
    ElementTree.fromstring(kept)
    assert all(name in kept for name in picture.LARGE)
    assert _lines(picture.draw()) == _lines(kept)


@pytest.mark.parametrize("page", ALL, ids=str)
def test_links_lead_somewhere(page: Page) -> None:
    """A link leads to a file of the project, a heading of a page, or a web address."""
    for target in page.links():
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        path = (page.path.parent / name).resolve() if name else page.path
        assert path.is_file(), target
        assert path.is_relative_to(ROOT), target
        assert not heading or heading in Page(str(path.relative_to(ROOT))).anchors(), target


@pytest.mark.parametrize("page", ALL, ids=str)
def test_a_long_page_has_a_table_of_contents(page: Page) -> None:
    """It links every section, in order, before the first of them."""
    sections = page.headings("##")
    if page is CHANGELOG or len(page.text.splitlines()) < 120:
        return
    linked = [link.removeprefix("#") for link in page.links() if link.startswith("#")]
    assert linked[: len(sections)] == [anchor(section) for section in sections]


def test_the_first_screen_convinces() -> None:
    """Before its first section the README has the picture, both commands, and what is untried."""
    screen = README.text.partition("\n## ")[0]
    assert len(screen.splitlines()) <= 30
    for word in ("download.svg", "make demo", "make test", "never run against the live service"):
        assert word in screen


def test_the_languages_lead_to_each_other() -> None:
    """The first line of each README links the other one."""
    assert "(README.ru.md)" in README.text.splitlines()[0]
    assert "(README.md)" in RUSSIAN.text.splitlines()[0]


def test_the_languages_have_the_same_examples() -> None:
    """The Russian README has each example of the English one, and as many scripts and jobs."""
    wanted, there = ([block.text for block in page.blocks("console")] for page in (README, RUSSIAN))
    assert [text for text in wanted if text not in there] == []
    for language in ("sh", "bash", "yaml"):
        assert len(README.blocks(language)) == len(RUSSIAN.blocks(language))


def test_every_exported_name_is_explained() -> None:
    """The page about the library has each public name in its table, and no other."""
    (table,) = LIBRARY.tables("What it exports")
    assert sorted(name for names, _ in table for name in re.findall(r"`(\w+)`", names)) == sorted(
        sourcecraft_artifacts.__all__
    )


def test_contributing_leads_through_the_package() -> None:
    """It names every package, every base module, and only existing modules."""
    package = Path(sourcecraft_artifacts.__file__).parent
    named = codes(CONTRIBUTING.text)
    packages = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert packages <= set(named)
    modules = {one for one in named if re.fullmatch(r"([a-z]+/)?[a-z_]+\.py", one)}
    assert not {one for one in modules - {"__init__.py"} if not (package / one).is_file()} - {
        one for one in modules if (ROOT / one).is_file()
    }
    base = {path.stem for path in package.glob("*.py") if not path.name.startswith("__")}
    assert base == set(re.split(r",\s+", _base_modules_in_contributing()))


def _base_modules_in_contributing() -> str:
    found = re.search(r"^  (errors, [a-z,\s]*): the base modules$", CONTRIBUTING.text, re.M)
    assert found is not None
    return found[1]


def test_contributing_names_every_command_and_dependency() -> None:
    """It explains the targets of the Makefile and the dependencies of the package."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert phony is not None
    named = codes(CONTRIBUTING.text)
    targets = {code.split()[1] for code in named if code.startswith("make ")}
    assert targets == set(phony[1].split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["dependencies"]) <= set(named)
