"""Repositories, runs and names, and the places that they are read from."""

from collections.abc import Sequence

import pytest

from sourcecraft_artifacts.errors import UsageError
from sourcecraft_artifacts.service.address import (
    WEB_FORM,
    Address,
    looks_like_web_address,
    name_matches,
    parse_address,
    parse_repo,
)

WEB = "https://sourcecraft.dev/o/r/cicd/runs/12"
ARTIFACTS = "https://api.sourcecraft.tech/repos/o/r/cicd/artifacts"


@pytest.mark.parametrize(
    ("names", "exact"),
    [
        (["w", "t", "c"], True),
        (["w", "t", "[c]"], True),
        (["w", "t"], False),
        ([], False),
        (["w", "t", "*"], False),
        (["w?", "t", "c"], False),
    ],
)
def test_three_plain_names_are_exact(names: list[str], exact: bool) -> None:
    """Only three plain names make an exact address."""
    assert parse_address("latest", names, explicit_repo="o/r").exact is exact


def test_plain_arguments_are_taken_as_they_are() -> None:
    """A slug may be any text, which the client percent-encodes."""
    address = parse_address("..", ["a b", "ы/%2F", "?#"], explicit_repo="o/r")
    assert address == Address("o/r", "..", "a b", "ы/%2F", "?#")


@pytest.mark.parametrize(
    ("run", "names", "address"),
    [
        (WEB, [], Address("o/r", "12")),
        (f"{WEB}/", [], Address("o/r", "12")),
        (f"{WEB}/w", [], Address("o/r", "12", "w")),
        (f"{WEB}/w/t/c", [], Address("o/r", "12", "w", "t", "c")),
        (f"{WEB}/w/t/c//?tab=log#l1", [], Address("o/r", "12", "w", "t", "c")),
        (f"{WEB}?tab=a/b", ["w"], Address("o/r", "12", "w")),
        (f"{WEB}/w", ["t", "c"], Address("o/r", "12", "w", "t", "c")),
        (f"{WEB}/w/t", [None, None, None], Address("o/r", "12", "w", "t")),
        (f"{WEB}/a%20b/%D1%8B%2F/c%3F+d", [], Address("o/r", "12", "a b", "ы/", "c?+d")),
        ("http://SourceCraft.dev/o/r/cicd/runs/latest", [], Address("o/r", "latest")),
        ("sourcecraft.dev/o/r/cicd/runs/12", [], Address("o/r", "12")),
        ("www.sourcecraft.dev/o/r/cicd/runs/12", [], Address("o/r", "12")),
        (" https://sourcecraft.dev/o/r/cicd/runs/12\n", [], Address("o/r", "12")),
        ("api.sourcecraft.tech/repos/o/r/cicd/runs/12/w", [], Address("o/r", "12", "w")),
        (f"{ARTIFACTS}/12/w/t/c?x#y", [], Address("o/r", "12", "w", "t", "c")),
        (f"{ARTIFACTS}/12", ["w"], Address("o/r", "12", "w")),
    ],
)
def test_a_web_address_sets_repository_run_and_names(
    run: str, names: Sequence[str | None], address: Address
) -> None:
    """Names after a web address continue it, and the default repository is not computed."""
    assert parse_address(run, names, default_repo=lambda: pytest.fail("asked")) == address
    assert parse_address(run, names, explicit_repo="o/r") == address


@pytest.mark.parametrize(
    "run",
    [
        "https://sourcecraft.dev",
        "https://sourcecraft.dev/o/r",
        "https://sourcecraft.dev/o/r/cicd/runs",
        "https://sourcecraft.dev/o/r/cicd/runs/",
        "https://sourcecraft.dev/o/r/issues/runs/12",
        "https://sourcecraft.dev//r/cicd/runs/12",
        "https://sourcecraft.dev/o%2Fx/r/cicd/runs/12",
        f"{WEB}/w//c",
        f"{WEB}/w/t/c/d",
        f"{WEB}/%FF",
        "https://sourcecraft.dev.example.org/o/r/cicd/runs/12",
        "https://sourcecraft.dev:8443/o/r/cicd/runs/12",
        "https://user:SECRET@sourcecraft.dev/o/r/cicd/runs/12",
        "https://example.org/o/r/cicd/runs/12?s=SECRET",
        "ftp://sourcecraft.dev/o/r/cicd/runs/12",
    ],
)
def test_another_web_address_shows_the_expected_form(run: str) -> None:
    """An address that is not a run's is refused, without its user info and query."""
    with pytest.raises(UsageError) as caught:
        parse_address(run)
    assert WEB_FORM in caught.value.message
    assert "SECRET" not in caught.value.message


