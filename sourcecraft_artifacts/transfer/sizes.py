"""Asks the storage for the sizes of objects: a GET for the first byte of each, several at once.

A URL may be signed for GET alone, so no HEAD is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..backoff import backoff
from ..errors import BrokenTransfer, TransferError
from ..http.blocks import Blocks
from ..http.status import check_status
from ..http.storage import Connections, Storage
from ..http.waits import Steps
from ..logs import get_logger
from ..text import count
from .helpers import Helpers
from .loop import Loop

AT_ONCE = 16
"""How many objects are requested at the same time."""
TIMEOUT = 10.0
"""How many seconds a connection may be silent."""
PATIENCE = 30.0
"""Seconds without any response after which the remaining sizes are given up."""
_MOST_RETRIES = 2
_TOTAL = re.compile(r"bytes\s+(?:[0-9]{1,19}-[0-9]{1,19}|\*)/([0-9]{1,19})", re.IGNORECASE)

_log = get_logger(__name__)


def read_size(status: int, headers: Mapping[str, str]) -> int | None:
    """Read an object's size in bytes from the response to a GET for `bytes=0-0`.

    | response                              | size                              |
    | ------------------------------------- | --------------------------------- |
    | 206, 416 with a total (`bytes 0-0/9`) | the total                         |
    | 200 with a Content-Range              | the total: rclone answers so      |
    | any other 200 with a Content-Length   | that                              |
    | any with a Content-Encoding           | None: it is that of the coded form |
    | any other                             | None                              |

    `headers` have lower-case names.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return None
    if status in (206, 416) or (status == 200 and "content-range" in headers):
        match = _TOTAL.fullmatch(headers.get("content-range", "").strip())
        return int(match[1]) if match else None
    length = headers.get("content-length", "").strip()
    is_told = status == 200 and length.isascii() and length.isdigit() and len(length) < 20
    return int(length) if is_told else None


def ask_sizes(
    urls: Sequence[str | None],
    *,
    ca_bundle: str | None = None,
    retries: int = 1,
    jobs: int | None = None,
) -> list[int | None]:
    """Return the size in bytes of the object at each URL, in order; None if unknown.

    `jobs` is the most connections that are open at once, if fewer than usual.
    Unknown sizes are counted in the log. Raises `UsageError` for a bad proxy or CA bundle.
    """
    storage = Storage(stall_timeout=TIMEOUT, ca_bundle=ca_bundle)
    asking = _Asking(urls, storage, retries, min(jobs or AT_ONCE, AT_ONCE))
    asking.run()
    known = zip(asking.sizes, urls, strict=True)
    if unknown := sum(size is None and url is not None for size, url in known):
        why = f": {asking.reason}" if asking.reason else ""
        _log.warning("the size of %s is not known%s", count(unknown, "artifact"), why)
    return asking.sizes


class _Asking:
    """The requests for the sizes at `urls`, `jobs` at once, on a loop in the caller's thread."""

    def __init__(
        self, urls: Sequence[str | None], storage: Storage, retries: int, jobs: int
    ) -> None:
        self.sizes: list[int | None] = [None] * len(urls)
        self.reason = ""
        """Why the first unknown size is unknown, safe to show."""
        self._left = iter([(at, url) for at, url in enumerate(urls) if url is not None])
        self._retries, self._jobs = min(retries, _MOST_RETRIES), jobs
        self._loop = loop = Loop(lambda call: self._helpers.put(call))
        self._helpers = Helpers(loop)
        self._net = Connections(storage, Blocks(jobs, loop.post), loop.time, loop.forget, jobs)
        self._heard = loop.time()
        """When the last response came."""
        self._failures = 0
        """How many requests failed since."""
        self._working = 0
        self._fault: Exception | None = None

    def run(self) -> None:
        """Ask for all sizes, or until the storage is given up. Raises `UsageError`."""
        tasks = [self._loop.begin(self._work(), self._end) for _ in range(self._jobs)]
        self._working = len(tasks)
        try:
            self._look()
            for task in tasks:
                task.resume()
            self._loop.run()
        finally:
            self._helpers.leave()
            for task in tasks:
                task.close()
            self._net.close()
            self._helpers.close()
            self._loop.close()
        if self._fault is not None:
            raise self._fault

    def _work(self) -> Steps[None]:
        for at, url in self._left:
            self.sizes[at] = yield from self._size(url)

    def _end(self, error: Exception | None) -> None:
        self._working -= 1
        self._fault = self._fault or error
        if self._fault is not None or not self._working:
            self._loop.stop()

    def _look(self) -> None:
        """Give up connections that are silent, and a storage whose connections all are."""
        self._loop.expire()
        self._loop.later(min(TIMEOUT / 4, 0.5), self._look)
        if self._loop.time() - self._heard > PATIENCE:
            self._give_up(f"there was no response for {PATIENCE:g} s")

    def _give_up(self, reason: str) -> None:
        self._note(reason)
        self._loop.stop()

    def _note(self, reason: str) -> None:
        self.reason = self.reason or reason

    def _size(self, url: str) -> Steps[int | None]:
        for failed in range(1, self._retries + 2):
            try:
                return (yield from self._ask(url))
            except BrokenTransfer as error:
                reason = error.message
                if error.code == "stalled":  # another try would hold up the others
                    self._note(reason)
                    return None
            except TransferError as error:
                self._note(error.message)
                return None
            self._note(reason)
            self._failures += 1
            if self._failures > 2 * self._jobs:
                self._give_up(reason)
            if failed <= self._retries:
                delay = backoff(failed)
                _log.debug("storage: retrying in %.1f s: %s", delay, reason)
                yield delay
        return None

    def _ask(self, url: str) -> Steps[int | None]:
        answer = yield from self._net.get(url, {"Range": "bytes=0-0"})
        self._heard = self._loop.time()
        yield from self._net.finish(answer)
        check_status(answer, ranged=True)
        self._failures = 0
        size = read_size(answer.status, answer.headers)
        if size is None:
            self._note(f"the storage answered {answer.status} without it")
        return size
