import os
import re
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.disk.paths import (
    Collision,
    SafePath,
    UnsafePath,
    collisions,
    flat_path,
    fold_key,
    folds_names,
    nested_path,
    safe_path,
)
from sourcecraft_artifacts.disk.tree import Tree
from sourcecraft_artifacts.models import CubeAddress

LONG = "é" * 127 + "x"  # 255 bytes in UTF-8

# Pieces of hostile paths, besides arbitrary text.
PIECES = ["/", "/", ".", "..", "a", "A", "é", "e\u0301", "x/..", "~", "\\", ":", " ", "\0", "\n"]
TEXTS = st.one_of(
    st.lists(st.sampled_from([*PIECES, ".sourcecraft-artifacts", LONG]), max_size=8).map("".join),
    st.text(st.characters(exclude_categories=()), max_size=20),
)
PROPERTY = settings(max_examples=200, derandomize=True)


def places(*texts: str) -> list[SafePath]:
    """Return a strategy for safe paths, by the rules of every system."""
    return [safe_path(text, portable=False) for text in texts]


@pytest.mark.parametrize(
    ("local_path", "place"),
    [
        ("a", "a"),
        ("/a", "a"),
        ("//a///b", "a/b"),
        ("./a", "a"),
        ("././/./a", "a"),
        ("a/./b", "a/b"),
        ("a/", "a"),
        ("a//./", "a"),
        ("foo..bar", "foo..bar"),
        ("..foo/b..r", "..foo/b..r"),
        (".foo", ".foo"),
        ("a b/ c", "a b/ c"),
        ("отчёт/✓\u202e", "отчёт/✓\u202e"),
        (LONG, LONG),
        (f"{LONG}/" * 40, f"{LONG}/" * 39 + LONG),
        (".sourcecraft-artifacts2", ".sourcecraft-artifacts2"),
        (".sourcecraft", ".sourcecraft"),
    ],
)
@pytest.mark.parametrize("portable", [False, True])
def test_good_paths_are_normalised(local_path: str, place: str, portable: bool) -> None:
    """A path from outside lands below the output folder, by its plain components."""
    assert str(safe_path(local_path, portable=portable)) == place


@pytest.mark.skipif(os.name == "nt", reason="Windows has stricter rules")
@pytest.mark.parametrize(
    "name",
    ["a\\b", "C:", "C:a", "a<b", 'a"b', "a|b", "a?b", "a*b", "NUL", "con.txt", "a..", "a ", "..."],
)
def test_posix_takes_what_windows_refuses(name: str) -> None:
    """The Windows rules apply only on Windows, or with `portable`."""
    assert safe_path(f"x/{name}/y", portable=False).parts == ("x", name, "y")


@pytest.mark.parametrize(
    ("local_path", "reason"),
    [
        ("", "empty"),
        ("/", "empty"),
        (".", "empty"),
        ("././/", "empty"),
        ("..", "'..' component"),
        ("../a", "'..' component"),
        ("a/../b", "'..' component"),
        ("a/..", "'..' component"),
        ("/..//a", "'..' component"),
        ("a\0b", "control character"),
        ("a/\nb", "control character"),
        ("\x1f", "control character"),
        ("a\x7f", "control character"),
        ("\x80", "control character"),
        ("\x9b", "control character"),
        ("a/\ud800", "lone surrogate"),
        ("\udcff/a", "lone surrogate"),
        (f"a/{LONG}x/b", "more than 255 bytes"),
        ("é" * 128, "more than 255 bytes"),
        (".sourcecraft-artifacts", "inside .sourcecraft-artifacts"),
        ("a/.sourcecraft-artifacts/manifest.json", "inside .sourcecraft-artifacts"),
        (".sourcecraft-artifacts/manifest.json", "inside .sourcecraft-artifacts"),
        ("/.//.sourcecraft-artifacts/a", "inside .sourcecraft-artifacts"),
        (".SourceCraft-ARTIFACTS/a", "inside .sourcecraft-artifacts"),
        (".\u017fourcecraft-artifacts/a", "inside .sourcecraft-artifacts"),
        (".source\u200ccraft-artifacts/a", "inside .sourcecraft-artifacts"),
    ],
)
@pytest.mark.parametrize("portable", [False, True])
def test_unsafe_paths_are_refused(local_path: str, reason: str, portable: bool) -> None:
    """Each rule for all systems refuses with its own message, in every layout."""
    address = CubeAddress("o/r", "1", "w", "t", "c")
    with pytest.raises(UnsafePath, match=reason):
        safe_path(local_path, portable=portable)
    with pytest.raises(UnsafePath, match=reason):
        nested_path(address, local_path, portable=portable)
    with pytest.raises(UnsafePath, match=reason):
        flat_path(local_path, portable=portable)


