"""Decides what to do with each artifact, before any transfer and from facts alone.

`--dry-run` stops after this.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from ..choices import IfExists, Layout
from ..disk.entry import Entry
from ..disk.members import Name
from ..disk.paths import SafePath, UnsafePath, collisions, flat_path, nested_path, safe_path
from ..errors import Refused
from ..models import Artifact
from ..select import normalised
from ..text import count, visible
from ..urls import unsafe_url_reason

_LEAVE_OUT = "--exclude leaves it out"
_LEAVE_THE_FOLDER_OUT = "--exclude . leaves it out"
_LEAVE_SOME_OUT = "--exclude leaves out what is not needed"
_KEEP_CUBES_APART = f"--layout nested keeps cubes apart, and {_LEAVE_SOME_OUT}"
_KEEP_FOLDERS_APART = f"--layout mirror keeps folders apart, and {_LEAVE_SOME_OUT}"
_STRANGER = "--if-exists overwrite replaces what is there, and --if-exists skip leaves it"
_IS_THERE = "something is there already, and --if-exists is error"
_MOVE = "move it away, or choose another output folder"

Flaw = tuple[Artifact, str, str]
"""A refused artifact, the reason, and the way round it."""

Rule = Callable[[Artifact], IfExists | None]
"""The rule for an existing file at an artifact's place; None if this run dealt with it before."""


class Action(StrEnum):
    """What the plan does with an artifact."""

    DOWNLOAD = "download"
    REPLACE = "replace"
    UNPACK = "unpack"
    """The archive is in place and should become a folder: nothing is fetched."""
    KEEP = "keep"
    SKIP = "skip"
    NONE = "unavailable"


class Disk(Protocol):
    """The facts about an output folder."""

    @property
    def folds_names(self) -> bool:
        """Whether names that differ by case or normalisation are the same file there."""

    def lstat(self, place: SafePath, absent: set[tuple[str, ...]]) -> os.stat_result | None:
        """Return the `lstat` of a place. Raises `Refused` if it cannot be reached.

        `absent` collects folders that were not there; they are not looked for again.
        """

    def path_of(self, place: SafePath) -> str:
        """Return the path of a place: the folder joined with the place below it."""

    def entry(self, place: SafePath) -> Entry | None:
        """Return the manifest's entry for a place."""

    def was_only_intended(self, place: SafePath) -> bool:
        """Tell whether a run may have been killed before it put its first file here."""

    def holds(self, place: SafePath, entry: Entry, found: os.stat_result) -> bool:
        """Tell whether the file there is the one in the entry."""

    def holds_members(self, place: SafePath, entry: Entry) -> bool:
        """Tell whether all files of an unpacked artifact are unchanged."""

    def has_members(self, entry: Entry) -> bool:
        """Tell whether each of them exists."""

    def has_any_member(self, entry: Entry) -> bool:
        """Tell whether at least one of them exists."""

    def holds_only_ours(self, place: SafePath, entry: Entry) -> bool:
        """Tell whether a folder has only files of an unpacked artifact."""

    def is_to_be_unpacked(self, place: SafePath, artifact: Artifact) -> bool:
        """Tell whether the file there is an archive that should become a folder."""


class Step(NamedTuple):
    """One artifact's part of the plan; `before` is the `lstat` of its place at that time."""

    artifact: Artifact
    place: SafePath
    action: Action
    before: os.stat_result | None = None
    entry: Entry | None = None

    @property
    def fetches(self) -> bool:
        """Whether bytes must be requested."""
        return self.action in (Action.DOWNLOAD, Action.REPLACE)

    @property
    def changes(self) -> bool:
        """Whether the folder will be changed."""
        return self.fetches or self.action is Action.UNPACK


