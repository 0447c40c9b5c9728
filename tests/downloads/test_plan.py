"""The plan: what is done with each artifact, decided from facts alone."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

import pytest

from sourcecraft_artifacts.choices import IfExists, Layout
from sourcecraft_artifacts.disk.entry import Entry
from sourcecraft_artifacts.disk.paths import SafePath
from sourcecraft_artifacts.downloads.decisions import Action, Step, decide
from sourcecraft_artifacts.downloads.plan import place_of, plan
from sourcecraft_artifacts.errors import Refused
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress

LINUX = CubeAddress("org/repo", "7", "ci", "build", "linux")
MAC = CubeAddress("org/repo", "7", "ci", "build", "mac")
DATES = ArtifactDates("2026-11-01T10:00:00Z", None, "2026-11-01T10:02:00Z")
NEWER = ArtifactDates("2026-11-01T10:00:00Z", None, "2026-11-02T10:02:00Z")
FILE, FOLDER, LINK, FIFO = (
    kind | 0o644 for kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO)
)
REFUSED = "refused"


def artifact(
    local_path: str = "a.txt",
    address: CubeAddress = LINUX,
    status: str = "success",
    url: str = "https://storage.example/x?s=1",
) -> Artifact:
    """Return an artifact, available by default."""
    return Artifact(address, local_path, status, DATES, "id", url)


def entry(local_path: str = "a.txt", dates: ArtifactDates = DATES) -> Entry:
    """What the manifest has of an artifact."""
    return Entry(LINUX, local_path, dates, 5, "ab" * 32, 1000, '"v1"')


def found(mode: int) -> os.stat_result:
    """Return the `stat` of something at a place."""
    return os.stat_result((mode, 1, 1, 1, 0, 0, 5, 0, 0, 0))


@dataclass
class FakeDisk:
    """The facts about a folder, by place; `true` are the places whose files are as recorded."""

    there: dict[str, int | None] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    intended: set[str] = field(default_factory=set)
    true: set[str] = field(default_factory=set)
    folds_names: bool = False
    above: dict[str, str] = field(default_factory=dict)
    """Our own files where places need folders."""
    asked: list[str] = field(default_factory=list)

    def lstat(self, place: SafePath, absent: object = None) -> os.stat_result | None:
        """Return the `lstat` of a place; None in `there` stands for a place behind a symlink."""
        mode = self.there.get(str(place), 0)
        if mode is None:
            raise Refused("a symlink is in the way")
        return found(mode) if mode else None

    def entry(self, place: SafePath) -> Entry | None:
        """What the manifest has of a place."""
        return self.entries.get(str(place))

    def is_as_left(self, place: SafePath) -> bool:
        """Tell that a file in the place of a folder is not ours."""
        return False

    def was_only_intended(self, place: SafePath) -> bool:
        """Tell whether a killed run may not have written there."""
        return str(place) in self.intended

    def own_file_above(self, place: SafePath) -> SafePath | None:
        """Return our own file where a place needs a folder."""
        above = self.above.get(str(place))
        return SafePath((above,)) if above else None

    def path_of(self, place: SafePath) -> str:
        """Return the path of a place."""
        return f"out/{place}"

    def holds(self, place: SafePath, entry: Entry, found: os.stat_result) -> bool:
        """Tell whether the file is the recorded one, and count the calls, which may hash it."""
        self.asked.append(str(place))
        return str(place) in self.true


def planned(
    disk: FakeDisk, *artifacts: Artifact, **options: IfExists | Layout | bool
) -> list[Step]:
    """Return the plan, by default in the `mirror` layout."""
    return plan(artifacts, disk, **{"layout": Layout.MIRROR, **options})  # type: ignore[arg-type]


# Decisions.


@pytest.mark.parametrize(
    ("mode", "ours", "right", "update", "skip", "overwrite"),
    [
        (FILE, True, True, "keep", "skip", "replace"),
        (FILE, True, False, "replace", "skip", "replace"),
        (FILE, False, False, REFUSED, "skip", "replace"),
        (LINK, True, False, REFUSED, "skip", "replace"),
        (LINK, False, False, REFUSED, "skip", "replace"),
        (FIFO, True, False, REFUSED, "skip", "replace"),
        (FOLDER, True, False, REFUSED, REFUSED, REFUSED),
        (FOLDER, False, False, REFUSED, REFUSED, REFUSED),
    ],
)
def test_the_truth_table(
    mode: int, ours: bool, right: bool, update: str, skip: str, overwrite: str
) -> None:
    """Each cell of the table in the docstring of `decide`."""
    decisions = {}
    for if_exists in IfExists:
        try:
            decisions[str(if_exists)] = str(decide(if_exists, mode, ours=ours, right=right))
        except Refused:
            decisions[str(if_exists)] = REFUSED
    assert decisions == {
        "update": update,
        "skip": skip,
        "overwrite": overwrite,
        "error": REFUSED,
    }


@pytest.mark.parametrize(
    ("disk", "listed", "action"),
    [
        (FakeDisk(), DATES, "download"),
        # The manifest may have an entry for a file that is gone.
        (FakeDisk({}, {"a.txt": entry()}, true={"a.txt"}), DATES, "download"),
        (FakeDisk({"a.txt": FILE}), DATES, REFUSED),
        (FakeDisk({"a.txt": FILE}, {"a.txt": entry()}, true={"a.txt"}), DATES, "keep"),
        (FakeDisk({"a.txt": FILE}, {"a.txt": entry()}, true={"a.txt"}), NEWER, "replace"),
        (FakeDisk({"a.txt": FILE}, {"a.txt": entry()}), DATES, "replace"),
        (FakeDisk({"a.txt": FILE}, {"a.txt": entry("b.txt")}, true={"a.txt"}), DATES, "replace"),
        # A file that a killed run may have written is ours only if it is the intended one.
        (FakeDisk({"a.txt": FILE}, {"a.txt": entry()}, {"a.txt"}, {"a.txt"}), DATES, "keep"),
        (FakeDisk({"a.txt": FILE}, {"a.txt": entry()}, {"a.txt"}, {"a.txt"}), NEWER, "replace"),
        (FakeDisk({"a.txt": FILE}, {"a.txt": entry()}, {"a.txt"}), DATES, REFUSED),
        (FakeDisk({}, {"a.txt": entry()}, {"a.txt"}), DATES, "download"),
        # A symlink is not the recorded file, whatever its target.
        (FakeDisk({"a.txt": LINK}, {"a.txt": entry()}, true={"a.txt"}), DATES, REFUSED),
        (FakeDisk({"a.txt": FOLDER}, {"a.txt": entry()}, true={"a.txt"}), DATES, REFUSED),
        (FakeDisk({"a.txt": None}), DATES, REFUSED),
    ],
)
def test_update_leaves_what_is_right_and_spares_strangers(
    disk: FakeDisk, listed: ArtifactDates, action: str
) -> None:
    """The manifest decides which files are ours, and the dates which are right."""
    try:
        (step,) = planned(disk, artifact()._replace(dates=listed))
        assert str(step.action) == action
        assert step.fetches == (action in ("download", "replace"))
    except Refused:
        assert action == REFUSED


@pytest.mark.parametrize("if_exists", [IfExists.SKIP, IfExists.OVERWRITE])
def test_a_file_is_hashed_only_where_it_matters(if_exists: IfExists) -> None:
    """Neither skip nor overwrite hashes a file."""
    disk = FakeDisk({"a.txt": FILE}, {"a.txt": entry()}, true={"a.txt"})
    planned(disk, artifact(), if_exists=if_exists)
    assert disk.asked == []
    planned(disk, artifact(), if_exists=IfExists.UPDATE)
    assert disk.asked == ["a.txt"]


def test_a_step_tells_what_stood_there() -> None:
    """The step has the `stat` for the commit, and size and digest of a kept file."""
    disk = FakeDisk({"a.txt": FILE}, {"a.txt": entry()}, true={"a.txt"})
    kept, new = planned(disk, artifact(), artifact("b"))
    assert (kept.before, kept.entry) == (found(FILE), entry())
    assert (new.before, new.entry) == (None, None)
    assert [str(step.place) for step in (kept, new)] == ["a.txt", "b"]


@pytest.mark.parametrize("status", ["failed", "missing", "registered"])
def test_what_is_not_available_is_left_alone(status: str) -> None:
    """An unavailable artifact does not look at its place."""
    disk = FakeDisk({"a.txt": FOLDER})
    (step,) = planned(disk, artifact(status=status), if_exists=IfExists.ERROR)
    assert (step.action, step.fetches) == (Action.NONE, False)


# Layouts.


@pytest.mark.parametrize(
    ("layout", "local_path", "place"),
    [
        (Layout.MIRROR, "dist/a.txt", "dist/a.txt"),
        (Layout.MIRROR, "/dist//./a.txt", "dist/a.txt"),
        (Layout.AUTO, "dist/a.txt", "dist/a.txt"),
        (Layout.NESTED, "dist/a.txt", "ci/build/linux/dist/a.txt"),
        (Layout.FLAT, "dist/a.txt", "a.txt"),
    ],
)
def test_layouts(layout: Layout, local_path: str, place: str) -> None:
    """Where each layout puts an artifact."""
    assert str(place_of(artifact(local_path), layout, portable=False)) == place


# Refusals.


@pytest.mark.parametrize(
    ("artifacts", "options", "named"),
    [
        ([artifact("../x")], {}, ["../x: it has a '..' component"]),
        ([artifact("")], {}, ["(an empty path): "]),
        ([artifact("a\x1b[31m")], {}, ["a\\x1b[31m: "]),
        ([artifact(".sourcecraft-artifacts/manifest.json")], {}, [".sourcecraft-artifacts"]),
        ([artifact("a:b")], {"portable": True}, ["a:b: "]),
        ([artifact("a"), artifact("a/b")], {}, ["a: ", "a/b: "]),
        ([artifact("a"), artifact("./a")], {}, ["a: ", "./a: "]),
        ([artifact("A"), artifact("a")], {"portable": True}, ["A: ", "a: "]),
        ([artifact("x/a"), artifact("y/a")], {"layout": Layout.FLAT}, ["x/a: ", "y/a: "]),
        (
            [artifact("a"), artifact("a", MAC)],
            {},
            ["ci/build/linux: a: ", "ci/build/mac: a: "],
        ),
        ([artifact(url="http://storage.example/x")], {}, ["plain http"]),
        ([artifact(url="https://u:pa55@storage.example/x")], {}, ["user info"]),
    ],
)
def test_one_refusal_refuses_all(
    artifacts: list[Artifact], options: dict[str, bool | Layout], named: list[str]
) -> None:
    """Each refused artifact is named with the reason, and no other."""
    disk = FakeDisk()
    with pytest.raises(Refused) as caught:
        planned(disk, artifact("fine"), *artifacts, **options)
    message = caught.value.message
    assert all(name in message for name in named)
    assert f"{len(artifacts)} artifact" in message
    assert "fine" not in message
    assert "pa55" not in message
    assert "--exclude" in (caught.value.hint or "")


LEAVE_OUT = "--exclude leaves out what is not needed"


@pytest.mark.parametrize(
    ("artifacts", "layout", "hint"),
    [
        ([artifact("a"), artifact("a")], Layout.MIRROR, LEAVE_OUT),
        ([artifact("a"), artifact("a/b")], Layout.MIRROR, LEAVE_OUT),
        ([artifact("a"), artifact("./a")], Layout.NESTED, LEAVE_OUT),
        ([artifact("a"), artifact("./a")], Layout.FLAT, LEAVE_OUT),
        (
            [artifact("x/a"), artifact("y/a")],
            Layout.FLAT,
            f"--layout mirror keeps folders apart, and {LEAVE_OUT}",
        ),
        (
            [artifact("a"), artifact("a", MAC)],
            Layout.MIRROR,
            f"--layout nested keeps cubes apart, and {LEAVE_OUT}",
        ),
    ],
)
def test_only_what_helps_is_hinted_at(artifacts: list[Artifact], layout: Layout, hint: str) -> None:
    """Another layout is hinted at only if it avoids the collision."""
    with pytest.raises(Refused) as caught:
        planned(FakeDisk(), *artifacts, layout=layout)
    assert caught.value.hint == hint


def test_names_collide_where_the_file_system_folds_them() -> None:
    """Names that differ only by case collide only if the file system folds them."""
    pair = (artifact("Ä.txt"), artifact("ä.txt"))
    assert len(planned(FakeDisk(), *pair)) == 2
    with pytest.raises(Refused, match="2 artifacts refused"):
        planned(FakeDisk(folds_names=True), *pair)


def test_two_cubes_go_side_by_side_when_nested() -> None:
    """The same path in two cubes is two places in the nested layout."""
    steps = planned(FakeDisk(), artifact(), artifact(address=MAC), layout=Layout.NESTED)
    assert [str(step.place) for step in steps] == [
        "ci/build/linux/a.txt",
        "ci/build/mac/a.txt",
    ]


@pytest.mark.parametrize("if_exists", IfExists)
def test_our_own_file_makes_way_for_a_folder(if_exists: IfExists) -> None:
    """It does if files may be replaced; a stranger's file never does."""
    disk = FakeDisk({"x/y": None, "z/y": None}, above={"x/y": "x"})
    with pytest.raises(Refused, match="z/y"):
        planned(disk, artifact("x/y"), artifact("z/y"), if_exists=if_exists)
    if if_exists in (IfExists.UPDATE, IfExists.OVERWRITE):
        (step,) = planned(disk, artifact("x/y"), if_exists=if_exists)
        assert (step.action, step.makes_way) == (Action.REPLACE, SafePath(("x",)))
    else:
        with pytest.raises(Refused, match="x/y"):
            planned(disk, artifact("x/y"), if_exists=if_exists)


def test_all_files_in_the_way_are_named_at_once() -> None:
    """All files in the way are named in one message."""
    disk = FakeDisk({"a": FILE, "b": FOLDER, "c": None, "d": LINK})
    with pytest.raises(Refused) as caught:
        planned(disk, *(artifact(name) for name in "abcde"))
    lines = caught.value.message.splitlines()
    assert lines[0] == "nothing was downloaded: 4 artifacts refused"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["a", "b", "c", "d"]


def test_the_url_of_what_is_not_available_is_not_judged() -> None:
    """The URL of an unavailable artifact is not checked."""
    odd = artifact(status="failed", url="http://storage.example/x")
    assert [step.action for step in planned(FakeDisk(), odd)] == [Action.NONE]
