"""One artifact to a stream (`-o -`), where sent bytes cannot be taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..disk.directory import Directory
from ..disk.hashing import Hashing
from ..disk.partial import Partial
from ..errors import ArtifactsError, TransferError, cancelled
from ..http.ranges import Version
from ..transfer.jobs import Job, Whole


class OutputStream:
    """A stream, as a target (`jobs.Target`) for one job: `write` sends bytes, and may block.

    `fault` is what `write` raised, unless it is an error of the artifact.
    """

    def __init__(self, write: Callable[[memoryview], None]) -> None:
        self.fault: Exception | None = None
        self._write = write

    def fresh(self, job: Job) -> Sent:
        """Return the empty state of the stream."""
        return Sent(self._send)

    def open(self, job: Job) -> Sent:
        """Return the empty state of the stream."""
        return self.fresh(job)

    def takes_long(self, whole: Whole) -> bool:
        """Return false: the bytes were sent already."""
        return False

    def commit(self, batch: Sequence[Whole]) -> None:
        """Note the size: everything was sent already."""
        for whole in batch:
            whole.size = whole.partial.position

    def cancel(self) -> None:
        """Do nothing: no commit takes long."""

    def _send(self, data: memoryview) -> None:
        try:
            self._write(data)
        except ArtifactsError:
            raise
        except BrokenPipeError as error:
            self.fault = error
            raise cancelled() from error  # the reader has enough
        except Exception as error:
            self.fault = error
            raise


class Sent(Partial):
    """The bytes of one object as they are sent, in order.

    A broken transfer continues at its byte if the object is provably the same: by its validator, or
    because the storage sends the same bytes again, which are compared.
    """

    keeps = False

    def __init__(self, send: Callable[[memoryview], None]) -> None:
        super().__init__(Directory("-", None), "-", None)
        self._send = send
        self._again: Hashing | None = None
        """The digests of bytes that the storage sends a second time."""

    @property
    def complete(self) -> bool:
        """Whether every byte was sent; `digest` tells whether too many were."""
        return self.version is not None and self.position >= (self.size or 0)

    def restart(self, version: Version, expected: dict[str, bytes]) -> None:
        """Begin a version of the object; the sent bytes must be its beginning."""
        self.version = version
        if self.position:
            self._again = Hashing(expected)
        else:
            self.hashing = Hashing(expected)

    def write(self, data: memoryview, at: int) -> None:
        """Send the next bytes, or compare them with the sent ones.

        Raises `TransferError` if they differ, and what the stream raises.
        """
        if self._again is not None:
            known = data[: self.position - at]
            data = data[len(known) :]
            self._again.update(known)
            if self._again.position == self.position:
                self._check_same(self._again)
        if data:
            assert self.hashing is not None, "restart was called first"
            self._send(data)
            self.hashing.update(data)
            self.position += len(data)

    def digest(self) -> str:
        """Return the SHA-256 of all sent bytes. Raises `TransferError` if a digest differs."""
        if self._again is not None:
            self._check_same(self._again)
        return super().digest()

    def suspend(self) -> None:
        """Do nothing: sent bytes cannot be recalled."""

    def forget(self) -> None:
        """Do nothing: the next bytes are compared."""

    def _check_same(self, again: Hashing) -> None:
        assert self.hashing is not None
        if again.sha256 != self.hashing.sha256:
            raise TransferError(
                "the artifact changed while it was sent to the stream", code="changed"
            )
        self.hashing, self._again = again, None