@pytest.mark.parametrize("names", [["x"], ["x", "y"]])
def test_names_may_not_follow_a_full_web_address(names: list[str]) -> None:
    """A web address that ends with a cube takes no more names."""
    with pytest.raises(UsageError, match="WORKFLOW and TASK and CUBE already"):
        parse_address(f"{WEB}/w/t/c", names)


def test_the_command_line_must_not_contradict_a_web_address() -> None:
    """Two different repositories are refused, and both are named."""
    with pytest.raises(UsageError, match=r"o/other.*o/r"):
        parse_address(WEB, explicit_repo="o/other")


def test_the_command_line_beats_the_default_repository() -> None:
    """The default is computed only if no repository is given, as that may run git."""
    assert parse_address("1", default_repo=lambda: "d/r").repo == "d/r"
    address = parse_address("1", explicit_repo="o/r", default_repo=lambda: pytest.fail("asked"))
    assert address.repo == "o/r"
    with pytest.raises(UsageError, match="no repository"):
        parse_address("1")


@pytest.mark.parametrize(
    "repo",
    ["", "o", "o/", "/r", "o/r/x", "o/ ", "https://h/o", "a/\ud800", "git@github.com:o/r.git"],
)
def test_a_repository_has_two_parts(repo: str) -> None:
    """Anything but ORG/REPO is a usage error, from every source."""
    with pytest.raises(UsageError, match="the repository"):
        parse_repo(repo)
    with pytest.raises(UsageError, match="the repository"):
        parse_address("1", default_repo=lambda: repo)


def test_a_password_in_a_repository_is_not_shown() -> None:
    """The user info of a remote as `--repo` is not shown."""
    with pytest.raises(UsageError) as caught:
        parse_repo("https://user:SECRET@git.example/o/r.git")
    assert "SECRET" not in caught.value.message


@pytest.mark.parametrize(
    ("run", "names", "what"),
    [
        ("", [], "RUN is empty"),
        ("1", [""], "WORKFLOW is empty"),
        ("1", ["w", ""], "TASK is empty"),
        ("1", ["w", "t", ""], "CUBE is empty"),
        ("https://sourcecraft.dev/o/r/cicd/runs/1", ["w", ""], "TASK is empty"),
        ("1", ["w", "\udc80"], "TASK is not valid text"),
        ("https://sourcecraft.dev/o/r/cicd/runs/\udc80", [], "not valid text"),
    ],
)
def test_empty_and_broken_names_are_usage_errors(run: str, names: list[str], what: str) -> None:
    """Names that cannot be in an API path are refused."""
    with pytest.raises(UsageError, match=what):
        parse_address(run, names, explicit_repo="o/r")


@pytest.mark.parametrize(
    ("text", "web"),
    [
        ("12", False),
        ("latest", False),
        ("sourcecraft.dev", False),
        ("x/sourcecraft.dev/y", False),
        ("SourceCraft.dev/o", True),
        ("www.sourcecraft.dev/o", True),
        ("api.sourcecraft.tech/x", True),
        (" sourcecraft.dev/o", True),
        ("https://x", True),
        ("ftp://x", True),
    ],
)
def test_a_web_address_is_told_from_a_slug(text: str, web: bool) -> None:
    """An invalid web address is not taken for a slug."""
    assert looks_like_web_address(text) is web


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (None, "anything", True),
        ("build", "build", True),
        ("build", "builds", False),
        ("build", "Build", False),
        ("b*", "build", True),
        ("*", "", True),
        ("*", "a/b\nc", True),
        ("b?", "b", False),
        ("b?", "bы", True),
        ("[ab]", "a", False),
        ("[ab]*", "[ab]c", True),
        ("a.*", "abc", False),
        ("a*b?", "a*b?", True),
        ("*" * 50 + "x", "a" * 50, False),
    ],
)
def test_names_match_literally_or_as_globs(pattern: str | None, name: str, matches: bool) -> None:
    """Only `*` and `?` are special, and no other character of a regular expression."""
    assert name_matches(pattern, name) is matches