def plan(
    artifacts: Sequence[Artifact],
    disk: Disk,
    *,
    layout: Layout,
    portable: bool = False,
    if_exists: IfExists = IfExists.UPDATE,
    rule: Rule | None = None,
    late: bool = False,
    unpack: bool = False,
) -> list[Step]:
    """Decide what to do with each artifact, in order; nothing is written.

    `rule` overrides `if_exists`. `late` means that earlier plans had something to fetch, `unpack`
    that archives should become folders. Raises `Refused`, naming every artifact that would be
    unsafe.
    """
    flaws: list[Flaw] = list(_unsafe_urls(artifacts))
    several = layout is Layout.NESTED or _are_of_several_cubes(artifacts)
    places: list[SafePath] = []
    placed: list[Artifact] = []
    for artifact in artifacts:
        try:
            places.append(place_of(artifact, layout, portable=portable))
            placed.append(artifact)
        except UnsafePath as flaw:
            is_named = normalised(artifact.local_path)
            flaws.append((artifact, str(flaw), _LEAVE_OUT if is_named else _LEAVE_THE_FOLDER_OUT))
    for collision in collisions(places, fold=portable or disk.folds_names):
        offenders = [placed[at] for at in collision.indexes]
        hint = _keep_apart(offenders, layout)
        flaws += [(artifact, collision.reason, hint) for artifact in offenders]
    _refuse(flaws, several=several, late=late)
    steps: list[Step] = []
    absent: set[tuple[str, ...]] = set()
    for artifact, place in zip(placed, places, strict=True):
        try:
            decided = rule(artifact) if rule else if_exists
            steps.append(_step(artifact, place, disk, absent, decided, unpack=unpack))
        except Refused as refusal:
            path = disk.path_of(place)
            where = "" if path in refusal.message else f" ({path})"
            flaws.append((artifact, refusal.message + where, refusal.hint or _LEAVE_OUT))
    _refuse(flaws, several=several, late=late)
    return steps


def place_of(artifact: Artifact, layout: Layout, *, portable: bool) -> SafePath:
    """Return where an artifact lands below the output folder. Raises `UnsafePath`."""
    if layout is Layout.NESTED:
        return nested_path(artifact.address, artifact.local_path, portable=portable)
    if layout is Layout.FLAT:
        return flat_path(artifact.local_path, portable=portable)
    return safe_path(artifact.local_path, portable=portable)


def _keep_apart(artifacts: Sequence[Artifact], layout: Layout) -> str:
    """Return the hint for colliding artifacts; it names `--layout` only if another one helps."""
    if layout is not Layout.NESTED and _are_of_several_cubes(artifacts):
        return _KEEP_CUBES_APART
    names = {normalised(artifact.local_path) for artifact in artifacts}
    if layout is Layout.FLAT and len(names) == len(artifacts):
        return _KEEP_FOLDERS_APART
    return _LEAVE_SOME_OUT


def refuse_unsafe_urls(artifacts: Sequence[Artifact]) -> None:
    """Raise `Refused`, naming every artifact whose `download_url` must not be requested."""
    _refuse(list(_unsafe_urls(artifacts)), several=_are_of_several_cubes(artifacts))


def _unsafe_urls(artifacts: Iterable[Artifact]) -> Iterator[Flaw]:
    for artifact in artifacts:
        if artifact.available and artifact.download_url is not None:
            reason = unsafe_url_reason(artifact.download_url)
            if reason is not None:
                yield artifact, f"its download_url is unsafe: {reason}", _LEAVE_OUT


def _step(
    artifact: Artifact,
    place: SafePath,
    disk: Disk,
    absent: set[tuple[str, ...]],
    if_exists: IfExists | None,
    *,
    unpack: bool,
) -> Step:
    if if_exists is None or not artifact.available:
        return Step(artifact, place, Action.NONE)
    found, entry = disk.lstat(place, absent), disk.entry(place)
    if entry is not None and (entry.members is not None or entry.before):
        if unpack and entry.members is not None:
            return _folder_step(artifact, place, disk, if_exists, found, entry)
        if not unpack and (found is None or stat.S_ISDIR(found.st_mode)):
            return _packed_step(artifact, place, disk, if_exists, found, entry)
    if found is None:
        return Step(artifact, place, Action.DOWNLOAD)
    if unpack and stat.S_ISDIR(found.st_mode) and Name.of(artifact.local_path).may_be_folder:
        if if_exists is IfExists.ERROR:
            raise Refused(_IS_THERE, hint=_MOVE)
        return Step(artifact, place, Action.DOWNLOAD, found, entry)
    same = (
        (if_exists is IfExists.UPDATE or disk.was_only_intended(place))
        and entry is not None
        and entry.members is None
        and stat.S_ISREG(found.st_mode)
        and disk.holds(place, entry, found)
    )
    ours = same or (entry is not None and not disk.was_only_intended(place))
    right = same and entry is not None and entry.is_of(artifact)
    action = decide(if_exists, found.st_mode, ours=ours, right=right)
    if action is Action.KEEP and unpack and entry is not None and not entry.is_judged:
        action = Action.UNPACK if disk.is_to_be_unpacked(place, artifact) else action
    return Step(artifact, place, action, found, entry)


