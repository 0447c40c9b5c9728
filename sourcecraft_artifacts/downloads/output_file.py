"""One artifact to one file that the user named (`-o FILE`), or to a stream (`-o -`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from ..backoff import backoff
from ..disk.directory import Directory, open_root, refuse_special, take_lock, wait_for_lock
from ..disk.partial import Partial
from ..disk.parts import PartialStore
from ..errors import (
    BrokenTransfer,
    Busy,
    ExpiredUrl,
    Refused,
    TransferError,
    UsageError,
    named_file_fault,
)
from ..http.checksums import Digests, expected_digests
from ..http.ranges import Verdict, Version, holds_all, judge, range_header, read_version
from ..http.status import check_status
from ..http.storage import Response, Storage
from ..models import Artifact
from ..results import FileResult, Outcome
from ..service.url_refresher import UrlRefresher
from ..text import visible
from ..transfer.jobs import Job, Whole, each
from ..transfer.pacing import RateLimit
from .output_folder import part_key

_PREFIX = ".sourcecraft-artifacts-"
_REFRESHES = 2


class OutputFile:
    """A file that the user named: a target (`jobs.Target`) for one job, as a context.

    Partial data lies beside it under a hidden name until it is complete. Raises `UsageError`
    for a name that cannot be a file's, `LocalError` when its folder cannot be opened or the name is
    too long, `Refused` when it is a folder, a device or a link to one.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        folder, self._name = os.path.split(path)
        if self._name in ("", ".", ".."):
            raise UsageError(f"{visible(path)} does not name a file")
        try:
            refuse_special(path)
        except Refused as refusal:
            raise Refused(refusal.message, hint="write to a stream with -o -") from None
        try:
            self._directory: Directory = open_root(folder or ".")
            self._directory.lstat(self._name)  # a name too long fails here, before any transfer
        except OSError as error:
            raise named_file_fault(error, path) from error
        self._parts = PartialStore(self._directory, _PREFIX)
        key = hashlib.sha256(os.fsencode(self._name)).hexdigest()[:32]
        self._lock_name = f"{_PREFIX}{key}.lock"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs away from the file, after waiting for one that is at it.

        The lock is a hidden file beside it, removed at the end.
        Raises `LocalError`, and `Refused` for a symlink in its place.
        """
        wait = f"waiting for another download to {visible(self.path)} to end"
        descriptor = wait_for_lock(self._lock, wait)
        try:
            yield
        finally:
            self._directory.unlink(self._lock_name)
            os.close(descriptor)

    def _lock(self) -> int | None:
        try:
            descriptor = self._directory.open(self._lock_name, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise named_file_fault(error, self.path) from error
        found = self._directory.lstat(self._lock_name) if take_lock(descriptor) else None
        # One that its owner has just removed locks nobody out.
        if found is not None and os.path.samestat(found, os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
        return None

    @property
    def exists(self) -> bool:
        """Whether something stands at the name."""
        return os.path.lexists(self.path)

    def open(self, job: Job) -> Partial:
        """Return the partial data for the job."""
        return self._parts.open(part_key(job.artifact, self._name))

    def takes_long(self, whole: Whole) -> bool:
        """No: it is renamed."""
        return False

    def cancel(self) -> None:
        """Do nothing: no commit takes long."""

    def commit(self, batch: Sequence[Whole]) -> None:
        """Rename complete partial data, synced, to the file's name; a link there is replaced."""
        each(batch, self._put_in_place)

    def _put_in_place(self, whole: Whole) -> None:
        size = whole.partial.seal().st_size
        self._directory.replace(whole.partial.part_name, self._directory, self._name)
        whole.partial.placed()
        self._directory.sync()
        whole.size = size


