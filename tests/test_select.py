from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.select import (
    Selection,
    most_like,
    name_pattern,
    normalised,
    path_pattern,
)


@pytest.mark.parametrize(
    ("local_path", "seen"),
    [
        ("a/b", "a/b"),
        ("/a", "a"),
        ("./a", "a"),
        ("a//.//b/", "a/b"),
        ("/../a/..", "../a/.."),
        ("", ""),
        ("/", ""),
    ],
)
def test_paths_are_seen_normalised(local_path: str, seen: str) -> None:
    """Redundant slashes and dots are removed; `..` stays, so that it can be excluded."""
    assert normalised(local_path) == seen


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("*.json", ["a.json", "x/y/a.json", ".json", "x\n/\n.json"], ["a.jsonl", "a.json/b"]),
        ("a.json", ["a.json", "x/a.json"], ["aXjson", "xa.json", "a.json/b"]),
        ("?.txt", ["a.txt", "x/é.txt"], [".txt", "ab.txt", "a/.txt"]),
        ("*", ["a", "x/y"], []),
        ("**", ["a", "x/y"], []),
        ("a**b", ["ab", "x/a-b"], ["a/b"]),
        ("/a", ["a"], ["x/a"]),
        ("./a", ["a"], ["x/a"]),
        ("/*", ["a"], ["x/a"]),
        ("dist//./*.js", ["dist/a.js"], ["dist/x/a.js", "x/dist/a.js"]),
        ("dist/*", ["dist/a"], ["dist/a/b", "dist"]),
        ("dist/**", ["dist/a", "dist/a/b", "dist/\n/b"], ["dist", "distx/a", "x/dist/a"]),
        ("dist/", ["dist/", "dist", "dist/a", "dist/a/b"], ["distx", "distx/a", "x/dist/a"]),
        ("./a/*/", ["a/b/", "a/b", "a/b/c/d"], ["a", "b/c"]),
        ("**/a/", ["a", "a/b", "x/y/a/", "x/a/b"], ["xa/b", "ab"]),
        ("/", ["a", "a/b"], []),
        (".", ["", ".", "./"], ["a", ".a", "a/b"]),
        ("./", ["", "."], ["a", "a/b"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb", "ax/b", "a/b/c"]),
        ("**/b", ["b", "a/b", "a/x/b"], ["ab", "a/xb", "b/c"]),
        ("**/a/**/b", ["a/b", "x/a/y/b"], ["b", "xa/b"]),
        ("a/b**c", ["a/bc", "a/b/x/c"], ["a/c"]),
        ("a**/b", ["a/b", "ax/y/b"], ["ab"]),
        ("a?b/c", ["axb/c"], ["a/b/c"]),
        ("a/*/c", ["a/b/c", "a//b/c"], ["a/c", "a/b/b/c"]),
        ("../*", ["../a"], ["a"]),
        ("[ab].txt", ["[ab].txt"], ["a.txt", "b.txt"]),
        ("{a,b}", ["{a,b}"], ["a"]),
        (r"a\*", [r"a\b"], ["a*"]),
        ("(a|b)+^$.", ["(a|b)+^$."], ["a"]),
        ("A", ["A"], ["a"]),
    ],
)
def test_path_globs(glob: str, matching: list[str], others: list[str]) -> None:
    """Only `*`, `**` and `?` are special, and only `**` crosses components."""
    chosen = Selection(include=(glob,))
    assert [path for path in matching if not chosen.matches(path)] == []
    assert [path for path in others if chosen.matches(path)] == []


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("build", ["build"], ["Build", "builds", "a/build"]),
        ("build-*", ["build-", "build-a/b", "build-\n"], ["build"]),
        ("**", ["", "a/b"], []),
        ("?", ["a", "/", "\n"], ["", "ab"]),
        ("[x]", ["[x]"], ["x"]),
    ],
)
def test_name_globs(glob: str, matching: list[str], others: list[str]) -> None:
    """In names, `*` and `?` match all characters."""
    pattern = name_pattern(glob)
    assert [name for name in matching if not pattern.fullmatch(name)] == []
    assert [name for name in others if pattern.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("include", "exclude", "wanted"),
    [
        ((), (), ["a.log", "b.json", "x/b.json"]),
        (("*.json",), (), ["b.json", "x/b.json"]),
        (("*.log", "/b.json"), (), ["a.log", "b.json"]),
        ((), ("*.json",), ["a.log"]),
        ((), ("*.log", "x/**"), ["b.json"]),
        (("*.json",), ("x/**",), ["b.json"]),
        (("b.json",), ("b.json",), []),
    ],
)
def test_exclude_wins(
    include: tuple[str, ...], exclude: tuple[str, ...], wanted: list[str]
) -> None:
    """An artifact is selected if an include matches, or there is none, and no exclude does."""
    selection = Selection(include, exclude)
    assert [p for p in ("a.log", "b.json", "x/b.json") if selection.matches(p)] == wanted


@pytest.mark.parametrize("local_path", ["/x/a", "./x//a", "x/./a/"])
def test_selection_normalises(local_path: str) -> None:
    """A glob is matched against the normalised path."""
    assert Selection(include=("x/a",)).matches(local_path)
    assert not Selection(exclude=("x/a",)).matches(local_path)


@pytest.mark.parametrize(
    ("patterns", "alike"),
    [
        (("serch.bin",), ["site/search.bin"]),
        (("SEARCH.BIN",), ["site/search.bin"]),
        (("site/serch.*",), ["site/search.bin"]),
        (("*.rpm",), []),
        (("*",), []),
        (("plan.jsn",), ["plan.json", "./x/plan.json"]),
        (("dist/ap.tar", "disk.img"), ["dist/app.tar", "disk.imga"]),
        ((), []),
    ],
)
def test_what_a_misspelt_pattern_may_mean(patterns: tuple[str, ...], alike: list[str]) -> None:
    """Paths that are like a pattern are found, by their file names if it has no `/`."""
    paths = ["plan.json", "dist/app.tar", "./x/plan.json", "disk.imga", "site/search.bin", ""]
    assert most_like(patterns, paths) == alike


def test_few_of_very_many_paths_are_compared() -> None:
    """A hint does not take long, however many artifacts there are."""
    assert most_like(["name"], (f"nam{number % 7}" for number in count())) != []


@settings(derandomize=True)
@given(st.text().filter(lambda text: not set("*?") & set(text)))
def test_plain_text_matches_itself(text: str) -> None:
    """A glob without special characters matches that name or normalised path."""
    assert name_pattern(text).fullmatch(text)
    assert path_pattern(text).fullmatch(normalised(text))
