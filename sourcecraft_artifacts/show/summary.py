"""The end of a download for a person: what is missing, what was done and where, a way out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ..models import FINAL_STATUSES, Artifact
from ..results import FileResult, Outcome, Report
from ..text import count, human_seconds, human_size, visible
from .colours import Paint, unpainted
from .report import what_went_wrong

LEAST_TIME = 0.05
"""Seconds that are shown; less would be 0.0 s."""
GO_ON = "run the same command again: it goes on where it stopped"
"""What to do after an end that left something to be fetched."""


def size_and_time(size: int, seconds: float) -> str:
    """Say how much came in what time; a time too short to be shown says nothing."""
    time = f" in {human_seconds(seconds)}" if seconds >= LEAST_TIME else ""
    return human_size(size) + time


def was_called_off(result: FileResult) -> bool:
    """Tell whether a file is not there because another failed first, or a signal came."""
    return result.error is not None and result.error.code == "cancelled"


def summary_lines(
    report: Report,
    *,
    quiet: bool = False,
    failures_told: bool = False,
    may_wait: bool = False,
    paint: Paint = unpainted,
) -> list[str]:
    """Say for a person what was done: what is missing, how much came and where it is, a way out.

    The sentence comes behind the names, however many they are. `quiet` leaves what is missing and
    the way out. `failures_told` leaves out the failures, which who showed the progress has named.
    `may_wait` tells that `--wait` could be a way out.
    """
    lines = list(missing_lines(report, failures_told=failures_told, paint=paint))
    if not quiet:
        lines += [paint(_sentence(report), "bold"), *_resumed(report)]
    return lines + hint_lines(report, may_wait=may_wait and not quiet)


def missing_lines(
    report: Report, *, failures_told: bool = False, paint: Paint = unpainted
) -> Iterator[str]:
    """Name what cannot be had, each with its reason."""
    several = len({result.artifact.address for result in report.files}) > 1
    for result in report.files:
        if result.outcome is Outcome.UNAVAILABLE:
            status = visible(result.artifact.status) or "without a status"
            still = "still " if _is_awaited(result) else ""
            name = _full_name(result.artifact, several)
            yield f"{paint('unavailable:', 'magenta')} {name} ({still}{status})"
    for result in report.files:
        if result.outcome is Outcome.FAILED and not (failures_told or was_called_off(result)):
            name = _full_name(result.artifact, several)
            yield f"{paint('failed:', 'red')} {name}: {what_went_wrong(result)}"
    called_off = sum(map(was_called_off, report.files))
    if called_off:
        yield f"{paint('called off:', 'magenta')} {count(called_off, 'file')}"


def hint_lines(report: Report, *, may_wait: bool = False) -> list[str]:
    """Return each way out once: those of the errors, and waiting where that could help."""
    hints = dict.fromkeys(result.error.hint for result in report.files if result.error)
    if may_wait and any(map(_is_awaited, report.files)):
        hints[_waiting(report)] = None
    return [f"  hint: {visible(hint)}" for hint in hints if hint]


def _waiting(report: Report) -> str | None:
    """Say that waiting helps where the run goes on, as far as that was asked."""
    if report.run_status in FINAL_STATUSES:
        return None
    fetches = "--wait fetches what is still registered, as soon as it is there"
    return fetches if report.run_status else f"if run {report.run} goes on, {fetches}"


def _is_awaited(result: FileResult) -> bool:
    return result.outcome is Outcome.UNAVAILABLE and result.artifact.status == "registered"


def _sentence(report: Report) -> str:
    downloaded = [result for result in report.files if result.outcome is Outcome.DOWNLOADED]
    did = f"Downloaded {count(len(downloaded), 'file')}" if downloaded else "Downloaded nothing"
    if place := where(report, downloaded):
        did += f" to {place}"
    if report.transferred:
        did += f", {size_and_time(report.transferred, report.seconds)}"
        if report.seconds >= LEAST_TIME:
            did += f" ({human_size(report.transferred / report.seconds)}/s)"
    rest = others(report)
    if report.dir is not None and not downloaded:
        rest = rest.replace(" unchanged", f" unchanged in {_folder(report.dir)}", 1)
    return f"{did}; {rest}." if rest else f"{did}."


def where(report: Report, results: Sequence[FileResult]) -> str:
    """Say where files are, safe to show: the one file, or the folder; empty for none."""
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
    report: Report, *, awaited: int = 0, unchanged: int = 0, skipped: int = 0, deleted: int = 0
) -> str:
    """Count the files that are not fetched, by what becomes of them."""
    numbers = {
        "awaited": awaited,
        "unchanged": unchanged + report.count(Outcome.UNCHANGED),
        "skipped": skipped + report.count(Outcome.SKIPPED),
        "unavailable": report.count(Outcome.UNAVAILABLE),
        "failed": report.count(Outcome.FAILED),
        "deleted": report.count(Outcome.DELETED) + deleted,
    }
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number)


def _full_name(artifact: Artifact, several: bool) -> str:
    return visible((f"{artifact.address.path}: " if several else "") + artifact.local_path)