DEVICES = ["CON", "prn", "Aux", "nul", "CONIN$", "conout$", "COM1", "com9", "LPT1", "lpt9"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((f"a{character}b", "has the character") for character in '<>:"|?*\\'),
        ("C:", "character :"),
        ("\\\\server\\share", r"character \\"),
        ("a::$DATA", "character :"),
        ("a.", "trailing dot"),
        ("...", "trailing dot"),
        ("a ", "trailing dot or space"),
        *((device, "is a device") for device in [*DEVICES, "COM¹", "com²", "LPT³"]),
        *((f"{device}.tar.gz", "is a device") for device in DEVICES),
        *((f"{device}  .txt", "is a device") for device in DEVICES),
    ],
)
def test_portable_paths_obey_windows(
    name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Windows rules apply to each component with `portable`, and always on Windows."""
    for local_path in (name, f"a/{name}", f"{name}/a"):
        with pytest.raises(UnsafePath, match=reason):
            safe_path(local_path, portable=True)
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        with pytest.raises(UnsafePath, match=reason):
            safe_path(name, portable=False)


@pytest.mark.parametrize("name", ["SOURCE~1", "source~12"])
def test_portable_paths_avoid_the_short_name_of_the_state_folder(name: str) -> None:
    """A short name of Windows for the state folder is refused."""
    with pytest.raises(UnsafePath, match=r"inside \.sourcecraft-artifacts, by its short name"):
        safe_path(f"{name}/manifest.json", portable=True)
    assert safe_path(f"a/{name}", portable=True).parts == ("a", name)


@pytest.mark.parametrize(
    "name",
    ["CONSOLE", "COM", "COM0", "COM10", "a.CON", "LPTx", "nul-1", "CONIN", " a", ".a", "a.b.c"],
)
def test_portable_paths_keep_plain_names(name: str) -> None:
    """Names that only resemble device names are accepted."""
    assert safe_path(f"{name}/{name}", portable=True).parts == (name, name)


@PROPERTY
@example("\x9f")
@given(st.characters(exclude_characters="/."))
def test_control_characters_are_those_of_unicode(character: str) -> None:
    """All of category Cc is refused, and of the others only surrogates."""
    refused = unicodedata.category(character) in {"Cc", "Cs"}
    try:
        safe_path(character, portable=False)
    except UnsafePath:
        assert refused
    else:
        assert not refused


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (("w", "t", "c"), "w/t/c/a/b"),
        (("w w", "t*", "c:c"), "w w/t*/c:c/a/b"),
        (("w", ".sourcecraft-artifacts2", "..."), "w/.sourcecraft-artifacts2/.../a/b"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows has stricter rules")
def test_nested_paths_begin_with_the_names(names: tuple[str, str, str], place: str) -> None:
    """The names of workflow, task and cube come before the normalised path."""
    address = CubeAddress("o/r", "1", *names)
    assert str(nested_path(address, "/a/./b", portable=False)) == place


@pytest.mark.parametrize(
    ("names", "portable", "reason"),
    [
        (("w w", "t*", "c"), True, "has the character"),
        (("w", "nul", "c"), True, "is a device"),
        (("w/x", "t", "c"), False, "not one path component"),
        (("w", "", "c"), False, "not one path component"),
        (("w", "t", "."), False, "not one path component"),
        (("/w", "t", "c"), False, "not one path component"),
        (("w", "..", "c"), False, "'..' component"),
        (("w", "t\n", "c"), False, "control character"),
        (("w", "t", "c" * 256), False, "more than 255 bytes"),
        ((".sourcecraft-artifacts", "t", "c"), False, "inside"),
        (("w", "t", ".sourcecraft-artifacts"), False, "inside"),
    ],
)
def test_nested_paths_judge_the_names(
    names: tuple[str, str, str], portable: bool, reason: str
) -> None:
    """The names of workflow, task and cube are checked as components too."""
    with pytest.raises(UnsafePath, match=reason):
        nested_path(CubeAddress("o/r", "1", *names), "a", portable=portable)


def test_flat_paths_keep_the_name_alone() -> None:
    """The flat layout drops the folders, and checks the remaining name again."""
    assert flat_path("/a/b/c.txt/", portable=False).parts == ("c.txt",)
    for name in (".sourcecraft-artifacts", "SOURCE~1"):
        with pytest.raises(UnsafePath, match="inside"):
            flat_path(f"a/{name}", portable=True)


@pytest.mark.parametrize("parts", [(), ("",), (".",), ("..",), ("a", "b/c"), ("/",), ("a", "\0")])
def test_no_safe_path_is_made_of_unsafe_parts(parts: tuple[str, ...]) -> None:
    """The type itself checks its parts."""
    with pytest.raises(UnsafePath):
        SafePath(parts)


def test_safe_paths_are_values() -> None:
    """Equal places are equal keys, and have a name."""
    first, second = places("a/b", "/a//b/")
    assert (first, hash(first), first.name) == (second, hash(second), "b")


SAME = "another artifact has the same path"
ALIKE = "it differs from another path only by case or Unicode normalisation"
ABOVE = "one of these paths is a folder of the others"


@pytest.mark.parametrize(
    ("texts", "exact", "folded"),
    [
        (["a", "b", "a/b"], {(0, 2): ABOVE}, {(0, 2): ABOVE}),
        (["a/b/c", "d", "a"], {(2, 0): ABOVE}, {(2, 0): ABOVE}),
        (["a", "/a", "./a/"], {(0, 1, 2): SAME}, {(0, 1, 2): SAME}),
        (["a", "a/b", "c", "c"], {(0, 1): ABOVE, (2, 3): SAME}, None),
        (["a", "a", "a/b", "a/c"], {(0, 1): SAME, (0, 1, 2, 3): ABOVE}, None),
        (["a", "a/b", "a/b/c"], {(0, 1): ABOVE, (1, 2): ABOVE}, None),
        (["a-b", "a/b", "a", "a.b"], {(2, 1): ABOVE}, None),
        (["a!/x", "a", "a/x", "a0"], {(1, 2): ABOVE}, None),
        (["ab", "a/b", "abc/d", "a b"], {}, {}),
        (["x/a", "x/b", "x/c/d", "y/a"], {}, {}),
        (["a", "A"], {}, {(0, 1): ALIKE}),
        (["a", "A", "a"], {(0, 2): SAME}, {(0, 1, 2): ALIKE}),
        (["Dir/x", "dir/X"], {}, {(0, 1): ALIKE}),
        (["Dir/x", "dir/y"], {}, {}),
        (["A", "a/b"], {}, {(0, 1): ABOVE}),
        (["é", "e\u0301"], {}, {(0, 1): ALIKE}),
        (["É", "e\u0301"], {}, {(0, 1): ALIKE}),
        (["ß", "SS"], {}, {(0, 1): ALIKE}),
        (["Ёж", "ёЖ"], {}, {(0, 1): ALIKE}),
        (["ﬁ", "ﬀ"], {}, {}),
        ([], {}, {}),
    ],
)
def test_collisions(
    texts: list[str],
    exact: dict[tuple[int, ...], str],
    folded: dict[tuple[int, ...], str] | None,
) -> None:
    """Each colliding path is reported once, with those that it collides with."""
    for fold, expected in ((False, exact), (True, exact if folded is None else folded)):
        found = collisions(places(*texts), fold=fold)
        assert found == [Collision(indexes, reason) for indexes, reason in expected.items()]


def test_the_fold_is_canonical() -> None:
    """The key is decomposed before it is folded (Unicode 3.13, D145)."""
    assert fold_key("\u0345\u0301") == fold_key("\u0301\u0345")
    assert fold_key("\u1fb4") == fold_key("\u03b1\u0301\u03b9")
    assert fold_key("ab/Ö") == fold_key("AB/O\u0308")


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_some_systems_fold_always(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and macOS count as folding without a test."""
    monkeypatch.setattr(sys, "platform", platform)
    assert folds_names("/nowhere")


@pytest.mark.parametrize("below", ["", "1", "1/absent/Absent"])
@pytest.mark.parametrize(
    ("links", "folds"),
    [
        ([("name", "NAME")], True),
        ([("12", "Name"), ("Name", "nAME")], True),
        ([("name", "NAME"), ("name", "1/ß")], True),
        ([], False),
    ],
)
def test_folding_is_asked_of_existing_names(
    tmp_path: Path, links: list[tuple[str, str]], below: str, folds: bool
) -> None:
    """An existing name with its case swapped shows the folding; nothing is written."""
    folder = tmp_path / "folder"
    (folder / "1").mkdir(parents=True)
    for old, new in links:  # a hard link is what a folding file system looks like
        (folder / old).touch()
        os.link(folder / old, folder / new)
    before = sorted(tmp_path.rglob("*"))
    assert folds_names(str(folder / below)) == folds
    assert sorted(tmp_path.rglob("*")) == before


def test_folding_is_asked_behind_symlinks(tmp_path: Path) -> None:
    """If the folder is a symlink, its target is examined."""
    (tmp_path / "real/1").mkdir(parents=True)
    (tmp_path / "real/name").touch()
    os.link(tmp_path / "real/name", tmp_path / "real/NAME")
    (tmp_path / "link").symlink_to("real/1")
    assert folds_names(str(tmp_path / "link"))


def test_two_files_are_no_folding(tmp_path: Path) -> None:
    """If both spellings are different files, names are not folded."""
    (tmp_path / "name").touch()
    (tmp_path / "NAME").touch()
    assert not folds_names(str(tmp_path))


def test_folding_asks_no_other_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names above a mount point are not examined."""
    (tmp_path / "1").mkdir()
    (tmp_path / "name").touch()
    os.link(tmp_path / "name", tmp_path / "NAME")
    assert folds_names(str(tmp_path / "1"))
    stat = os.stat

    def other_device(path: str) -> SimpleNamespace:
        return SimpleNamespace(st_mode=stat(path).st_mode, st_dev=len(path))

    monkeypatch.setattr(os, "stat", other_device)
    assert not folds_names(str(tmp_path / "1"))


@PROPERTY
@given(TEXTS)
@example("a/" * 300)
@example("../a")
def test_any_path_is_refused_or_lands_below(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Any path is refused, or its file is strictly below the output folder."""
    above = tmp_path_factory.mktemp("above")
    try:
        place = safe_path(text, portable=False)
    except UnsafePath:
        return
    write(above / "out", place, b"")
    assert os.listdir(above) == ["out"]
    files = [path for path in (above / "out").rglob("*") if path.is_file()]
    assert [path.relative_to(above / "out").parts for path in files] == [place.parts]


@PROPERTY
@given(TEXTS, TEXTS)
@example("a", "a/b")
@example("a", "/a")
def test_any_pair_collides_or_lands_on_two_files(
    tmp_path_factory: pytest.TempPathFactory, first: str, second: str
) -> None:
    """Paths without a collision never overwrite each other."""
    out = tmp_path_factory.mktemp("out")
    try:
        both = places(first, second)
    except UnsafePath:
        return
    if collisions(both, fold=folds_names(str(out))):
        return
    for number, place in enumerate(both):
        write(out, place, b"%d" % number)
    found = sorted(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert found == [b"0", b"1"]


def write(out: Path, place: SafePath, body: bytes) -> None:
    """Create a new file at a place."""
    with Tree.open(str(out), create=True) as tree, tree.parent(place, create=True) as parent:
        descriptor = parent.open(place.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, body)
        os.close(descriptor)


@PROPERTY
@given(st.text())
def test_the_fold_ignores_normalisation(text: str) -> None:
    """Composed and decomposed texts have one key, and so have both cases of a letter."""
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert fold_key(composed) == fold_key(decomposed)
    assert unicodedata.is_normalized("NFD", fold_key(text))
    plain = re.sub(r"[^a-zA-Z]", "", text)
    assert fold_key(plain.swapcase()) == fold_key(plain)
