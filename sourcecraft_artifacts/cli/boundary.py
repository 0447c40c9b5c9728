"""The one place where errors and signals become messages and exit statuses."""

from __future__ import annotations

import atexit
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, ModuleType
from typing import Any, NoReturn

import typer

from ..errors import ArtifactsError, Interrupted, LocalError, UsageError, bug
from .origins import naming_the_variable
from .streams import Nowhere, flush_stdout, forget_stdout, make_blocking, say

_OPEN_FILES = 1024
"""Enough for all connections, a part file for each of them, and the folders kept open."""
_HANG_UP = getattr(signal, "SIGHUP", None)
"""The signal that the terminal has gone; Windows has none."""
_LATER = 0.01
"""Seconds after which a signal is sent once more."""
_NO_FLAG = r"(?s)is not a valid boolean\..*"
_EXTRA = r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)$"


@contextmanager
def errors_of_command(ctx: Any) -> Iterator[None]:
    """Turn what a command raises into an error that can be shown; a closed stdout is none."""
    try:
        yield
    except BrokenPipeError:
        forget_stdout()
    except (ArtifactsError, OSError) as error:
        if _is_folder_lost(error) or _is_folder_lost(error.__cause__):
            raise _folder_lost() from error
        if isinstance(error, UsageError):
            raise naming_the_variable(error, ctx) from error
        if isinstance(error, OSError):
            forget_stdout()
            what = f"{error.filename}: " if error.filename else ""
            raise LocalError(f"{what}{error.strerror or error}") from error
        raise


def _is_folder_lost(error: BaseException | None) -> bool:
    """Tell whether a file was not found because the current folder has been deleted."""
    if not isinstance(error, FileNotFoundError) or os.path.isabs(error.filename or ""):
        return False
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _folder_lost() -> LocalError:
    return LocalError(
        "the current folder has been deleted",
        hint="change to a folder that exists; if it was created again, enter it with: cd .",
    )


def _fill_closed_streams() -> None:
    """Open the null device for closed standard streams, so that no socket gets their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = Nowhere(io.FileIO(os.open(os.devnull, os.O_WRONLY), "wb"))


def _allow_open_files() -> None:
    """Raise the soft limit of open files to what many connections need, or to the hard limit."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):  # a confined program may not even read the limit
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_program(program: Callable[..., Any]) -> int:
    """Prepare streams and signals, run the program, and return its exit status."""
    _fill_closed_streams()
    _allow_open_files()
    sys.stdout, sys.stderr = make_blocking(sys.stdout), make_blocking(sys.stderr)
    for number in filter(None, (signal.SIGINT, signal.SIGTERM, _HANG_UP)):
        # The parent may have it ignored: `nohup`, or a shell that starts a background job.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        code = _status_of(program)
        flush_stdout()
    except typer.Abort:
        _stderr().show_end("aborted")
        return 1
    except Interrupted as interrupted:
        forget_stdout()  # the program may have been blocked by it
        reached = f": {interrupted.reached}" if interrupted.reached else ""
        _stderr().show_end(f"interrupted{reached}", interrupted.hint or None)
        return interrupted.exit_code
    except Exception as error:
        fault = _shown(error)
        _stderr().show_error(fault)
        if isinstance(error, OSError):
            forget_stdout()
        return int(fault.exit_code)
    return code


def _shown(error: Exception) -> ArtifactsError:
    """Return the error to show: of a bug only its type and place, as its text may hold a secret."""
    if isinstance(error, ArtifactsError):
        return error
    if isinstance(error, OSError):  # for example help that is written to a full disk
        return LocalError(f"cannot write to stdout: {error.strerror or error}")
    return bug(error)


def _status_of(program: Callable[..., Any]) -> int:
    """Run the program and return its exit status."""
    try:
        code = program(prog_name="sourcecraft-artifacts", standalone_mode=False)
    except typer.TyperException as error:
        return _refuse_arguments(error)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # the reader of a help page has gone
            return 0
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return code if isinstance(code, int) else 0


def _refuse_arguments(error: typer.TyperException) -> int:
    """Show an error in the arguments like any other error, and a help page as it is."""
    _forget_unlike_options(error)
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        say(message)
        return error.exit_code
    ctx: Any = getattr(error, "ctx", None)
    param: Any = getattr(error, "param", None)
    of_option = getattr(param, "param_type_name", "") == "option"
    if of_option:
        reason = str(error).removeprefix("Value error, ")  # typer 0.29 adds that
        reason = re.sub(_NO_FLAG, "is neither 1 (on) nor 0 (off)", reason)
        message = f"{max(param.opts, key=len)}: {reason}"
    message = re.sub(_EXTRA, r"too many arguments: \1", message.removesuffix("."))
    hint = _misplaced(ctx, getattr(error, "option_name", ""))
    hint = hint or _usage_hint(ctx, of_option or hasattr(error, "option_name"))
    fault = UsageError(message[:1].lower() + message[1:], hint=hint)
    if isinstance(error.__cause__, UsageError):  # raised by one of our parsers in `values`
        fault = error.__cause__
    _stderr().show_error(naming_the_variable(fault, ctx))
    return error.exit_code


def _forget_unlike_options(error: Any) -> None:
    """Keep only the suggestions that are like the unknown option, not counting the dashes."""
    from difflib import get_close_matches

    wanted = getattr(error, "option_name", "").strip("-")
    if found := getattr(error, "possibilities", None):
        error.possibilities = [
            one for one in found if get_close_matches(wanted, [one.strip("-")], n=1)
        ]


def _misplaced(ctx: Any, option: str) -> str:
    """Say that an option belongs behind the command that follows it; empty if it does not."""
    commands = getattr(ctx.command, "commands", {}) if ctx is not None and option else {}
    name = next((word for word in sys.argv[1:] if word in commands), "")
    if not name or not any(option in param.opts for param in commands[name].params):
        return ""
    return f"options come after the command, as in: {ctx.command_path} {name} {option} ..."


def _usage_hint(ctx: Any, of_option: bool) -> str:
    path = f"{ctx.command_path} " if ctx is not None else ""
    if ctx is None or of_option:
        return f"{path}--help shows the options"
    if hasattr(ctx.command, "commands"):
        return f"{path}--help shows the commands"
    return "write " + path + " ".join(ctx.command.collect_usage_pieces(ctx))


def leave(code: int) -> NoReturn:
    """Flush stdout and end the process at once.

    The interpreter's own shutdown frees every module and object, which takes a seventh of a short
    command's time, and waits for threads that still wait for the API.
    """
    with suppress(Exception):
        atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def _stderr() -> ModuleType:
    from . import stderr  # logging costs start-up time

    return stderr


_interrupts = 0


def _send(number: int) -> None:
    """Send a signal to the main thread, so that it ends what that waits for."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def _is_ignored(frame: FrameType | None) -> bool:
    """Tell whether Python ignores what is raised in a frame: below `__del__` or a finalizer."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_qualname == "finalize.__call__":
            return True
        frame = frame.f_back
    return False


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise `Interrupted` at the first signal; end the process at the second.

    A terminal that goes may say so twice, through the kernel and the shell; that is one signal.
    Where Python ignores what is raised, the signal is sent once more, a little later.
    """
    global _interrupts
    if _is_ignored(frame):
        threading.Timer(_LATER, _send, [number]).start()
        return
    _interrupts += 1
    if _interrupts > 1 and number == _HANG_UP:
        return
    if _interrupts > 1:
        os._exit(128 + number)
    raise Interrupted(number)
