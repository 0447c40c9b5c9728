"""Whether an archive is unpacked, and where its members may land."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sourcecraft_artifacts.disk.members import (
    MOST_MEMBERS,
    Arrangement,
    Contents,
    Form,
    Name,
    arranged,
    check_places,
    link_flaw,
    most_bytes,
)
from sourcecraft_artifacts.disk.records import Stored
from sourcecraft_artifacts.disk.tar import Kind, Member
from sourcecraft_artifacts.disk.tar_fields import UnsafeArchive

FILE, LINK = Stored(), Stored(target="x")


def contents(*names: str) -> Contents:
    """Return the contents of an archive with these members; a slash at the end makes a folder."""
    found = Contents()
    for name in names:
        kind = Kind.FOLDER if name.endswith("/") else Kind.FILE
        path = found.name_of(Member(name, kind))
        if kind is Kind.FILE:
            found.files[path] = FILE
    return found


NAMES = {
    "dist": (Form.FOLDER, "dist", True),
    "dist/": (Form.FOLDER, "dist", True),
    "./out//sheets": (Form.FOLDER, "out/sheets", True),
    "a.b/dist": (Form.FOLDER, "a.b/dist", True),
    "my.app/": (Form.FOLDER, "my.app", True),
    "old.tar/": (Form.FOLDER, "old.tar", True),
    "dist/*.deb": (Form.FOLDER, "dist", True),
    "*.deb": (Form.FOLDER, "", True),
    "out/**/x?/y.txt": (Form.FOLDER, "out", True),
    "logs/[ab].txt": (Form.FOLDER, "logs", True),
    "plan.json": (Form.FILE, "plan.json", False),
    ".next": (Form.FILE, ".next", False),
    "report.json.gz": (Form.FILE, "report.json.gz", False),
    "app.tar": (Form.ARCHIVE, "app.tar", False),
    "app.TAR.GZ": (Form.ARCHIVE, "app.TAR.GZ", False),
    "app.tar.zst": (Form.ARCHIVE, "app.tar.zst", False),
    "a/app.tgz": (Form.ARCHIVE, "a/app.tgz", False),
    "dist/*.tar.gz": (Form.ARCHIVE, "dist", True),
}


@pytest.mark.parametrize("local_path", NAMES)
def test_what_a_name_says(local_path: str) -> None:
    """The end of a name, globs and dots decide its form."""
    form, base, may_be_folder = NAMES[local_path]
    name = Name.of(local_path)
    assert (name.form, "/".join(name.base), name.may_be_folder) == (form, base, may_be_folder)


# The name, the members, and the expected files and empty folders; None: the archive is kept.
ARRANGED: list[tuple[str, list[str], list[str] | None]] = [
    ("dist", ["dist/a.js", "dist/sub/b.js"], ["a.js", "sub/b.js"]),
    ("dist", ["./dist/", "./dist/a.js"], ["a.js"]),
    ("dist", ["./", "./dist/", "./dist/a.js"], ["a.js"]),
    ("dist", ["a.js", "sub/b.js"], ["a.js", "sub/b.js"]),
    ("dist", ["./", "./a.js"], ["a.js"]),
    ("dist", ["dist/a.js", "b.js"], ["b.js", "dist/a.js"]),
    ("dist", ["dist/dist/a.js"], ["dist/a.js"]),
    ("dist", ["distant/a.js"], ["distant/a.js"]),
    ("dist", ["dist"], [""]),
    ("dist/", ["dist"], ["dist"]),
    ("dist/", ["dist/"], []),
    ("dist", ["dist/", "dist/empty/", "dist/sub/", "dist/sub/a"], ["empty/", "sub/a"]),
    ("dist", ["./"], []),
    ("dist", [], []),
    ("out/sheets", ["out/sheets/a"], ["a"]),
    ("out/sheets", ["out/", "out/sheets/", "out/sheets/a"], ["a"]),
    ("out/sheets", ["sheets/a"], ["a"]),
    ("out/sheets", ["./", "./sheets/a"], ["a"]),
    ("out/sheets", ["out/a"], ["out/a"]),
    ("out/sheets", ["a"], ["a"]),
    ("a/a", ["a/a/x"], ["x"]),
    ("dist/*.deb", ["dist/a.deb", "dist/b.deb"], ["a.deb", "b.deb"]),
    ("dist/*.deb", ["a.deb"], ["a.deb"]),
    ("x/dist/*", ["dist/a"], ["a"]),
    ("x/dist/*", ["dist"], ["dist"]),
    ("*.deb", ["a.deb"], ["a.deb"]),
    ("dist/*.tar.gz", ["dist/a.tar.gz"], ["a.tar.gz"]),
    ("dist/*.tar.gz", ["a.tar.gz", "b.tar.gz"], ["a.tar.gz", "b.tar.gz"]),
    ("dist/*.tar.gz", ["app/a", "app/b"], None),
    ("plan.json", ["plan.json"], [""]),
    ("plan.json", ["./", "./plan.json"], [""]),
    ("a/plan.json", ["a/plan.json"], [""]),
    ("a/plan.json", ["plan.json"], [""]),
    ("plan.json", ["plan.json", "other"], None),
    ("plan.json", ["other"], None),
    ("plan.json", [], None),
    ("plan.json", ["./"], None),
    ("my.app", ["my.app/a", "my.app/b/"], ["a", "b/"]),
    ("my.app", ["a"], None),
    ("app.tar", ["app.tar"], [""]),
    ("a/app.tar", ["a/", "a/app.tar"], [""]),
    ("app.tar", ["app.tar", "x"], None),
    ("app.tar", ["app.tar/x"], None),
    ("app.tgz", ["dist/a"], None),
    ("app.tgz", [], None),
    ("old.tar/", ["a"], ["a"]),
]


@pytest.mark.parametrize(("local_path", "members", "expected"), ARRANGED)
def test_what_an_archive_becomes(
    local_path: str, members: list[str], expected: list[str] | None
) -> None:
    """With the prefix, without it, or packed from further up, the folder is the same."""
    found = arranged(contents(*members), Name.of(local_path))
    assert (found is None) == (expected is None)
    if found is not None:
        assert sorted([*found.files, *(f"{one}/" for one in found.folders)]) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "/etc/passwd in it is an absolute path"),
        ("//etc/passwd", "is an absolute path"),
        ("../a", "leads out of it"),
        ("a/../../b", "leads out of it"),
        ("a/..", "leads out of it"),
        ("./..", "leads out of it"),
        (".", "a file in it has no name"),
        ("", "a file in it has no name"),
    ],
)
def test_names_that_lead_out(name: str, reason: str) -> None:
    """Names that lead out are refused at once."""
    with pytest.raises(UnsafeArchive, match=reason):
        contents(name)


def test_members_that_come_twice() -> None:
    """A folder may come twice, a file may not, also under another spelling."""
    contents("a/", "a/", "a/b")
    with pytest.raises(UnsafeArchive, match="a/b is in it twice"):
        contents("a/b", "./a//b")


def test_hard_links_lead_to_what_came_before() -> None:
    """A hard link must refer to an earlier member."""
    found = contents("a/b")
    assert found.original(Member("c", Kind.HARD_LINK, target="./a/b")) is FILE
    for target in ("a/c", "a", "c"):
        with pytest.raises(
            UnsafeArchive, match="c in it is a link to a file that is not before it"
        ):
            found.original(Member("c", Kind.HARD_LINK, target=target))
    for target in ("/a/b", "../a/b"):
        with pytest.raises(UnsafeArchive, match=r"absolute|leads out"):
            found.original(Member("c", Kind.HARD_LINK, target=target))


def test_too_many_members() -> None:
    """All kinds of members count towards the limit."""
    found = Contents()
    found.count = MOST_MEMBERS - 1
    found.name_of(Member("a/", Kind.FOLDER))
    with pytest.raises(UnsafeArchive, match="more than 1,000,000 members"):
        found.name_of(Member("a/", Kind.FOLDER))


def test_how_large_an_archive_may_become() -> None:
    """The limit is 256 MiB, or 200 times the archive's size."""
    assert most_bytes(4 << 20) == 800 << 20
    assert most_bytes(1000) == 256 << 20


