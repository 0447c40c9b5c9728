"""The errors, and the exit status of each.

    ArtifactsError               code        exit
    ├── LocalError               local          1
    ├── UsageError               usage          2
    ├── NothingMatched           nothing        3
    ├── AuthError                auth           4
    ├── NotFound                 not_found      5
    ├── ApiError                 api            7
    ├── Refused                  refused        8
    ├── WaitTimeout              wait_timeout   9
    └── TransferError            (its own)      6   one artifact could not be downloaded
        ├── UnsafeUrl            unsafe_url     8   the storage redirects to an unsafe URL
        ├── ExpiredUrl           expired        6   the artifacts are listed again, for a new URL
        └── BrokenTransfer       (its own)      6   retryable
            └── Busy             busy           6   retryable after the time that the storage wants

`Interrupted` is not an error: a signal asked the program to end.
"""

import errno
import os
from enum import IntEnum

from .text import visible

MOVE_AWAY = "move it away, or choose another output folder"
"""The hint for what is in the way of an artifact."""


class ExitCode(IntEnum):
    """The exit status of the command."""

    OK = 0
    LOCAL = 1
    USAGE = 2
    NOTHING = 3
    AUTH = 4
    NOT_FOUND = 5
    INCOMPLETE = 6
    API = 7
    REFUSED = 8
    WAIT_TIMEOUT = 9
    RUN_FAILED = 10


class ArtifactsError(Exception):
    """What happened and where, in one sentence, and with `hint` what to do about it."""

    exit_code = ExitCode.LOCAL
    code = "local"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class LocalError(ArtifactsError):
    """A fault of this machine: disk full, no permission, a folder that is gone."""


class UsageError(ArtifactsError):
    """Bad arguments, bad configuration or a malformed token."""

    exit_code = ExitCode.USAGE
    code = "usage"


class NothingMatched(ArtifactsError):
    """The selection has no artifacts."""

    exit_code = ExitCode.NOTHING
    code = "nothing"


class AuthError(ArtifactsError):
    """The API answered 401 or 403."""

    exit_code = ExitCode.AUTH
    code = "auth"


class NotFound(ArtifactsError):
    """The API answered 404, or a name is not in the run."""

    exit_code = ExitCode.NOT_FOUND
    code = "not_found"


class ApiError(ArtifactsError):
    """The API could not be reached or understood, retries included."""

    exit_code = ExitCode.API
    code = "api"


class Refused(ArtifactsError):
    """To go on would be unsafe, or would replace a file that this tool did not write."""

    exit_code = ExitCode.REFUSED
    code = "refused"


class WaitTimeout(ArtifactsError):
    """The run did not end within `--wait-timeout`."""

    exit_code = ExitCode.WAIT_TIMEOUT
    code = "wait_timeout"


class TransferError(ArtifactsError):
    """One artifact could not be downloaded; `code` says why, and the others go on."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class UnsafeUrl(TransferError):
    """The storage redirects to an unsafe URL; no request was sent there."""

    exit_code = ExitCode.REFUSED

    def __init__(self, reason: str) -> None:
        super().__init__(f"the storage's URL is unsafe: {reason}", code="unsafe_url")


class ExpiredUrl(TransferError):
    """The storage no longer accepts this `download_url`, or has no object there."""

    def __init__(self, message: str, *, code: str = "expired") -> None:
        super().__init__(message, code=code)


class BrokenTransfer(TransferError):
    """The connection failed, stalled or ended early; retryable."""

    def __init__(self, message: str, *, code: str = "network") -> None:
        super().__init__(message, code=code)


class Busy(BrokenTransfer):
    """The storage is busy (429, 503); `retry_after` is in seconds, or None if it does not say."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message, code="busy")
        self.retry_after = retry_after


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived; ends the program with 128 plus the signal's number.

    `reached` says how far a download had come, and `hint` what to do next; either may be empty.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number
        self.reached = ""
        self.hint = ""


class Cancelled(Exception):
    """The download was cancelled while this worker was busy."""


def cancelled() -> TransferError:
    """Return the error for a file that nobody waits for any more."""
    return TransferError("it was cancelled", code="cancelled")


def bug(error: Exception) -> LocalError:
    """Describe an unexpected error by its type and place alone.

    Its text and its traceback may hold a secret. A lack of memory is no bug, nor is a name that the
    system's encoding lacks: a run in another locale may have left files of such names.
    """
    if isinstance(error, UnicodeEncodeError) and error.encoding != "utf-8":
        return LocalError(
            f"a name cannot be written in this system's encoding ({error.encoding})",
            hint="choose a locale with UTF-8, for example with LC_ALL=C.UTF-8",
        )
    if isinstance(error, MemoryError):
        return LocalError(
            "this program got no more memory", hint="raise its limit of memory (ulimit -v)"
        )
    where, place = error.__traceback__, "?"
    while where is not None:
        place = f"{os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno}"
        where = where.tb_next
    return LocalError(f"a bug: {type(error).__name__} in {place}", hint="please report it")


def local_fault(error: OSError, path: str) -> LocalError:
    """Return the error for a file that cannot be written, with a hint."""
    hints = {
        errno.ENOSPC: "make room and run the same command again: it goes on where it stopped",
        errno.EDQUOT: "make room and run the same command again: it goes on where it stopped",
        errno.EACCES: "check the permissions of the folder",
        errno.EROFS: "choose another output folder",
        errno.EMFILE: "raise the limit of open files (ulimit -n), or lower --jobs",
        errno.ENAMETOOLONG: "choose another output folder or --layout",
    }
    reason = error.strerror or str(error)
    message = f"cannot write {visible(path)}: {visible(reason)}"
    return LocalError(message, hint=hints.get(error.errno or 0))


def named_file_fault(error: OSError, path: str) -> LocalError:
    """Return the error for a file that the user named; the hint is often another name."""
    hints = {
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.ENOENT: "create its folder first",
        errno.ENOTDIR: "choose another folder for it",
        errno.EROFS: "choose another folder for it",
    }
    fault = local_fault(error, path)
    return LocalError(fault.message, hint=hints.get(error.errno or 0, fault.hint))
