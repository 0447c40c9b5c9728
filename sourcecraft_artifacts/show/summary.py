"""The end of a download for a person: what is missing, what was done, and hints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from ..errors import ArtifactsError
from ..models import Artifact
from ..results import FileResult, Outcome, Report
from ..text import count, human_seconds, human_size, some_of, visible
from .colours import Paint, unpainted
from .report import what_went_wrong
from .wrapping import wrapped

LEAST_TIME = 0.05
"""The shortest time that is shown, in seconds; less would be 0.0 s."""
AGAIN = "run the same command again"
GO_ON = f"{AGAIN}: it goes on where it stopped"
"""The hint after a download that ended early."""
_PASSING = r"network|stalled|cut|busy|protocol|denied|checksum|changed|api|http_5\d\d"
"""The codes of errors that may be gone at the next try."""
_MOST_NAMED = 3


def size_and_time(size: int, seconds: float) -> str:
    """Return a size in bytes, and the seconds that it took unless they are too few to show."""
    time = f" in {human_seconds(seconds)}" if seconds >= LEAST_TIME else ""
    return human_size(size) + time


def was_cancelled(result: FileResult) -> bool:
    """Tell whether a file was cancelled, by a signal or because another one failed."""
    return result.error is not None and result.error.code == "cancelled"


def summary_lines(
    report: Report,
    *,
    quiet: bool = False,
    failures_told: bool = False,
    may_wait: bool = False,
    may_allow: bool = False,
    paint: Paint = unpainted,
    width: int | None = None,
) -> list[str]:
    """Say for a person what is missing, what was done, and what to do next.

    The summary comes after the missing files, so that a long list does not push it off the screen.
    `quiet` leaves it out. `failures_told` leaves out failures that the progress has already shown.
    `may_wait` allows a hint about `--wait`, `may_allow` one about `--allow-missing`. With a `width`
    in cells the summary is wrapped.
    """
    lines = list(missing_lines(report, failures_told=failures_told, paint=paint))
    if not quiet:
        lines += [paint(line, "bold") for line in wrapped(*_sentence(report), width)]
        lines += _resumed(report)
        return lines + hint_lines(report, may_wait=may_wait, may_allow=may_allow)
    return lines + hint_lines(report)


def missing_lines(
    report: Report, *, failures_told: bool = False, paint: Paint = unpainted
) -> Iterator[str]:
    """Yield a line for each unavailable or failed artifact, with the reason."""
    several = len({result.artifact.address for result in report.files}) > 1
    for result in report.files:
        if result.outcome is Outcome.UNAVAILABLE:
            status = visible(result.artifact.status) or "without a status"
            still = "still " if _is_awaited(result) else ""
            name = _full_name(result.artifact, several)
            yield f"{paint('unavailable:', 'magenta')} {name} ({still}{status})"
    for result in report.files:
        if result.outcome is Outcome.FAILED and not (failures_told or was_cancelled(result)):
            name = _full_name(result.artifact, several)
            yield f"{paint('failed:', 'red')} {name}: {what_went_wrong(result)}"
    cancelled = sum(map(was_cancelled, report.files))
    if cancelled:
        yield f"{paint('cancelled:', 'magenta')} {count(cancelled, 'file')}"


def hint_lines(report: Report, *, may_wait: bool = False, may_allow: bool = False) -> list[str]:
    """Return each hint once: those of the errors, and to wait if that could help, else to allow."""
    hints: dict[str | None, None] = dict.fromkeys(_hints_of_errors(report))
    hints[_again(report)] = None
    waiting = _waiting(report) if may_wait else None
    hints[waiting or ("--allow-missing makes this a success" if may_allow else None)] = None
    return [f"  hint: {visible(hint)}" for hint in hints if hint]


def _hints_of_errors(report: Report) -> Iterator[str]:
    """Yield each hint, with the artifacts that it is for if others failed for other reasons."""
    several = len({result.artifact.address for result in report.files}) > 1
    failed = [one for one in report.files if one.error is not None and not was_cancelled(one)]
    names: dict[str, list[str]] = {}
    for result in failed:
        if result.error and result.error.hint and not result.error.hint.startswith(AGAIN):
            names.setdefault(result.error.hint, []).append(_full_name(result.artifact, several))
    for hint, named in names.items():
        is_for_all = len(named) == len(failed)
        yield hint if is_for_all else f"{some_of(named, most=_MOST_NAMED)}: {hint}"
    for cube in report.unlisted:
        if cube.error.hint and not cube.error.hint.startswith(AGAIN):
            yield cube.error.hint


def _again(report: Report) -> str | None:
    """Say that the same command may fetch what failed; None if that, too, needs a change."""
    if report.error is not None or report.timed_out:
        return None  # the error has its own hint
    for result in report.files:
        if result.error and _may_pass(result.error):
            return AGAIN if result.path == "-" else GO_ON
    hints = [cube.error.hint or AGAIN for cube in report.unlisted]
    return f"{AGAIN} later" if any(hint.startswith(AGAIN) for hint in hints) else None


def _may_pass(error: ArtifactsError) -> bool:
    if error.hint:
        return error.hint.startswith(AGAIN)
    return re.fullmatch(_PASSING, error.code) is not None


def _waiting(report: Report) -> str | None:
    """Say that waiting helps, unless it is known that nothing more will come."""
    if report.may_come is False or not any(map(_is_awaited, report.files)):
        return None
    fetches = "--wait fetches what is still registered as soon as it is ready"
    return fetches if report.may_come else f"if run {report.run} is in progress, {fetches}"


def _is_awaited(result: FileResult) -> bool:
    return result.outcome is Outcome.UNAVAILABLE and result.artifact.status == "registered"


def _sentence(report: Report) -> tuple[str, str]:
    """Return the summary, and the place that it names."""
    downloaded = [result for result in report.files if result.outcome is Outcome.DOWNLOADED]
    did = f"Downloaded {_counted(downloaded)}"
    place = where(report, downloaded)
    if place:
        did += f" to {place}"
    fetched = sum(map(_fetched, downloaded))
    if report.transferred and not downloaded:
        did += f" ({human_size(report.transferred)} received)"
    elif fetched:
        did += f", {size_and_time(fetched, report.seconds)}"
        if report.seconds >= LEAST_TIME:
            did += f" ({human_size(fetched / report.seconds)}/s)"
    rest = others(report)
    if report.dir is not None and not downloaded:
        place = _folder(report.dir)
        rest = rest.replace(" unchanged", f" unchanged in {place}", 1)
    return f"{did}; {rest}." if rest else f"{did}.", place


def _fetched(result: FileResult) -> int:
    """Return the bytes of a file that this run fetched, each counted once.

    A few may have been received twice, or all of them, if the first copy was not right.
    """
    return result.transferred if result.size is None else min(result.size, result.transferred)


def _counted(results: Sequence[FileResult]) -> str:
    """Count files and folders, such as `2 files and 1 folder (1,204 files)`."""
    folders = [len(result.members or ()) for result in results if _is_folder(result)]
    counts = [count(len(results) - len(folders), "file")] if len(results) > len(folders) else []
    if folders:
        counts.append(f"{count(len(folders), 'folder')} ({count(sum(folders), 'file')})")
    return " and ".join(counts) or "nothing"


def _is_folder(result: FileResult) -> bool:
    """Tell whether an artifact was unpacked, and not to one file in its own place."""
    members = result.members
    return members is not None and [one.path for one in members] != [result.path]


def where(report: Report, results: Sequence[FileResult]) -> str:
    """Say where files are, safe to show: the path of the only file, or the folder, or nothing."""
    paths = [result.path for result in results if result.path]
    if len(paths) > 1 and report.dir is not None:
        return _folder(report.dir)
    return "stdout" if report.dir is None and paths == ["-"] else visible("".join(paths[:1]))


def _folder(path: str) -> str:
    is_here = os.path.normpath(path) == os.curdir
    return visible(os.path.abspath(path) if is_here else path)


def _resumed(report: Report) -> Iterator[str]:
    resumed = [result.resumed for result in report.files if result.resumed]
    if resumed:
        which = count(len(resumed), "file")
        yield f"Resumed {which}: {human_size(sum(resumed))} had been received before."


def others(
    report: Report,
    *,
    awaited: int = 0,
    unchanged: int = 0,
    skipped: int = 0,
    unpacked: int = 0,
    deleted: int = 0,
) -> str:
    """Count the files that are not fetched, by outcome, and the cubes that could not be listed."""
    cancelled = sum(map(was_cancelled, report.files))
    numbers = {
        "awaited": awaited,
        "unchanged": unchanged + report.count(Outcome.UNCHANGED),
        "skipped": skipped + report.count(Outcome.SKIPPED),
        "unpacked": unpacked,
        "unavailable": report.count(Outcome.UNAVAILABLE),
        "failed": report.count(Outcome.FAILED) - cancelled,
        "cancelled": cancelled,
        "deleted": report.count(Outcome.DELETED) + deleted,
    }
    counts = [f"{number:,} {what}" for what, number in numbers.items() if number]
    if report.unlisted:
        counts.append(f"{count(len(report.unlisted), 'cube')} could not be listed")
    return ", ".join(counts)


def _full_name(artifact: Artifact, several: bool) -> str:
    return visible((f"{artifact.address.path}: " if several else "") + artifact.local_path)
