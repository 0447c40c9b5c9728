"""What the commands share: settings, the client, the two output streams, and how they end."""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer

from .errors import ArtifactsError, Interrupted, LocalError, UsageError, bug
from .text import to_json, visible, without_secrets

if TYPE_CHECKING:
    from rich.console import Console

    from .address import Address
    from .api import Client
    from .choices import Layout, Progress
    from .config import Config, Token
    from .models import Run
    from .results import Report
    from .tracking import Silent

P = ParamSpec("P")

_OPEN_FILES = 1024
"""What is enough for all connections, a part for each of them, and the folders kept open."""


class Session:
    """One command's settings, resolved: the command line, else the environment, else the file."""

    def __init__(
        self,
        ctx: typer.Context,
        api_url: str | None = None,
        ca_bundle: str | None = None,
        *,
        retries: int = 5,
        quiet: bool = False,
        debug: bool = False,
    ) -> None:
        self._ctx = ctx
        self._api_url = api_url
        self._ca_bundle = ca_bundle
        self._retries = retries
        self._quiet = quiet
        self._debug = debug
        self.log: Callable[[str], None] | None = self._log if debug else None

    @cached_property
    def config(self) -> Config:
        """The config file. Raises `UsageError`."""
        from .config import load_config

        return load_config()

    @cached_property
    def api_url(self) -> str:
        """The API's address, checked."""
        from .config import DEFAULT_API_URL, check_api_url

        if self._api_url or self.config.api_url is None:
            return check_api_url(self._api_url or DEFAULT_API_URL)
        return self._from_config(check_api_url, self.config.api_url)

    def _from_config(self, check: Callable[[str], str], value: str) -> str:
        """Check a value of the config file, and name the file where it is no good."""
        try:
            return check(value)
        except UsageError as error:
            where = f"in the config file {self.config.path}: "
            raise UsageError(where + error.message, hint=error.hint) from error

    @cached_property
    def token(self) -> Token | None:
        """The token for that API, or None."""
        from .config import find_token

        return find_token(os.environ, self.config, self.api_url)

    def was_given(self, name: str) -> bool:
        """Tell whether a parameter stands on the command line itself."""
        source = self._ctx.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    def client(self) -> Client:
        """Return the API's client; use it as a context."""
        from .api import Client

        return Client(
            self.api_url,
            self.token.value if self.token else None,
            retries=self._retries,
            ca_bundle=self._ca_bundle,
            log=self.log,
        )

    def repo(self, option: str | None) -> str:
        """Return the repository. Raises `UsageError` where there is none."""
        from .address import parse_repo

        found = option or self._default_repo()
        if found is None:
            raise UsageError(
                "no repository is given, and the current folder is no checkout from SourceCraft",
                hint="use --repo ORG/REPO",
            )
        return parse_repo(found)

    def _default_repo(self) -> str | None:
        from .address import parse_repo, repo_from_git

        if self.config.repo is not None:
            return self._from_config(parse_repo, self.config.repo)
        return repo_from_git(os.getcwd())

    def address(
        self, run: str, names: Sequence[str | None], repo: str | None, run_status: str | None
    ) -> Address:
        """Read the positional arguments. Raises `UsageError`."""
        from .address import parse_address

        given = self.was_given("repo")
        address = parse_address(
            run,
            names,
            explicit_repo=repo if given else None,
            default_repo=lambda: repo or self._default_repo(),
        )
        if run_status is not None and address.run != "latest" and self.was_given("run_status"):
            raise UsageError("--run-status goes with the run `latest`")
        return address

    def resolved(self, client: Client, address: Address, run_status: str | None) -> Address:
        """Put the slug of a run in the place of `latest`, and name it on stderr."""
        if address.run != "latest":
            return address
        from dataclasses import replace

        from .listing import latest_run

        run: Run = latest_run(client, address.repo, run_status)
        facts = ", ".join(fact for fact in (run.status, run.event_type, run.created_at) if fact)
        self.notice(f"latest is run {run.slug} of {address.repo} ({facts})")
        return replace(address, run=run.slug)

    # What a combination of options allows.

    def one_target(
        self, output: str | None, directory: str | None, layout: Layout | None
    ) -> tuple[str | None, str | None, Layout | None]:
        """Keep `--output` from `--dir` and `--layout`; the command line beats the environment."""
        if output is None:
            return None, directory, layout
        others = {"directory": directory, "layout": layout}
        for name, value in others.items():
            if value is not None and self.was_given(name) == self.was_given("output"):
                option = "--dir" if name == "directory" else "--layout"
                raise UsageError(f"--output does not go with {option}")
        if not self.was_given("output") and any(map(self.was_given, others)):
            return None, directory, layout
        return output, None, None

    def one_use_of_stdout(self, output: str | None, *, json: bool, paths: bool) -> None:
        """Raise `UsageError` where two things would go to stdout."""
        uses = [("--output -", output == "-"), ("--json", json), ("--paths", paths)]
        named = [name for name, used in uses if used]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} both write to stdout")

    # Output.

    @property
    def shows_tables(self) -> bool:
        """Whether a person reads stdout."""
        return sys.stdout.isatty()

    def console(self) -> Console:
        """Return rich's console for stdout, which sees to colours and widths."""
        from rich.console import Console

        colours = os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0")
        return Console(highlight=False, force_terminal=True if colours else None)

    def reporter(self, progress: Progress) -> Silent:
        """Return who shows the progress; with `--debug`, lines in the place of bars."""
        from .progress import make_reporter

        kind = "plain" if self._debug and progress in ("auto", "bar") else str(progress)
        return make_reporter(kind, quiet=self._quiet)

    def write(self, lines: Iterable[str]) -> None:
        """Write lines to stdout."""
        write_lines(lines)

    def write_bytes(self, data: memoryview) -> None:
        """Write bytes to stdout, all of them."""
        if isinstance(sys.stdout, Nowhere):
            raise LocalError("stdout is closed: there is nowhere to write to")
        while data:
            data = data[os.write(1, data) :]

    def notice(self, text: str) -> None:
        """Say something to a person, unless `--quiet` is given."""
        if not self._quiet:
            say(visible(text))

    def show(self, report: Report, *, json: bool, paths: bool, dry_run: bool) -> None:
        """Show what became of a download: on stdout for programs, on stderr for people."""
        from .report import report_json, summary_lines

        lines = summary_lines(report)
        if self._quiet:
            lines = [] if dry_run else lines[1:]  # only what is missing
        if not Voice.as_events:
            say("\n".join(lines))
        if json:
            self.write([report_json(report)])
        if paths:
            write_paths(report)

    def _log(self, line: str) -> None:
        token = self.token
        text = visible(without_secrets(line, [token.value] if token else []))
        say(text if Voice.as_events else f"debug: {text}", event="debug")


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout, in blocks; what its encoding lacks is escaped."""
    block: list[str] = []
    for line in lines:
        block.append(line)
        if len(block) >= 500:
            sys.stdout.write("\n".join(block) + "\n")
            block.clear()
    if block:
        sys.stdout.write("\n".join(block) + "\n")


def write_paths(report: Report) -> None:
    """Write the path of each file that is in place: for programs its exact bytes."""
    from .results import Outcome

    there = (Outcome.DOWNLOADED, Outcome.UNCHANGED)
    paths = [result.path for result in report.files if result.outcome in there and result.path]
    if sys.stdout.isatty():
        write_lines(visible(path) for path in paths)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(os.fsencode(path) + b"\n" for path in paths))


class Voice:
    """How stderr is spoken to: in lines for people, or with `--progress json` in events."""

    as_events = False


def say(text: str, *, event: str = "notice", **fields: str | None) -> None:
    """Write to stderr; one that is gone is no reason to fail."""
    if not text:
        return
    if Voice.as_events:
        text = to_json({"event": event, "message": text, **fields})
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def show_error(error: ArtifactsError) -> None:
    """Say what went wrong, and what to do about it."""
    if Voice.as_events:
        say(error.message, event="error", code=error.code, hint=error.hint)
        return
    lines = [visible(line) for line in error.message.split("\n")]
    say("\n".join([f"error: {lines[0]}", *lines[1:]]))
    if error.hint:
        say(f"  hint: {visible(error.hint)}")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a command's errors into messages and exit statuses: the only place that does."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
        except ArtifactsError as error:
            show_error(error)
            raise typer.Exit(int(error.exit_code)) from error
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            show_error(LocalError(f"{what}{error.strerror or error}"))
            _forget_stdout()
            raise typer.Exit(1) from error
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except Exception as error:
            # Only its kind and place: its text, or a traceback, may hold a secret.
            show_error(bug(error))
            raise typer.Exit(1) from error

    return run


class Nowhere(io.TextIOWrapper):
    """What stands for a stdout that was closed before the program began."""


def _fill_closed_streams() -> None:
    """Take the places of closed standard streams, or a connection's socket would take them."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = Nowhere(io.FileIO(os.open(os.devnull, os.O_WRONLY), "wb"))


def _allow_open_files() -> None:
    """Raise the soft limit of open files as far as may be, up to what many connections take."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _forget_stdout() -> None:
    """Keep the interpreter from flushing into a pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def run_app(app: typer.Typer) -> int:
    """Run the program with its signals in order, and return its exit status."""
    # Collecting among the objects of imports and listings, which live to the end, costs a tenth.
    gc.set_threshold(100_000, 20, 20)
    _fill_closed_streams()
    _allow_open_files()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            reconfigure: Any = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app(prog_name="sourcecraft-artifacts")
    except Interrupted as interrupted:
        say("interrupted; what was received is kept for the next run")
        return interrupted.exit_code
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def leave(code: int) -> NoReturn:
    """End the process at once, with all output written.

    The interpreter's own end would take apart every module and record, for a seventh of a short
    command's time, and would wait for threads that still wait for the API.
    """
    with suppress(Exception):
        atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


_interrupts = 0


def _interrupt(number: int, _: object) -> None:
    """End in order at the first signal, and at once at the second."""
    global _interrupts
    _interrupts += 1
    if _interrupts > 1:
        os._exit(128 + number)
    raise Interrupted(number)