def _folder_step(
    artifact: Artifact,
    place: SafePath,
    disk: Disk,
    if_exists: IfExists,
    found: os.stat_result | None,
    entry: Entry,
) -> Step:
    """Decide about an artifact that was unpacked before; its members are checked one by one.

    With `error`, what a killed run put in place is completed.
    """
    if if_exists is IfExists.ERROR:
        if disk.was_only_intended(place):
            if_exists = IfExists.UPDATE
        elif disk.has_any_member(entry):
            raise Refused(_IS_THERE, hint=_MOVE)
    is_same = entry.is_of(artifact)
    action = Action.REPLACE
    if if_exists is IfExists.SKIP and is_same and disk.has_members(entry):
        action = Action.SKIP
    elif if_exists is IfExists.UPDATE and is_same and disk.holds_members(place, entry):
        action = Action.KEEP
    return Step(artifact, place, action, found, entry)


def _packed_step(
    artifact: Artifact,
    place: SafePath,
    disk: Disk,
    if_exists: IfExists,
    found: os.stat_result | None,
    entry: Entry,
) -> Step:
    """Decide about an artifact that was unpacked before and should become one file."""
    if found is None:
        return Step(artifact, place, Action.REPLACE, None, entry)
    if if_exists is IfExists.ERROR:
        raise Refused(_IS_THERE, hint=_MOVE)
    if if_exists is IfExists.SKIP:
        return Step(artifact, place, Action.SKIP, found, entry)
    if not disk.holds_only_ours(place, entry):
        raise Refused("a folder stands in its place, with files that are not its own", hint=_MOVE)
    return Step(artifact, place, Action.REPLACE, found, entry)


def decide(if_exists: IfExists, mode: int, *, ours: bool, right: bool) -> Action:
    """Decide about something that exists at an artifact's place.

    | there          | update  | skip    | overwrite | error   |
    | -------------- | ------- | ------- | --------- | ------- |
    | ours and right | keep    | skip    | replace   | refuse  |
    | ours, not right| replace | skip    | replace   | refuse  |
    | a stranger's   | refuse  | skip    | replace   | refuse  |
    | a link, device | refuse  | skip    | replace   | refuse  |
    | a folder       | refuse  | refuse  | refuse    | refuse  |

    A link or a device is replaced by a file; it is never written through. Raises `Refused`.
    """
    if stat.S_ISDIR(mode):
        raise Refused("a folder stands in its place", hint=_MOVE)
    if if_exists is IfExists.ERROR:
        raise Refused(_IS_THERE, hint=_MOVE)
    if if_exists is IfExists.SKIP:
        return Action.SKIP
    if if_exists is IfExists.OVERWRITE:
        return Action.REPLACE
    if right:
        return Action.KEEP
    if ours and stat.S_ISREG(mode):
        return Action.REPLACE
    if stat.S_ISREG(mode):
        raise Refused("a file that this tool did not put there stands in its place", hint=_STRANGER)
    raise Refused("something that is not a plain file stands in its place", hint=_STRANGER)


def _refuse(flaws: Sequence[Flaw], *, several: bool, late: bool = False) -> None:
    if not flaws:
        return
    lines = [
        f"  {visible(_name(artifact, several=several))}: {visible(reason)}"
        for artifact, reason, _ in flaws
    ]
    refused = count(len({id(artifact) for artifact, *_ in flaws}), "artifact") + " refused"
    told = (
        f"{refused}; what was fetched before stays"
        if late
        else f"nothing was downloaded: {refused}"
    )
    raise Refused(
        "\n".join([told, *lines]),
        hint="; ".join(dict.fromkeys(hint for *_, hint in flaws)),
    )


def _are_of_several_cubes(artifacts: Sequence[Artifact]) -> bool:
    return len({artifact.address for artifact in artifacts}) > 1


def _name(artifact: Artifact, *, several: bool) -> str:
    prefix = f"{artifact.address.path}: " if several else ""
    return prefix + (artifact.local_path or "(an empty path)")
