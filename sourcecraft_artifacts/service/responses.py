"""Reads responses of the API: a response is an object or an error.

Nothing is requested here: a `Response` is complete, wherever it comes from.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from ..backoff import retry_after_seconds
from ..errors import ApiError, ArtifactsError, AuthError, NotFound
from ..models import Artifact, CubeAddress, objects, read_artifact
from ..text import visible, without_secrets

_MOST_VALUES = 3_000_000
"""The most commas and brackets in a body that is parsed. 64 MiB of a listing have a third of that;
64 MiB of `{},` have 44 million, which take gigabytes once parsed."""
MOST_OF_AN_ERROR = 1 << 16
"""The most bytes that are read of an error's body."""
_EXPECTED = frozenset({"artifacts", "runs", "slug", "workflows"})
_EXAMINED, _EXCERPT, _MOST_SHOWN = 4096, 100, 500
_MAY_HOLD_A_KEY = r'"\s*:|\\[/u]|[?&][\w.~%+-]+='
"""Signs that a text has a piece of a listing: a member, an escaped slash, a query."""
_MARKUP = r"(?is)<(script|style)\b.*?</\1>|<[^>]*>"
_RETRYABLE_4XX = frozenset({408, 429})
_FINAL_5XX = frozenset({501, 505})
UNREACHABLE = "check the network, the proxy variables and --api-url"
_NOT_THE_API = "check that --api-url and the proxy variables lead to the API"
_LATER = "run the same command again later"
_LOG_IN = "log in with `sourcecraft-artifacts auth login`, or set SOURCECRAFT_TOKEN"
_REFUSED = (
    "the token may have expired, or lack permission for this repository: change SOURCECRAFT_TOKEN"
    " if it is set, else log in with `sourcecraft-artifacts auth login`"
)


