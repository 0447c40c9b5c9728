"""The commands of `auth`: store and remove a token, and say where it comes from."""

import os
import sys

import typer

from ..errors import ApiError, AuthError, NotFound, UsageError
from ..text import visible
from . import options as opt
from .help import CONTEXT, Command, examples
from .session import Session

_LONGEST = 1 << 16
_PATIENCE = 10.0  # seconds that the API may be silent while a person waits

_auth = typer.Typer(
    name="auth",
    help="Store, remove and explain the token.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


@_auth.command(
    "login",
    cls=Command,
    epilog=examples("auth login", "auth login --with-token < token.txt"),
)
def login_command(
    ctx: typer.Context,
    with_token: opt.WithToken = False,
    no_check: opt.NoCheck = False,
    repo: opt.Repo = None,
    api_url: opt.ApiUrl = None,
    ca_bundle: opt.CaBundle = None,
) -> None:
    """Store a token in the config file, for the API's host alone.

    If a repository is known, the token is checked with the API first, and is not stored if the
    API refuses it.
    """
    from ..logs import get_logger
    from ..service.access import api_host
    from .config import config_path, save_token

    session = Session(ctx, api_url, ca_bundle)
    host = api_host(session.api_url)
    known = None if no_check else _repo_to_ask_for(session, repo)
    token = _asked_token(host, from_stdin=with_token)
    if not no_check:
        _try_before_storing(session, known, token)
    save_token(host, token)
    get_logger(__name__).info("stored the token for %s in %s", host, config_path())
    _tell_of_variable("while the variable %s is set, its token is used instead")


@_auth.command("logout", cls=Command)
def logout_command(ctx: typer.Context, api_url: opt.ApiUrl = None) -> None:
    """Remove the stored token of the API's host."""
    from ..logs import get_logger
    from ..service.access import api_host
    from .config import config_path, remove_token

    host = api_host(Session(ctx, api_url).api_url)
    if remove_token(host):
        get_logger(__name__).info("removed the token for %s from %s", host, config_path())
    else:
        get_logger(__name__).info("there is no stored token for %s", host)
    _tell_of_variable("the variable %s still holds a token")


@_auth.command(
    "status", cls=Command, short_help="Say where the token comes from, and show it masked."
)
def status_command(
    ctx: typer.Context,
    check: opt.Check = False,
    repo: opt.Repo = None,
    api_url: opt.ApiUrl = None,
    ca_bundle: opt.CaBundle = None,
) -> None:
    """Say where the token comes from, and show it masked; exit status 4 without one.

    With --check the API is asked for a page of runs; if it refuses, the exit status is 4 too.
    """
    from ..service.access import api_host, masked

    session = Session(ctx, api_url, ca_bundle)
    token = session.token
    session.write([f"API    {session.api_url}"])
    if token is None:
        session.write(["token  none"])
        raise AuthError(
            f"there is no token for {api_host(session.api_url)}",
            hint="log in with `sourcecraft-artifacts auth login`, or set SOURCECRAFT_TOKEN",
        )
    session.write([f"token  {masked(token.value)}, from {token.source}"])
    if check:
        known = session.repo(repo)
        _ask_with(session, known, token.value)
        session.write([f"check  accepted: the runs of {visible(known)} can be read"])


def _try_before_storing(session: Session, repo: str | None, token: str) -> None:
    """Ask the API with a token and report the result. Raises `AuthError` if it refuses."""
    from ..logs import get_logger

    log = get_logger(__name__)
    if repo is None:
        log.info("the token was not checked: no repository is known (--repo ORG/REPO)")
        return
    try:
        _ask_with(session, repo, token)
    except AuthError as error:
        raise AuthError(
            f"{error.message}: the token was not stored",
            hint=f"copy the token again; it must be valid, and may read {visible(repo)}"
            " (--no-check stores it without asking the API)",
        ) from error
    except (ApiError, NotFound) as error:
        log.warning("warning: the token could not be checked: %s", error.message)
    else:
        log.info("the API accepts the token: the runs of %s can be read", repo)


def _repo_to_ask_for(session: Session, repo: str | None) -> str | None:
    try:
        return session.known_repo(repo)
    except OSError:  # the current folder has been deleted
        return None


def _ask_with(session: Session, repo: str, token: str) -> None:
    """Ask the API for one page of runs. Raises `AuthError`, `NotFound` and `ApiError`."""
    with session.client(token, retries=1, timeout=_PATIENCE, deadline=2 * _PATIENCE) as client:
        next(client.runs(repo, page_size=1), None)


def _asked_token(host: str, *, from_stdin: bool) -> str:
    """Read a token from stdin, or from the terminal without echo. Raises `UsageError`."""
    from ..service.access import clean_token

    if from_stdin:
        text = sys.stdin.buffer.read(_LONGEST).decode("utf-8", "replace") if sys.stdin else ""
        return clean_token(text)
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the token",
            hint="pipe it in: sourcecraft-artifacts auth login --with-token < FILE",
        )
    from getpass import getpass

    try:
        return clean_token(getpass(f"Token for {host}: ", stream=sys.stderr))
    except EOFError:
        raise UsageError("no token was given") from None


def _tell_of_variable(remark: str) -> None:
    from ..logs import get_logger
    from .config import TOKEN_VARIABLE

    if os.environ.get(TOKEN_VARIABLE, "").strip():
        get_logger(__name__).info(f"note: {remark}", TOKEN_VARIABLE)


auth_command = typer.main.get_command(_auth)