class Stream:
    """Sends one artifact to a stream, byte for byte; what was sent cannot be taken back.

    A transfer that breaks goes on at its byte, if the storage proves it to be of the same
    object: by its validator, or by sending again what was sent, which is then compared.
    """

    def __init__(
        self,
        storage: Storage,
        links: UrlRefresher,
        write: Callable[[memoryview], None],
        *,
        retries: int,
        limit: RateLimit,
        pause: Callable[[float], None],
        retrying: Callable[[str, float], None],
    ) -> None:
        self.position = 0
        self.received = 0
        self.size: int | None = None
        self.name = ""
        self.stage = ""
        self._storage = storage
        self._links = links
        self._write = write
        self._retries = retries
        self._limit = limit
        self._pause = pause
        self._retrying = retrying
        self._version: Version | None = None
        self._digests = Digests()

    def send(self, artifact: Artifact) -> str:
        """Send the whole artifact and return its SHA-256.

        Raises TransferError when it cannot be had; part of it may have been sent then. What
        `write` raises comes through.
        """
        url, failed, refreshed, best = artifact.download_url, 0, 0, -1
        while True:
            try:
                if url is None:
                    raise ExpiredUrl("the service gave no download_url")
                self._once(url)
                self._digests.check()
                return self._digests.sha256
            except (ExpiredUrl, BrokenTransfer) as error:
                if self.position > best:
                    best, failed, refreshed = self.position, 0, 0
                if isinstance(error, ExpiredUrl):
                    refreshed += 1
                    if refreshed > _REFRESHES:
                        raise
                    url = self._links.fresh(artifact, url).download_url
                    continue
                failed += 1
                if failed > self._retries:
                    raise
                delay = backoff(failed, error.retry_after if isinstance(error, Busy) else None)
                self._retrying(error.message, delay)
                self._pause(delay)

    def _once(self, url: str) -> None:
        have = self._version if self._version and self._version.resumable else None
        headers = {}
        if have is not None and self.position:
            headers = {"Range": range_header(self.position, None), "If-Range": have.validator or ""}
        with self._storage.get(url, headers) as answer:
            check_status(answer, ranged=bool(headers))
            found = read_version(answer.headers, answer.length)
            verdict = Verdict.RESTART
            if headers and have is not None:
                verdict = judge(answer.status, answer.headers, self.position, have)
            unasked = not headers and not holds_all(answer.status, answer.headers)
            if verdict is Verdict.UNUSABLE or unasked:
                self._version = None  # the next try asks for all of it, and compares
                raise BrokenTransfer("the storage does not serve the rest", code="protocol")
            told = expected_digests(answer.status, answer.headers, found.size)
            if verdict is Verdict.RESTART:
                self._begin(answer, found, told)
            else:
                self._digests.expect(told)
            self._pump(answer)

    def _begin(self, answer: Response, found: Version, told: dict[str, bytes]) -> None:
        digests = Digests(told)
        if self.position:
            self._compare(answer, digests)
        self._digests, self._version, self.size = digests, found, found.size

    def _compare(self, answer: Response, again: Digests) -> None:
        """Read again what was sent; go on only behind the very same bytes."""
        buffer = memoryview(bytearray(self._limit.buffer_size))
        while (left := self.position - again.position) > 0:
            count = answer.read_into(buffer[: min(left, len(buffer))])
            if not count:
                break
            again.update(buffer[:count])
            self._spend(count)
        if again.sha256 != self._digests.sha256:
            raise TransferError(
                "the artifact changed while it was sent to the stream", code="changed"
            )

    def _pump(self, answer: Response) -> None:
        buffer = memoryview(bytearray(self._limit.buffer_size))
        while count := answer.read_into(buffer[: self._room(len(buffer))]):
            self._write(buffer[:count])
            self._digests.update(buffer[:count])
            self.position += count
            self._spend(count)
        if self.size is not None and self.position != self.size:
            raise BrokenTransfer("the storage sent less than the whole", code="cut")

    def _room(self, most: int) -> int:
        """Return the bytes to take at once: never more than the object lacks."""
        return most if self.size is None else min(most, self.size - self.position)

    def _spend(self, count: int) -> None:
        self.received += count
        owed = self._limit.owed(count)
        if owed > 0:
            self._pause(owed)


def streamed(artifact: Artifact, stream: Stream, sha256: str | None, seconds: float) -> FileResult:
    """Return the result of a stream that came to its end."""
    return FileResult(
        artifact,
        "-",
        Outcome.DOWNLOADED,
        size=stream.position,
        sha256=sha256,
        transferred=stream.received,
        seconds=seconds,
    )
