"""The command that repairs a folder covers what differs, and puts it where it was."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from fake_service import DATES
from hypothesis import assume, given
from hypothesis import strategies as st

from sourcecraft_artifacts.choices import Layout
from sourcecraft_artifacts.disk.entry import Entry
from sourcecraft_artifacts.disk.paths import collisions
from sourcecraft_artifacts.disk.records import Stored
from sourcecraft_artifacts.downloads.plan import place_of
from sourcecraft_artifacts.downloads.prune import artifact_of
from sourcecraft_artifacts.downloads.repair import MOST_PATTERNS, repairing_words
from sourcecraft_artifacts.models import ArtifactDates, CubeAddress
from sourcecraft_artifacts.select import Selection
from sourcecraft_artifacts.service.address import Address, name_matches


def entry(cube: str, path: str, *, run: str = "7", form: str = "file") -> Entry:
    """Return the entry of a `file`, a `folder`, or a file that was kept `packed`."""
    workflow, task, name = cube.split("/")
    members = {"a": Stored()} if form == "folder" else None
    return Entry(
        CubeAddress("o/r", run, workflow, task, name),
        path,
        ArtifactDates(**DATES),
        1,
        "0" * 64,
        0,
        members=members,
        is_judged=form == "file",
    )


HERE = "7 w t c --repo o/r --dir d"


@pytest.mark.parametrize(
    ("entries", "overwrite", "words"),
    [
        ({"x": entry("w/t/c", "x")}, False, f"{HERE} -i ./x"),
        ({"x": entry("w/t/c", "x")}, True, f"{HERE} -i ./x --if-exists overwrite"),
        ({"x": entry("w/t/c", "./x/", form="folder")}, False, f"{HERE} -i ./x"),
        ({"x": entry("w/t/c", "x", form="packed")}, False, f"{HERE} --no-unpack -i ./x"),
        ({"a/x": entry("w/t/c", "/a/x")}, False, f"{HERE} -i a/x"),
        ({"x": entry("w/t/c", "a/x")}, False, f"{HERE} --layout flat -i a/x"),
        ({"a/\u202e": entry("w/t/c", "a/\u202e")}, False, f"{HERE} -i a/?"),
        ({"w/t/c/x": entry("w/t/c", "x")}, False, f"{HERE} --layout nested -i ./x"),
        # A name that is a glob is not exact, and then the layout is nested.
        ({"w/t/*/x": entry("w/t/*", "x")}, False, "7 w t * --repo o/r --dir d -i ./x"),
        (
            {"w/t/c/x": entry("w/t/c", "x"), "w/t/e/y": entry("w/t/e", "y")},
            False,
            "7 w t --repo o/r --dir d -i ./x -i ./y",
        ),
        (
            {"w/t/c/x": entry("w/t/c", "x"), "v/t/c/x": entry("v/t/c", "x")},
            False,
            "7 --repo o/r --dir d -i ./x",
        ),
        (
            {f"{n}": entry("w/t/c", f"{n}", form="packed") for n in range(MOST_PATTERNS + 1)},
            False,
            f"{HERE} --no-unpack",
        ),
        # Another file may have the name of one of these, and flat places collide.
        ({"x": entry("w/t/c", "a/x"), "?": entry("w/t/c", "b/?")}, False, None),
        ({f"{n}": entry("w/t/c", f"a/{n}") for n in range(MOST_PATTERNS + 1)}, False, None),
        # A pattern could match in a third cube, whose file must not be replaced.
        ({"w/t/c/x": entry("w/t/c", "x"), "w/t/e/x": entry("w/t/e", "x")}, True, None),
        ({"x": entry("w/t/c", "x"), "y": entry("w/t/e", "y")}, False, None),
        ({"x": entry("w/t/c", "x"), "y": entry("w/t/c", "y", run="8")}, False, None),
        ({"a/x": entry("w/t/c", "a/x"), "y": entry("w/t/c", "a/y")}, False, None),
        ({"elsewhere": entry("w/t/c", "x")}, False, None),
        (
            {"x": entry("w/t/c", "x", form="packed"), "y": entry("w/t/c", "y", form="folder")},
            False,
            None,
        ),
        ({}, False, None),
    ],
)
def test_the_command(entries: Mapping[str, Entry], overwrite: bool, words: str | None) -> None:
    """The command has the address that all have, and the options that the records tell."""
    said = repairing_words("d", entries, overwrite=overwrite)
    assert (said and " ".join(said)) == words


cubes = st.sampled_from(["w/t/c", "w/t/e", "w/u/c", "v/t/c"])
paths = st.sampled_from(["x", "a/x", "./a/b/x", "b/", "y.txt", "c d", "?"])


@given(
    listed=st.sets(st.tuples(cubes, paths), min_size=1, max_size=8),
    number=st.integers(1, 8),
    layout=st.sampled_from([Layout.MIRROR, Layout.NESTED, Layout.FLAT]),
)
def test_the_command_puts_all_where_they_were(
    listed: set[tuple[str, str]], number: int, layout: Layout
) -> None:
    """It selects what differs and puts it where it was; what else it selects is no obstacle."""
    found = [entry(*one) for one in sorted(listed)]
    chosen = found[:number]
    places = [place_of(artifact_of(one), layout, portable=False) for one in chosen]
    assume(not list(collisions(places, fold=False)))
    entries = dict(zip(map(str, places), chosen, strict=True))
    words = repairing_words("d", entries, overwrite=False)
    if words is None:
        several = len({one.address for one in chosen}) > 1
        are_many = len({one.local_path for one in chosen}) > MOST_PATTERNS
        has_glob = any("?" in one.local_path for one in chosen)
        assert layout is not Layout.NESTED
        assert several or (layout is Layout.FLAT and (are_many or has_glob))
        return
    names = words[: words.index("--repo")]
    usual = Layout.MIRROR if len(names) == 4 else Layout.NESTED
    said = Layout(words[words.index("--layout") + 1]) if "--layout" in words else usual
    selection = Selection([words[at + 1] for at, word in enumerate(words) if word == "-i"])
    wide = [*names, None, None, None][:4]
    selected = [one for one in found if selection.matches(one.local_path)]
    address = Address("o/r", names[0], *wide[1:])
    parts = (address.workflow, address.task, address.cube)
    selected = [one for one in selected if all(map(name_matches, parts, one.address[2:]))]
    where = {place_of(artifact_of(one), said, portable=False): one for one in selected}
    assert {str(place): one for place, one in where.items()}.items() >= entries.items()
    if selection.include:
        assert len(where) == len(selected)
        assert not list(collisions(list(where), fold=False))
