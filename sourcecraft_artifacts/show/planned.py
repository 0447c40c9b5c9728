"""Shows what a download would do (`--dry-run`): a line for each artifact, and a summary."""

from __future__ import annotations

from collections.abc import Iterator

from ..results import FileResult, Outcome, Report
from ..text import count, human_size, visible
from .summary import others, where
from .wrapping import wrapped

FETCHED = ("download", "replace")
"""The actions that request bytes from the storage."""
_ACTIONS = {
    Outcome.UNCHANGED: "keep",
    Outcome.SKIPPED: "skip",
    Outcome.UNAVAILABLE: "unavailable",
}
_WIDTH = max(map(len, (*FETCHED, *_ACTIONS.values())))
_SIZE_WIDTH = 10


def action_of(result: FileResult) -> str:
    """Return one word for what would be done with an artifact."""
    return _ACTIONS.get(result.outcome) or result.action or str(result.outcome)


def plan_lines(report: Report, *, sizes: bool = False, table: bool = False) -> Iterator[str]:
    """Yield `action path` for each artifact, and with `sizes` its bytes, tab-separated.

    As a `table` the columns are aligned, and sizes are in readable units.
    """
    for result in report.files:
        action, path = action_of(result), visible(result.path or result.artifact.local_path)
        if not table:
            size = "" if result.size is None else str(result.size)
            yield "\t".join([action, path, size] if sizes else [action, path])
        else:
            size = "?" if result.size is None else human_size(result.size)
            column = f"{size:>{_SIZE_WIDTH}}  " if sizes else ""
            yield f"{action:<{_WIDTH}}  {column}{path}"


def plan_sentence(report: Report, *, sizes: bool = False, width: int | None = None) -> str:
    """Say how many files would be fetched, and with `sizes` how many bytes in all.

    With a `width` in cells it is wrapped.
    """
    planned = [result for result in report.files if result.outcome is Outcome.PLANNED]
    fetched = [result for result in planned if result.action in FETCHED]
    would = f"Would fetch {count(len(fetched), 'file')}" if fetched else "Would fetch nothing"
    place = where(report, fetched)
    if place:
        would += f" to {place}"
    if fetched and sizes:
        would += f", {_sum(fetched)}"
    actions = [result.action for result in planned]
    rest = {what: actions.count(what) for what in ("await", "keep", "skip", "unpack", "delete")}
    numbers = others(
        report,
        awaited=rest["await"],
        unchanged=rest["keep"],
        skipped=rest["skip"],
        unpacked=rest["unpack"],
        deleted=rest["delete"],
    )
    numbers = numbers.replace(" deleted", " to be deleted").replace(" unpacked", " to be unpacked")
    sentence = f"{would}; {numbers}." if numbers else f"{would}."
    return "\n".join(wrapped(sentence, place, width))


def _sum(results: list[FileResult]) -> str:
    known = [result.size for result in results if result.size is not None]
    unknown = len(results) - len(known)
    if not unknown:
        return human_size(sum(known))
    least = f"at least {human_size(sum(known))} and " if known else ""
    return f"{least}{count(unknown, 'file')} of unknown size"
