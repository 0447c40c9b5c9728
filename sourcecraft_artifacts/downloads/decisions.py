"""Decides what to do with one artifact, from facts about the disk alone."""

import os
import stat
from enum import StrEnum
from typing import NamedTuple, Protocol

from ..choices import IfExists
from ..disk.entry import Entry
from ..disk.paths import SafePath
from ..errors import MOVE_AWAY, Refused
from ..models import Artifact

STRANGER = "--if-exists overwrite replaces what is there, and --if-exists skip leaves it"
"""The hint for what this tool did not put there."""
_IS_THERE = "something is there already, and --if-exists is error"


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
    """The facts about an output folder, as `KnownFolder` explains them."""

    @property
    def folds_names(self) -> bool: ...
    def path_of(self, place: SafePath) -> str: ...
    def lstat(self, place: SafePath, absent: set[tuple[str, ...]]) -> os.stat_result | None: ...
    def entry(self, place: SafePath) -> Entry | None: ...
    def own_file_above(self, place: SafePath) -> SafePath | None: ...
    def was_only_intended(self, place: SafePath) -> bool: ...
    def is_as_left(self, place: SafePath) -> bool: ...
    def holds(self, place: SafePath, entry: Entry, found: os.stat_result) -> bool: ...
    def holds_members(self, place: SafePath, entry: Entry) -> bool: ...
    def has_members(self, entry: Entry) -> bool: ...
    def has_any_member(self, entry: Entry) -> bool: ...
    def holds_only_ours(self, place: SafePath, entry: Entry) -> bool: ...
    def is_to_be_unpacked(self, place: SafePath, artifact: Artifact) -> bool: ...


class Step(NamedTuple):
    """One artifact's part of the plan; `before` is the `lstat` of its place at that time.

    `makes_way` is a file of an older version that stands where the place needs a folder.
    """

    artifact: Artifact
    place: SafePath
    action: Action
    before: os.stat_result | None = None
    entry: Entry | None = None
    makes_way: SafePath | None = None

    @property
    def fetches(self) -> bool:
        """Whether bytes must be requested."""
        return self.action in (Action.DOWNLOAD, Action.REPLACE)

    @property
    def changes(self) -> bool:
        """Whether the folder will be changed."""
        return self.fetches or self.action is Action.UNPACK


def step_for(
    artifact: Artifact,
    place: SafePath,
    disk: Disk,
    absent: set[tuple[str, ...]],
    if_exists: IfExists | None,
    *,
    unpack: bool,
) -> Step:
    """Decide what to do with an artifact; `if_exists` is None if this run has dealt with it.

    Raises `Refused`.
    """
    if if_exists is None or not artifact.available:
        return Step(artifact, place, Action.NONE)
    try:
        found, entry = disk.lstat(place, absent), disk.entry(place)
    except Refused:
        ours = disk.own_file_above(place)
        if ours is None or if_exists not in (IfExists.UPDATE, IfExists.OVERWRITE):
            raise
        return Step(artifact, place, Action.REPLACE, makes_way=ours)
    step = Step(artifact, place, Action.DOWNLOAD, found, entry)
    if entry is not None and (entry.members is not None or entry.before):
        if unpack and entry.members is not None:
            return _folder_step(step, entry, disk, if_exists)
        if not unpack and (found is None or stat.S_ISDIR(found.st_mode)):
            return _packed_step(step, entry, disk, if_exists)
    if found is None:
        return Step(artifact, place, Action.DOWNLOAD)
    if unpack and stat.S_ISDIR(found.st_mode):
        from ..disk.members import Name  # few runs find a folder there

        if Name.of(artifact.local_path).may_be_folder:
            if if_exists is IfExists.ERROR:
                raise Refused(_IS_THERE, hint=MOVE_AWAY)
            return step
    return _file_step(step, found, disk, if_exists, unpack=unpack)


def _folder_step(step: Step, entry: Entry, disk: Disk, if_exists: IfExists) -> Step:
    """Decide about an artifact that was unpacked before; its members are checked one by one.

    With `error`, what a killed run put in place is completed. With `update`, members that `skip`
    left as they were are not right yet.
    """
    if if_exists is IfExists.ERROR:
        if disk.was_only_intended(step.place):
            if_exists = IfExists.UPDATE
        elif disk.has_any_member(entry):
            raise Refused(_IS_THERE, hint=MOVE_AWAY)
    is_same = entry.is_of(step.artifact)
    action = Action.REPLACE
    if if_exists is IfExists.SKIP and is_same and disk.has_members(entry):
        action = Action.SKIP
    elif if_exists is IfExists.UPDATE and is_same and not entry.skipped:
        action = Action.KEEP if disk.holds_members(step.place, entry) else action
    return step._replace(action=action)


def _packed_step(step: Step, entry: Entry, disk: Disk, if_exists: IfExists) -> Step:
    """Decide about an artifact that was unpacked before and should become one file."""
    if step.before is None:
        return step._replace(action=Action.REPLACE)
    if if_exists is IfExists.ERROR:
        raise Refused(_IS_THERE, hint=MOVE_AWAY)
    if if_exists is IfExists.SKIP:
        return step._replace(action=Action.SKIP)
    if not disk.holds_only_ours(step.place, entry):
        raise Refused(
            "a folder stands in its place, with files that are not its own", hint=MOVE_AWAY
        )
    return step._replace(action=Action.REPLACE)


def _file_step(
    step: Step, found: os.stat_result, disk: Disk, if_exists: IfExists, *, unpack: bool
) -> Step:
    """Decide about an artifact at whose place something exists."""
    artifact, place, entry = step.artifact, step.place, step.entry
    same = (
        (if_exists is IfExists.UPDATE or disk.was_only_intended(place))
        and entry is not None
        and entry.members is None
        and stat.S_ISREG(found.st_mode)
        and disk.holds(place, entry, found)
    )
    ours = same or (entry is not None and not disk.was_only_intended(place))
    if entry is not None and entry.members is not None:
        ours = disk.is_as_left(place)  # not because of the folder that was here
    right = same and entry is not None and entry.is_of(artifact)
    action = decide(if_exists, found.st_mode, ours=ours, right=right)
    if action is Action.KEEP and unpack and entry is not None and not entry.is_judged:
        action = Action.UNPACK if disk.is_to_be_unpacked(place, artifact) else action
    return step._replace(action=action)


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
        raise Refused("a folder stands in its place", hint=MOVE_AWAY)
    if if_exists is IfExists.ERROR:
        raise Refused(_IS_THERE, hint=MOVE_AWAY)
    if if_exists is IfExists.SKIP:
        return Action.SKIP
    if if_exists is IfExists.OVERWRITE:
        return Action.REPLACE
    if right:
        return Action.KEEP
    if ours and stat.S_ISREG(mode):
        return Action.REPLACE
    if stat.S_ISREG(mode):
        raise Refused("a file that this tool did not put there stands in its place", hint=STRANGER)
    raise Refused("something that is not a plain file stands in its place", hint=STRANGER)