def refused(*names: str, portable: bool = False, fold: bool = False, base: str = "dist") -> str:
    """Return why members may not land below a base; empty if they may."""
    found = arranged(contents(*names), Name.of("dist/"))
    assert found is not None
    parts = tuple(base.split("/")) if base else ()
    try:
        check_places(found, parts, portable=portable, fold=fold)
    except UnsafeArchive as reason:
        return str(reason)
    return ""


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a\nb"], "it has a control character"),
        (["a\nb/c"], "it has a control character"),
        (["a/\x1b[2J"], "it has a control character"),
        (["\udcff"], "it has a lone surrogate"),
        (["x" * 256], "more than 255 bytes"),
        (["\u044f" * 128], "more than 255 bytes"),
        (["x" * 256 + "/a"], "more than 255 bytes"),
        ([".sourcecraft-artifacts/manifest.json"], "it is inside .sourcecraft-artifacts"),
        (["a/.SourceCraft-Artifacts"], "it is inside .sourcecraft-artifacts"),
        (["a", "a/b"], "a in it is a file and a folder"),
        (["a/b", "a"], "a in it is a file and a folder"),
        (["a/b/c", "a"], "a in it is a file and a folder"),
        (["a/", "a"], "a in it is a file and a folder"),
    ],
)
def test_places_that_may_not_be(names: list[str], reason: str) -> None:
    """Each member's path is checked as an artifact's is."""
    assert reason in refused(*names)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a:b"], "the character :"),
        (["con"], "a device on Windows"),
        (["aux.txt/a"], "a device on Windows"),
        (["a."], "a trailing dot or space"),
        (["a /b"], "a trailing dot or space"),
        (["a\\..\\b"], "the character \\"),
    ],
)
def test_places_of_windows(names: list[str], reason: str) -> None:
    """With `portable`, the Windows rules apply."""
    assert not refused(*names)
    assert reason in refused(*names, portable=True)


