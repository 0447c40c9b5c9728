"""Decides what to do with all selected artifacts, before any transfer and from facts alone.

`--dry-run` stops after this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ..choices import IfExists, Layout
from ..disk.paths import SafePath, UnsafePath, collisions, flat_path, nested_path, safe_path
from ..errors import Refused
from ..models import Artifact
from ..select import normalised
from ..text import count, visible
from ..urls import unsafe_url_reason
from .decisions import Disk, Step, step_for

_LEAVE_OUT = "--exclude leaves it out"
_LEAVE_THE_FOLDER_OUT = "--exclude . leaves it out"
_LEAVE_SOME_OUT = "--exclude leaves out what is not needed"
_KEEP_CUBES_APART = f"--layout nested keeps cubes apart, and {_LEAVE_SOME_OUT}"
_KEEP_FOLDERS_APART = f"--layout mirror keeps folders apart, and {_LEAVE_SOME_OUT}"

Flaw = tuple[Artifact, str, str]
"""A refused artifact, the reason, and the way round it."""

Placed = list[tuple[Artifact, SafePath]]
"""The artifacts whose paths are safe, with their places."""

Rule = Callable[[Artifact], IfExists | None]
"""The rule for an existing file at an artifact's place; None if this run dealt with it before."""


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
    several = layout is Layout.NESTED or _are_of_several_cubes(artifacts)
    flaws = list(_unsafe_urls(artifacts))
    placed, unsafe = _placed(artifacts, layout, portable=portable)
    flaws += unsafe
    flaws += _colliding(placed, layout, disk, fold=portable or disk.folds_names)
    _refuse(flaws, several=several, late=late)
    steps, flaws = _decided(placed, disk, rule or (lambda _: if_exists), unpack=unpack)
    _refuse(flaws, several=several, late=late)
    return steps


def _placed(
    artifacts: Sequence[Artifact], layout: Layout, *, portable: bool
) -> tuple[Placed, list[Flaw]]:
    placed: Placed = []
    flaws: list[Flaw] = []
    for artifact in artifacts:
        try:
            placed.append((artifact, place_of(artifact, layout, portable=portable)))
        except UnsafePath as flaw:
            is_named = normalised(artifact.local_path)
            flaws.append((artifact, str(flaw), _LEAVE_OUT if is_named else _LEAVE_THE_FOLDER_OUT))
    return placed, flaws


def place_of(artifact: Artifact, layout: Layout, *, portable: bool) -> SafePath:
    """Return where an artifact lands below the output folder. Raises `UnsafePath`."""
    if layout is Layout.NESTED:
        return nested_path(artifact.address, artifact.local_path, portable=portable)
    if layout is Layout.FLAT:
        return flat_path(artifact.local_path, portable=portable)
    return safe_path(artifact.local_path, portable=portable)


def _colliding(placed: Placed, layout: Layout, disk: Disk, *, fold: bool) -> Iterator[Flaw]:
    for collision in collisions([place for _, place in placed], fold=fold):
        offenders = [placed[at] for at in collision.indexes]
        hint = _keep_apart([artifact for artifact, _ in offenders], layout)
        for artifact, place in offenders:
            yield artifact, f"{collision.reason} ({disk.path_of(place)})", hint


def _keep_apart(artifacts: Sequence[Artifact], layout: Layout) -> str:
    """Return the hint for colliding artifacts; it names `--layout` only if another one helps."""
    if layout is not Layout.NESTED and _are_of_several_cubes(artifacts):
        return _KEEP_CUBES_APART
    names = {normalised(artifact.local_path) for artifact in artifacts}
    if layout is Layout.FLAT and len(names) == len(artifacts):
        return _KEEP_FOLDERS_APART
    return _LEAVE_SOME_OUT


def _decided(
    placed: Placed, disk: Disk, rule: Rule, *, unpack: bool
) -> tuple[list[Step], list[Flaw]]:
    steps: list[Step] = []
    flaws: list[Flaw] = []
    absent: set[tuple[str, ...]] = set()
    for artifact, place in placed:
        try:
            steps.append(step_for(artifact, place, disk, absent, rule(artifact), unpack=unpack))
        except Refused as refusal:
            path = disk.path_of(place)
            where = "" if path in refusal.message else f" ({path})"
            flaws.append((artifact, refusal.message + where, refusal.hint or _LEAVE_OUT))
    return steps, flaws


def refuse_unsafe_urls(artifacts: Sequence[Artifact]) -> None:
    """Raise `Refused`, naming every artifact whose `download_url` must not be requested."""
    _refuse(list(_unsafe_urls(artifacts)), several=_are_of_several_cubes(artifacts))


def _unsafe_urls(artifacts: Iterable[Artifact]) -> Iterator[Flaw]:
    for artifact in artifacts:
        if artifact.available and artifact.download_url is not None:
            reason = unsafe_url_reason(artifact.download_url)
            if reason is not None:
                yield artifact, f"its download_url is unsafe: {reason}", _LEAVE_OUT


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