class Response(NamedTuple):
    """One response of the API; `whole` is false if only the connection's end marks its end."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True


class RetryableError(Exception):
    """A retryable fault; `retry_after` is the server's wish, in seconds.

    `hint` says what to do if no try succeeds.
    """

    def __init__(
        self, reason: str, retry_after: float | None = None, *, hint: str = UNREACHABLE
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.hint = hint


class MorePages(ApiError):
    """There are more pages than the limit; `pages` is how many were read."""

    def __init__(self, message: str, pages: int) -> None:
        super().__init__(message)
        self.pages = pages


def content(answer: Response, asked: str, host: str, token: str | None) -> dict[str, Any]:
    """Return the object in a response.

    Errors name the `host` and what was `asked` for, and never the `token` that was sent. Raises
    `RetryableError` if another try may succeed, else `ApiError`, `AuthError` or `NotFound`.
    """
    secrets = [token] if token else []
    if 200 <= answer.status < 300:
        value = _whole_object(answer, asked, host, secrets)
        if value.get("error_code") and not value.keys() & _EXPECTED:
            # The service reports an error in this form even with a status of success.
            reason = f"{host} answered {describe(answer, secrets)}"
            raise ApiError(f"{asked}: {reason}", hint=_LATER)
        return value
    reason = f"{host} answered {describe(answer, secrets)}"
    if answer.status in _RETRYABLE_4XX or (
        answer.status >= 500 and answer.status not in _FINAL_5XX
    ):
        pause = retry_after_seconds(answer.headers.get("Retry-After"))
        raise RetryableError(reason, pause, hint=_LATER)
    raise refusal(answer.status, asked, reason, with_token=token is not None)


def _whole_object(
    answer: Response, asked: str, host: str, secrets: Sequence[str]
) -> dict[str, Any]:
    try:
        return read_object(answer, secrets)
    except ApiError as error:
        reason = f"{host} answered {answer.status} with {error.message}"
        if not answer.whole:
            raise RetryableError(reason) from error
        raise ApiError(f"{asked}: {reason}", hint=_NOT_THE_API) from error


def refusal(status: int, asked: str, reason: str, *, with_token: bool) -> ArtifactsError:
    """Return the error for a status that is not retryable."""
    if status in (401, 403):
        return AuthError(f"{asked}: {reason}", hint=_REFUSED if with_token else _LOG_IN)
    if status == 404:
        hidden = f"a private repository is not found without a token: {_LOG_IN}"
        hint = "check the names, and that the token may see the repository"
        return NotFound(f"{asked}: {reason}", hint=hint if with_token else hidden)
    moved = "check the address of the API" if 300 <= status < 400 else None
    return ApiError(f"{asked}: {reason}", hint=moved)


def read_object(answer: Response, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Read a body as one JSON object. Raises `ApiError`, which says what came instead."""
    if sum(map(answer.body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise ApiError("more values than a listing has")
    try:
        value = json.loads(answer.body)
    except RecursionError:
        raise ApiError("JSON nested too deeply") from None
    except MemoryError:
        raise ApiError("more than fits in memory") from None
    except ValueError:
        raise ApiError(_not_json(answer, secrets)) from None
    if not isinstance(value, dict):
        raise ApiError("JSON that is not an object")
    return value


def _not_json(answer: Response, secrets: Sequence[str]) -> str:
    text = answer.body.decode(errors="replace").strip("\ufeff \t\r\n")
    if not text:
        return "an empty body"
    if text[0] in '{["':  # An excerpt of a listing could hold a `download_url`.
        is_cut = answer.status >= 300 and len(answer.body) == MOST_OF_AN_ERROR
        return f"more than {MOST_OF_AN_ERROR:,} bytes of JSON" if is_cut else "malformed JSON"
    kind = _safe(answer.headers.get("Content-Type", "").partition(";")[0], secrets)
    redacted = without_secrets(text, secrets)
    excerpt = ""
    # A success may hold a piece of a listing; a proxy's page begins with `<`.
    is_told = answer.status >= 300 or text.startswith("<")
    if is_told and not re.search(_MAY_HOLD_A_KEY, redacted):
        plain = re.sub(_MARKUP, " ", redacted[:_EXAMINED])
        excerpt = _safe(" ".join(plain.split()), secrets)[:_EXCERPT]
    return f"{kind or 'something'} instead of JSON" + (f": '{excerpt}'" if excerpt else "")


def describe(answer: Response, secrets: Sequence[str] = ()) -> str:
    """Describe a response that is not a success, in one line that is safe to show."""
    if answer.status == 407:  # from a proxy, whose text may repeat the password
        return "407 Proxy Authentication Required"
    status = f"{answer.status} {_safe(answer.reason, secrets)}".rstrip()
    if 300 <= answer.status < 400 and "Location" in answer.headers:
        return f"{status}, a redirect to {_target_host(answer, secrets)}, which is not followed"
    error: Mapping[str, Any] = {}
    try:
        error = read_object(answer, secrets)
        message = _safe(error.get("message"), secrets)
        details = _details(error.get("details"), secrets)
        what = "".join(f": {text}" for text in (message, details) if text)
    except ApiError as fault:
        what = f" with {fault.message}"
    request_id = error.get("request_id") or answer.headers.get("X-Request-Id")
    named = {"error_code": error.get("error_code"), "request_id": request_id}
    shown = {key: _safe(value, secrets) for key, value in named.items()}
    ids = ", ".join(f"{key} {value}" for key, value in shown.items() if value)
    return status + what + (f" ({ids})" if ids else "")


def _details(details: object, secrets: Sequence[str]) -> str:
    """Return an error's details, in any JSON form, as one line such as `page_size: too large`."""
    if isinstance(details, dict):
        pairs = (f"{key}: {_plain(value)}" for key, value in details.items() if value)
        return _safe(", ".join(pairs), secrets)
    return _safe(_plain(details), secrets) if details else ""


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def request_note(answer: Response, secrets: Sequence[str]) -> str:
    """Return the request id for a log line; empty if no header has one."""
    value = answer.headers.get("X-Request-Id", "")
    return f" (request_id {_safe(value, secrets)})" if value else ""


def _target_host(answer: Response, secrets: Sequence[str]) -> str:
    try:
        host = urlsplit(answer.headers.get("Location", "")).hostname
    except ValueError:
        return "a malformed address"
    return _safe(unquote(host), secrets) if host else "the same host"


def _safe(value: object, secrets: Sequence[str]) -> str:
    text = str(value) if isinstance(value, str | int) else ""
    return visible(without_secrets(text, secrets))[:_MOST_SHOWN]


@contextmanager
def naming(asked: str) -> Iterator[None]:
    """Name what was asked for in the error of a response that is malformed."""
    try:
        yield
    except ApiError as error:
        raise ApiError(f"{visible(asked)}: {error.message}", hint=_NOT_THE_API) from None


def read_artifacts(address: CubeAddress, listing: Mapping[str, Any]) -> list[Artifact]:
    """Read the listing of a cube; artifacts that differ only in id and URL count once.

    Raises `ApiError` if it is malformed.
    """
    known: dict[tuple[object, ...], Artifact] = {}
    for item in objects(listing, "artifacts"):
        artifact = read_artifact(address, item)
        # The id is not compared: it is not in public use yet.
        same = artifact.local_path, artifact.status, artifact.dates
        if same not in known or known[same].download_url is None:
            known[same] = artifact
    return list(known.values())


def read_page_token(page: Mapping[str, Any]) -> str:
    """Return the token of the next page, empty for none. Raises `ApiError` if it is malformed."""
    token = page.get("next_page_token") or ""
    if not isinstance(token, str):
        raise ApiError("the API's response is malformed: next_page_token is not a string")
    return token
