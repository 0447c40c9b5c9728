"""Completion of names: which are offered, how they are cached, and that failures are silent."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import Cli
from fake_service import REPO, SIGNATURE, TOKEN, FakeService
from servers import Response

from sourcecraft_artifacts.cli.completion import LIMIT
from sourcecraft_artifacts.cli.shells import Typed, read_line

VARIABLE = "_SOURCECRAFT_ARTIFACTS_COMPLETE"
LATEST = "latest\tthe newest run"
BREAKS = " \t\n\"'><=;|&(:"


def complete(
    cli: Cli, line: str, env: Mapping[str, str | None] | None = None, *, shell: str = "fish"
) -> list[str]:
    """Press Tab at the end of a line; check that only candidates are printed."""
    asked = {VARIABLE: f"complete_{shell}", "_TYPER_COMPLETE_ARGS": f"program {line}"}
    finished = cli.finish(cli.start(env={**asked, **(env or {})}))
    assert (finished.code, finished.err) == (0, "")
    return finished.out.splitlines()


@pytest.fixture
def names(service: FakeService) -> FakeService:
    """Serve two runs, of which the newer is in progress."""
    service.add_run("8", "processing", "2026-11-02T09:00:00Z", pull="17")
    service.add("a", run="8", cube=("ci", "build", "macos"))
    for cube in (("ci", "build", "linux"), ("ci", "test", "unit"), ("docs", "site", "html")):
        service.add("a", run="7", cube=cube)
    return service


OFFERED = {
    "list ": [LATEST, "8\tprocessing", "7\tsuccess"],
    "list 7 ": ["ci", "docs"],
    "list 7 d": ["docs"],
    "list 7 ci ": ["build", "test"],
    "list 7 '*' ": ["build", "test", "site"],
    "list 7 ci test ": ["unit\tsuccess"],
    "list 7 '*' b* ": ["linux\tsuccess"],
    "list 7 ci test unit ": [],
    "list latest ": ["ci"],
    "list latest ci build ": ["macos\tsuccess"],
    "list latest --run-status success ci build ": ["linux\tsuccess"],
    "list latest --run-status failed ": [],
    "list latest docs ": ["site"],
    "list latest --event push --user ann ci build ": ["macos\tsuccess"],
    "list latest --event manual ci build ": [],
    "list latest --run-status pro": ["processing"],
    "runs --event p": ["push", "pr_update"],
    "download latest --user ": ["ann"],
    "runs --pull ": ["17\tann"],
    "list 9 ": [],
    "list 7 x ": [],
    f"list https://sourcecraft.dev/{REPO}/cicd/runs/7 ": ["ci", "docs"],
    f"list https://sourcecraft.dev/{REPO}/cicd/runs/7/ci ": ["build", "test"],
    f"list https://sourcecraft.dev/{REPO}/cicd/runs/7/ci/test ": ["unit\tsuccess"],
    f"list https://sourcecraft.dev/{REPO}/cicd/runs/7/ci test ": ["unit\tsuccess"],
    "download -d out --layout flat 7 d": ["docs"],
}


def test_names_are_offered(names: FakeService, cli: Cli) -> None:
    """Each part of an address is completed from the service, with the status of each name."""
    for line, offered in OFFERED.items():
        assert complete(cli, line) == offered, line


@pytest.mark.usefixtures("names")
def test_the_settings_are_found_as_by_the_commands(cli: Cli) -> None:
    """Settings come from the line, the environment, the config file, or the checkout."""
    url = cli.env.pop("SOURCECRAFT_API_URL")
    other = {"SOURCECRAFT_API_URL": "http://127.0.0.1:1", "SOURCECRAFT_ARTIFACTS_REPO": "no/where"}
    assert complete(cli, f"list --api-url={url} -R {REPO} 7 d", other) == ["docs"]
    del cli.env["SOURCECRAFT_ARTIFACTS_REPO"]
    assert complete(cli, "list 7 d", {"SOURCECRAFT_API_URL": url}) == []
    remote = f"ssh://ssh.sourcecraft.dev/{REPO}.git"
    for command in (["init", "-q"], ["remote", "add", "origin", remote]):
        subprocess.run(["git", *command], cwd=cli.cwd, env=cli.env, check=True)
    assert complete(cli, "list 7 d", {"SOURCECRAFT_API_URL": url}) == ["docs"]
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text(f'api_url = "{url}"\nrepo = "no/where"\n')
    assert complete(cli, "list 7 d") == []
    cli.config.write_text(f'api_url = "{url}"\nrepo = "{REPO}"\n')
    assert complete(cli, "list 7 d") == ["docs"]


def cached(cli: Cli) -> list[Path]:
    """Return the cache files, the oldest first."""
    folder = Path(cli.env["XDG_CACHE_HOME"], "sourcecraft-artifacts")
    return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)


@pytest.mark.parametrize(
    ("line", "seconds"), [("list ", 30), ("list 8 ci ", 30), ("list 7 ci ", 300)]
)
def test_an_answer_is_kept_for_a_while(
    names: FakeService, cli: Cli, line: str, seconds: int
) -> None:
    """The next Tab sends no request; a cached answer expires, sooner if the run may change."""
    offered = complete(cli, line)
    (path,) = cached(cli)
    for age, asked in ((0, 1), (seconds - 10, 1), (seconds + 1, 2)):
        os.utime(path, (time.time() - age, time.time() - age))
        assert complete(cli, line) == offered
        assert len(names.api.requests) == asked


def test_the_cache_is_private(names: FakeService, cli: Cli) -> None:
    """Only the owner can read the cache, and it has no secrets."""
    for line in ("list ", "list 7 "):
        complete(cli, line)
    for path in cached(cli):
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        for secret in (TOKEN, SIGNATURE, "http", REPO, names.api.url):
            assert secret not in path.read_text() + path.name


def test_a_cache_that_is_no_good_is_done_without(names: FakeService, cli: Cli) -> None:
    """Broken cache files are replaced, old ones removed; without a cache folder it works too."""
    complete(cli, "list 7 ")
    (path,) = cached(cli)
    for content in ("", "[]", "{}", '{"seconds": 1e9, "runs": [{"slug": {}}]}', "\xff"):
        path.write_text(content, encoding="latin-1")
        assert complete(cli, "list 7 d") == ["docs"], content
    os.utime(path, (0, 0))
    complete(cli, "list 8 ")
    assert [kept.exists() for kept in (path, *cached(cli))] == [False, True]
    blocked = {"XDG_CACHE_HOME": str(cli.config.parent)}
    cli.config.parent.parent.write_text("a file")
    assert complete(cli, "list 7 d", blocked) == ["docs"]


@pytest.mark.parametrize(
    "answer",
    [
        Response(401),
        Response(500),
        Response(429),
        Response(body=b"<html>"),
        Response(hang=True),
        None,
    ],
    ids=["401", "500", "429", "html", "silence", "no service"],
)
def test_a_failure_is_silent_and_soon(
    service: FakeService, cli: Cli, answer: Response | None
) -> None:
    """If the service does not answer, completion ends soon without names or messages."""
    if answer:
        service.api.on("/", answer)
        service.api.on(f"/repos/{REPO}/cicd/", answer)
    else:
        cli.env["SOURCECRAFT_API_URL"] = "http://127.0.0.1:1"
    started = time.monotonic()
    assert complete(cli, "list ") == [LATEST]
    assert time.monotonic() - started < LIMIT + 5
    assert len(service.api.requests) <= 1


@pytest.mark.parametrize(
    "env",
    [
        {"SOURCECRAFT_ARTIFACTS_REPO": None},
        {"SOURCECRAFT_ARTIFACTS_REPO": "none"},
        {"SOURCECRAFT_API_URL": "http://example.com"},
        {"SOURCECRAFT_TOKEN": "a\x7fb"},
        {"HTTP_PROXY": "nonsense://", "NO_PROXY": ""},
    ],
    ids=str,
)
def test_bad_settings_are_silent(cli: Cli, env: dict[str, str | None]) -> None:
    """Settings that a command would refuse show no message."""
    assert complete(cli, "list ", env) == [LATEST]


def test_a_bad_config_file_is_silent(cli: Cli) -> None:
    """A config file that cannot be read shows no message."""
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text("= nonsense")
    assert complete(cli, "list ") == [LATEST]


def test_names_that_would_do_harm_are_left_out(service: FakeService, cli: Cli) -> None:
    """Names with control characters or line breaks, or like options, are left out."""
    for name in ("--api-url=https://evil.example", "-x", "a\x1b[2Jb", "a\nb", "a\u202eb", "good"):
        service.add("a", cube=(name, "build", "linux"))
    assert complete(cli, "list 7 ") == ["good"]


@pytest.mark.parametrize(
    ("shell", "line", "offered"),
    [
        ("fish", "down", "download\t"),
        ("fish", "list --wi", "--with-urls\tWith --json: also show each download_url"),
        ("fish", "download --layout=fl", "--layout=flat"),
        ("zsh", "download --layout=fl", "--layout=flat"),
        ("zsh", "list --wi", "--with-urls:With --json\\: also"),
        ("bash", "download --layout=fl", "flat"),
        ("bash", "download --layout fl", "flat"),
        ("bash", "--version list --wi", "--with-urls"),
    ],
)
def test_commands_and_options_are_offered(cli: Cli, shell: str, line: str, offered: str) -> None:
    """Commands and options are completed without the service."""
    (found,) = complete(cli, line, {"COMP_WORDBREAKS": BREAKS}, shell=shell)
    assert found.startswith(offered)


@pytest.mark.usefixtures("names")
def test_bash_may_tell_its_words_alone(cli: Cli) -> None:
    """Without the line itself, the words are used, and names are returned unquoted."""
    env = {"_TYPER_COMPLETE_ARGS": "", "COMP_WORDS": "program\nlist\n7\nd", "COMP_CWORD": "3"}
    assert complete(cli, "", env, shell="bash") == ["docs"]
    env |= {"COMP_WORDS": "program\nlist\n7\n", "COMP_CWORD": "3"}
    assert complete(cli, "", env, shell="bash") == ["ci", "docs"]


def test_powershell_gets_quoted_names(service: FakeService, cli: Cli) -> None:
    """PowerShell inserts the text as it is, so it is quoted if necessary."""
    for name in ("it's $x", "plain-1"):
        service.add("a", cube=(name, "build", "linux"))
    env = {"_TYPER_COMPLETE_ARGS": "program\nlist\n7"}
    both = ["'it''s $x'\tit's $x\tit's $x", "plain-1\tplain-1\tplain-1"]
    assert complete(cli, "", env, shell="powershell") == both
    for typed in ("it", "'it", '"it'):
        env["_TYPER_COMPLETE_WORD_TO_COMPLETE"] = typed
        assert complete(cli, "", env, shell="powershell") == both[:1]


@pytest.mark.parametrize("instruction", ["complete_tcsh", "nonsense", "complete_", "x_bash", "_"])
def test_an_unknown_instruction_is_silent(cli: Cli, instruction: str) -> None:
    """An unknown instruction of a script gets an empty reply."""
    finished = cli.finish(cli.start(env={VARIABLE: instruction}))
    assert (finished.code, finished.stdout, finished.err) == (1, b"", "")


@pytest.mark.parametrize(
    ("line", "words", "word", "quote", "held"),
    [
        ("p ", ["p"], "", "", 0),
        ("p  a b", ["p", "a"], "b", "", 0),
        (r"p a\ b", ["p"], "a b", "", 0),
        ("p 'a b' \"c d\" e", ["p", "a b", "c d"], "e", "", 0),
        ("p '' x", ["p", ""], "x", "", 0),
        ('p "a b', ["p"], "a b", '"', 0),
        ("p 'a b", ["p"], "a b", "'", 0),
        (r"p 'a\b", ["p"], r"a\b", "'", 0),
        (r'p "a\"\$\x', ["p"], r'a"$\x', '"', 0),
        ("p ci:bu", ["p"], "ci:bu", "", 3),
        (r"p ci\:bu", ["p"], "ci:bu", "", 0),
        ('p ci:"b u', ["p"], "ci:b u", '"', 3),
        ("p 'ci:bu", ["p"], "ci:bu", "'", 0),
        ("p --layout=fl", ["p"], "--layout=fl", "", 9),
        ("p a\\", ["p"], "a", "", 0),
    ],
)
def test_a_line_is_read_as_a_shell_does(
    line: str, words: list[str], word: str, quote: str, held: int
) -> None:
    """Quotes are resolved, and the part of the last word that bash replaces is known."""
    assert read_line(line, BREAKS) == Typed(words, word, quote, held)


def test_fish_escapes_within_single_quotes() -> None:
    """In fish, a backslash also escapes a quote and a backslash between single quotes."""
    assert read_line(r"p 'it\'s \\ \n", fish=True) == Typed(["p"], r"it's \ \n", "'", 0)