def test_the_state_folder_by_its_short_name() -> None:
    """It is refused only for members directly in the output folder."""
    assert not refused("source~1/a", portable=True)
    assert "by its short name" in refused("source~1/a", portable=True, base="")


@pytest.mark.parametrize("names", [["a", "A"], ["a/b", "a/B"], ["a", "A/b"], ["\xe9", "e\u0301"]])
def test_names_that_a_file_system_folds(names: list[str]) -> None:
    """With `fold`, names that differ by case or normalisation collide."""
    assert not refused(*names)
    assert "in it" in refused(*names, fold=True)
    assert not refused("a/b", "A/c", fold=True)


FOLDERS = {"a", "a/b", "bin", "lib", "lib/x"}


@pytest.mark.parametrize(
    ("path", "target", "flaw"),
    [
        ("bin/tsc", "../lib/x/tsc.js", None),
        ("a/b/c", "../../lib", None),
        ("a/b/c", "d", None),
        ("a/b/c", "./d//e", None),
        ("c", ".", None),
        ("a/c", "..", None),
        ("c", "lib/../a", None),
        ("c", "lib/x/../../a/b", None),
        ("c", "other/../a", "leads out of it"),
        ("c", "lib/other/../../a", "leads out of it"),
        ("c", "..", "leads out of it"),
        ("a/b/c", "../../../x", "leads out of it"),
        ("a/b/c", "../../../a/x", "leads out of it"),
        ("c", "a/../..", "leads out of it"),
        ("c", "/etc/passwd", "leads to an absolute path"),
        ("c", "", "leads nowhere"),
        ("", "x", "has no name of its own"),
        ("c", "a\n", "leads to a path that cannot be used: it has a control character"),
        ("c", "\udcff", "leads to a path that cannot be used: it has a lone surrogate"),
    ],
)
def test_where_symlinks_may_lead(path: str, target: str, flaw: str | None) -> None:
    """A symlink may lead anywhere inside the archive, also through other links."""
    assert link_flaw(path, target, FOLDERS, portable=False) == flaw


def test_where_symlinks_may_lead_on_windows() -> None:
    """With `portable`, a target with a separator or drive of Windows is refused."""
    assert link_flaw("c", "C:\\x", FOLDERS, portable=False) is None
    assert "cannot be used" in (link_flaw("c", "C:\\x", FOLDERS, portable=True) or "")


def leads_out(path: str, links: dict[str, str]) -> bool:
    """Follow a path as a system does, from an artifact's root; a loop does not lead out."""
    here: list[str] = []
    left = path.split("/")
    for _ in range(1000):
        if not left:
            break
        part = left.pop(0)
        if part == "..":
            if not here:
                return True
            here.pop()
        elif part != ".":
            where = "/".join([*here, part])
            if where in links:
                left = links[where].split("/") + left
            else:
                here.append(part)
    return False


component = st.sampled_from(["a", "b", "..", "."])
name = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2).map("/".join)
target = st.lists(component, min_size=1, max_size=3).map("/".join)
links_of = st.dictionaries(name, target, min_size=2, max_size=4)


@example({"a": ".", "b": "a/.."}, set())
@given(links_of, st.sets(name, max_size=2))
def test_no_set_of_links_leads_out(links: dict[str, str], files: set[str]) -> None:
    """No link of an accepted archive leads out, by any sequence of links."""
    made = {path: LINK._replace(target=target) for path, target in links.items()}
    arrangement = Arrangement({**dict.fromkeys(files, FILE), **made}, frozenset())
    try:
        check_places(arrangement, ("dist",), portable=False, fold=False)
    except UnsafeArchive:
        return
    for path, stored in arrangement.files.items():
        if stored.target is not None:
            assert not leads_out(path, links)
