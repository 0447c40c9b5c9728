"""What the commands share: the resolved settings of one command, and the API client."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from ..errors import AuthError, UsageError
from ..show.colours import are_forced
from .origins import unknown_variables

if TYPE_CHECKING:
    from rich.console import Console

    from ..choices import Progress
    from ..select import Selection
    from ..service.address import Address
    from ..service.api import Client
    from ..service.runs import RunFilter
    from ..transfer.reporter import NullReporter
    from .config import Config, Token
    from .options import CommonOptions, RunOptions, SelectionOptions


def _checked(check: Callable[[str], str], value: str, origin: str) -> str:
    """Check a value. Raises `UsageError`, which says where a bad value comes from."""
    try:
        return check(value)
    except UsageError as error:
        raise UsageError(f"{origin}: {error.message}", hint=error.hint) from error


class Session:
    """One command's settings: from the command line, else the environment, else the config file.

    `quiet` shows no notices, and `events` shows everything on stderr as JSON. `failures_told` means
    that the progress has shown the files that failed.
    """

    def __init__(
        self,
        ctx: typer.Context,
        api_url: str | None = None,
        ca_bundle: str | None = None,
        *,
        retries: int = 5,
        quiet: bool = False,
        debug: bool = False,
        events: bool = False,
    ) -> None:
        self._ctx = ctx
        self._api_url = api_url
        self._ca_bundle = ca_bundle
        self._retries = retries
        self.quiet = quiet
        self._debug = debug
        self.events = events
        self.failures_told = False
        if not ctx.resilient_parsing:  # completion shows no messages
            from .stderr import listen

            listen(debug=debug, quiet=quiet, events=events)
            self.warn(unknown_variables(ctx, os.environ))

    @classmethod
    def of(cls, ctx: typer.Context, given: CommonOptions, *, events: bool = False) -> Session:
        """Return the session of a command with the common options."""
        return cls(
            ctx,
            given.api_url,
            given.ca_bundle,
            retries=given.retries,
            quiet=given.quiet,
            debug=given.debug,
            events=events,
        )

    def warn(self, warnings: Iterable[str]) -> None:
        """Show warnings on stderr."""
        from ..logs import get_logger

        for warning in warnings:
            get_logger(__name__).warning("warning: %s", warning)

    @cached_property
    def config(self) -> Config:
        """The config file. Raises `UsageError`, and warns of unknown keys."""
        from .config import load_config

        config = load_config()
        self.warn(config.warnings())
        return config

    @cached_property
    def api_url(self) -> str:
        """The API's address, checked."""
        from ..service.access import DEFAULT_API_URL, check_api_url

        if self._api_url is not None:
            return _checked(check_api_url, self._api_url, "--api-url")
        if self.config.api_url:
            return _checked(check_api_url, self.config.api_url, self._config_file)
        return DEFAULT_API_URL

    @property
    def _config_file(self) -> str:
        return f"in the config file {self.config.path}"

    @cached_property
    def token(self) -> Token | None:
        """The token for that API, or None."""
        from .config import find_token

        return find_token(os.environ, self.config, self.api_url)

    def was_given(self, name: str) -> bool:
        """Tell whether a parameter stands on the command line itself."""
        source = self._ctx.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    @contextmanager
    def client(self, token: str | None = None, **settings: Any) -> Iterator[Client]:
        """Provide a client for `token` or the token of the settings.

        An error for a token that is refused says which of the settings has it.
        """
        from ..service import early
        from ..service.access import DEFAULT_TIMEOUT

        if token is None and self.token is not None:
            token = self.token.value
        settings = {"retries": self._retries, "ca_bundle": self._ca_bundle, **settings}
        if self._debug:
            self._tell_origins()
        early.begin(self.api_url, settings["ca_bundle"], settings.get("timeout", DEFAULT_TIMEOUT))
        from ..service.api import Client  # this takes as long as connecting

        try:
            client = Client(self.api_url, token, **settings)
        except BaseException:
            early.close()
            raise
        with client:
            try:
                yield client
            except AuthError as error:
                if self.token is not None and self.token.value == token:
                    error.hint = self.token.hint
                raise

    def _tell_origins(self) -> None:
        """Log the versions, the API's address and where the token comes from."""
        from platform import python_version, system

        from .. import __version__
        from ..logs import get_logger

        source = f"from {self.token.source}" if self.token is not None else "none"
        get_logger(__name__).debug(
            "version %s, Python %s, %s; API %s; token: %s",
            *(__version__, python_version(), system(), self.api_url, source),
        )

    def repo(self, option: str | None) -> str:
        """Return the repository. Raises `UsageError` if none is known."""
        from ..service.address import given_repo

        return given_repo(self.known_repo(option))

    def known_repo(self, option: str | None) -> str | None:
        """Return the repository of the option, the config file or the checkout, or None."""
        from ..service.address import parse_repo
        from ..service.checkout import repo_from_git

        if option is not None:
            return _checked(parse_repo, option, "--repo")
        if self.config.repo is not None:
            return _checked(parse_repo, self.config.repo, self._config_file)
        return repo_from_git(os.getcwd())

    def runs(self, given: RunOptions) -> RunFilter:
        """Return the filter of runs, and warn of values that the service is not known to use."""
        from ..service.runs import RunFilter

        values = (given.run_status, given.event, given.pull, given.user)
        chosen = RunFilter(*(tuple(one or ()) for one in values))
        self.warn(chosen.warnings())
        return chosen

    def address(self, run: str, names: Sequence[str | None], repo: str | None) -> Address:
        """Read the positional arguments. Raises `UsageError`."""
        from ..service.address import parse_address, parse_repo

        given = self.was_given("repo")
        address = parse_address(
            run,
            names,
            explicit_repo=_checked(parse_repo, repo or "", "--repo") if given else None,
            default_repo=lambda: self.known_repo(repo),
        )
        for name in ("run_status", "event", "pull", "user"):
            self.needs(name, "the run `latest`", address.run == "latest")
        return address

    def selection(self, given: SelectionOptions) -> Selection:
        """Return the selection of artifacts. Raises `UsageError` for an empty pattern."""
        from ..select import Selection

        for option, globs in {"--include": given.include, "--exclude": given.exclude}.items():
            if "" in (globs or ()):
                raise UsageError(f"{option}: the pattern is empty")
        return Selection(tuple(given.include or ()), tuple(given.exclude or ()))

    def needs(self, name: str, partner: str, given: bool) -> None:
        """Raise `UsageError` if an option is on the command line without the one it needs."""
        if not given and self.was_given(name):
            raise UsageError(f"--{name.replace('_', '-')} needs {partner}")

    # Output.

    @property
    def shows_tables(self) -> bool:
        """Whether stdout is a terminal."""
        return sys.stdout.isatty()

    def console(self) -> Console:
        """Return rich's console for stdout, which handles colours and widths."""
        from ..show.tables import make_console

        return make_console(force_terminal=True if are_forced() else None)

    def reporter(self, progress: Progress, limit: float | None) -> NullReporter:
        """Return the reporter that shows the progress; with `--debug`, lines instead of bars."""
        is_silent = progress == "none" or (self.quiet and not self.events)
        if is_silent and not self._debug:
            from ..transfer.reporter import NullReporter

            return NullReporter()
        from ..show.progress import RetriesLogged, make_reporter
        from .stderr import show_above

        if is_silent:
            return RetriesLogged()

        kind = "plain" if self._debug and progress in ("auto", "bar") else str(progress)
        reporter = make_reporter(kind, limit=limit, quiet=self.quiet)
        self.failures_told = reporter.tells_failures
        show_above(reporter.tell)
        return reporter

    def tell(self, notice: str) -> None:
        """Say something on stderr, unless with `--quiet`."""
        from ..logs import get_logger

        get_logger(__name__).info("%s", notice)
