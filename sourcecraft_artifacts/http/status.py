"""Turns the status of a storage's response, and its error body, into an error."""

from __future__ import annotations

from http import HTTPStatus

from ..backoff import retry_after_seconds
from ..errors import Busy, ExpiredUrl, TransferError
from ..logs import redaction
from ..text import visible, without_secrets
from .response import Response

_EXPIRED = frozenset({400, 401, 403})
_GONE = frozenset({404, 410})
"""The statuses of a URL whose object may have moved: the service may list it again elsewhere."""


def check_status(answer: Response, *, ranged: bool) -> None:
    """Raise the error for a status; return if the response may have the requested bytes.

    The error is `Busy` for 408, 429 and 5xx, `ExpiredUrl` for statuses of an expired URL, and
    `TransferError` for all others.
    """
    status = answer.status
    if status in (200, 206) or (ranged and status == 416):
        return
    what = f"the storage answered {_status_text(status)}{_detail(answer)}"
    if status in (408, 429) or status >= 500:
        raise Busy(what, retry_after_seconds(answer.headers.get("retry-after")))
    if status in _EXPIRED:
        raise ExpiredUrl(what)
    if status in _GONE:
        raise ExpiredUrl(what, code=f"http_{status}")
    raise TransferError(what, code=f"http_{status}")


def _status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _detail(answer: Response) -> str:
    """Return Code and Message of an S3 error body; empty for any other body."""
    text = answer.text()
    parts = []
    for tag in ("Code", "Message"):
        _, found, rest = text.partition(f"<{tag}>")
        inside, closed, _ = rest.partition(f"</{tag}>")
        if found and closed:
            told = redaction.redacted(without_secrets(inside, answer.secrets))
            parts.append(visible(told[:200]))
    return f" ({': '.join(parts)})" if parts else ""
