"""The token, the configuration and the sandbox, through the installed command."""

from __future__ import annotations

import os
import pty
import re
import signal
import termios
import tomllib

import pytest
from conftest import Cli
from fake_service import CUBE, REPO, TOKEN, FakeService, eventually, problem
from servers import Response, json_response

OTHER = "other-1a2b3c4d5e6f"
NO_TOKEN = {"SOURCECRAFT_TOKEN": None}


def sent(service: FakeService) -> str | None:
    """Return the Authorization header of the last API request."""
    return service.api.requests[-1].header("Authorization")


def test_a_token_is_stored_shown_masked_and_removed(service: FakeService, cli: Cli) -> None:
    """login, status, use, logout; the file is private and keeps its other content."""
    service.add("a")
    cli("auth", "status", env=NO_TOKEN, code=4)
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text(f'# why we are here\nrepo = "{REPO}"  # ours\n')
    cli.config.chmod(0o644)
    cli("auth", "login", "--with-token", stdin=f"  {OTHER}\r\n".encode(), env=NO_TOKEN)
    assert cli.config.stat().st_mode & 0o777 == 0o600
    assert os.listdir(cli.config.parent) == ["config.toml"]
    text = cli.config.read_text()
    assert OTHER in text
    assert "# why we are here" in text
    assert tomllib.loads(text)["repo"] == REPO
    unset = NO_TOKEN | {"SOURCECRAFT_ARTIFACTS_REPO": None}
    assert cli("list", "7", *CUBE, "--json", env=unset).json["repo"] == REPO
    assert sent(service) == f"Bearer {OTHER}"
    status = cli("auth", "status", env=NO_TOKEN)
    assert OTHER not in status.out + status.err
    assert str(cli.config) in status.out + status.err
    cli("auth", "logout", env=NO_TOKEN)
    assert OTHER not in cli.config.read_text()
    assert tomllib.loads(cli.config.read_text())["repo"] == REPO
    cli("auth", "status", env=NO_TOKEN, code=4)
    cli("list", "7", *CUBE, env=NO_TOKEN)
    assert sent(service) is None


def login(cli: Cli, *arguments: str, **env: str | None) -> str:
    """Return what `auth login` prints about another token."""
    command = ("auth", "login", "--with-token", *arguments)
    return cli(*command, stdin=OTHER.encode(), env=NO_TOKEN | env).err


def test_a_token_is_tried_before_it_is_stored(service: FakeService, cli: Cli) -> None:
    """login requests one page of the repository's runs with the new token, and nothing else."""
    service.add_run("7")
    service.add_run("8")
    err = login(cli)
    (request,) = service.api.requests
    assert request.header("Authorization") == f"Bearer {OTHER}"
    assert request.target.partition("?")[0] == f"/repos/{REPO}/cicd/runs"
    assert err.startswith(f"the API accepts the token: the runs of {REPO} can be read\nstored")
    assert OTHER in cli.config.read_text()


@pytest.mark.parametrize("env", [{}, NO_TOKEN], ids=["variable", "none"])
def test_debug_says_where_the_token_comes_from(
    service: FakeService, cli: Cli, env: dict[str, str | None]
) -> None:
    """The first line has versions, the API's address and the token's origin, and no token."""
    service.add_run("7")
    shown = cli("runs", "--debug", env=env).err.splitlines()[0]
    source = "none" if env else "from the variable SOURCECRAFT_TOKEN"
    assert shown.startswith("debug: version ")
    assert shown.endswith(f"; API {service.api.url}; token: {source}")


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_not_stored(service: FakeService, cli: Cli, status: int) -> None:
    """The message has the service's text, and the token stored before is kept."""
    login(cli)
    before = cli.config.read_bytes()
    service.api.on(f"/repos/{REPO}/cicd/runs", problem(status, "who are you"))
    err = cli("auth", "login", "--with-token", stdin=b"third-token", env=NO_TOKEN, code=4).err
    assert "who are you" in err
    assert "the token was not stored" in err
    assert f"copy the token again; it must be valid, and allowed to read {REPO}" in err
    assert "--no-check" in err
    assert cli.config.read_bytes() == before
    service.api.requests.clear()
    cli("auth", "login", "--with-token", "--no-check", stdin=b"third-token", env=NO_TOKEN)
    assert b"third-token" in cli.config.read_bytes()
    assert service.api.requests == []


@pytest.mark.parametrize(
    "answer", [problem(404, "no such"), problem(500, "not now"), Response(body=b"{")]
)
def test_an_api_that_cannot_tell_is_no_reason_not_to_store(
    service: FakeService, cli: Cli, answer: Response
) -> None:
    """A message says that the token was not checked, and why."""
    service.api.on(f"/repos/{REPO}/cicd/runs", answer)
    err = login(cli)
    assert err.startswith(f"warning: the token could not be checked: the runs of {REPO}: ")
    assert OTHER in cli.config.read_text()


def test_one_page_is_enough_to_accept_a_token(service: FakeService, cli: Cli) -> None:
    """The check reads one page, also if that page is empty and there are others."""
    empty = json_response({"runs": [], "next_page_token": "more"})
    service.api.on(f"/repos/{REPO}/cicd/runs", empty)
    assert login(cli).startswith("the API accepts the token")
    assert len(service.api.requests) == 1


def test_an_api_that_is_not_there_is_no_reason_not_to_store(cli: Cli) -> None:
    """A refused connection is a warning without a library's text; the token is stored."""
    err = login(cli, SOURCECRAFT_API_URL="http://127.0.0.1:9")
    assert "warning: the token could not be checked: " in err
    assert "Connection refused" in err
    assert OTHER in cli.config.read_text()


def test_without_a_repository_a_token_is_not_tried(service: FakeService, cli: Cli) -> None:
    """The token is stored unchecked, and a message names --repo, with which it is checked."""
    unset: dict[str, str | None] = {"SOURCECRAFT_ARTIFACTS_REPO": None}
    assert login(cli, **unset).startswith("the token was not checked: no repository is known")
    assert service.api.requests == []
    assert login(cli, "-R", REPO, **unset).startswith("the API accepts the token")


def test_status_asks_when_told_to(service: FakeService, cli: Cli) -> None:
    """With --check the exit status says whether the token was accepted, refused or not checked.

    What to do about a missing repository fits the command.
    """
    service.add_run("7")
    assert "check" not in cli("auth", "status").out
    assert service.api.requests == []
    out = cli("auth", "status", "--check").out
    assert out.splitlines()[-1] == f"check  accepted: the runs of {REPO} can be read"
    assert sent(service) == f"Bearer {TOKEN}"
    env = {"SOURCECRAFT_ARTIFACTS_REPO": None}
    for command in (["auth", "status", "--check"], ["runs"]):
        unknown = cli(*command, env=env, code=2).err
        assert "no repository is given" in unknown
        assert "hint: use --repo ORG/REPO\n" in unknown  # these commands take no run
    assert "or give the web address of the run" in cli("list", "7", env=env, code=2).err
    closed = {"SOURCECRAFT_API_URL": "http://127.0.0.1:9"}
    assert "cannot reach" in cli("auth", "status", "--check", env=closed, code=7).err
    service.api.on(f"/repos/{REPO}/cicd/runs", problem(401, "who are you"))
    refused = cli("auth", "status", "--check", code=4)
    assert "who are you" in refused.err
    assert "token" in refused.out
    service.api.requests.clear()
    cli("auth", "status", "--check", env=NO_TOKEN, code=4)
    assert service.api.requests == []


def test_the_environment_beats_the_file_and_hosts_are_bound(service: FakeService, cli: Cli) -> None:
    """The variable wins; a stored token is sent only to the host that it was stored for."""
    service.add("a")
    cli("auth", "login", "--with-token", stdin=OTHER.encode(), env=NO_TOKEN)
    cli("list", "7", *CUBE)
    assert sent(service) == f"Bearer {TOKEN}"
    status = cli("auth", "status")
    assert "SOURCECRAFT_TOKEN" in status.out + status.err
    cli("list", "7", *CUBE, env={"SOURCECRAFT_TOKEN": ""})
    assert sent(service) == f"Bearer {OTHER}"
    elsewhere = service.api.url.replace("127.0.0.1", "localhost")
    cli("list", "7", *CUBE, "--api-url", elsewhere, env=NO_TOKEN)
    assert sent(service) is None


def typed(cli: Cli, keys: bytes) -> tuple[int, str]:
    """Press keys at the prompt of a terminal; return the exit status, and what is shown."""
    master, slave = pty.openpty()
    process = cli.start(
        "auth",
        "login",
        env=NO_TOKEN,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    eventually(lambda: not termios.tcgetattr(master)[3] & termios.ECHO, "the prompt is there")
    screen = b""
    os.write(master, keys)
    try:
        while piece := os.read(master, 4096):
            screen += piece
    except OSError:
        pass
    os.close(master)
    return process.wait(10), screen.decode()


def test_the_prompt_does_not_echo(service: FakeService, cli: Cli) -> None:
    """A token typed at the prompt is stored, and is not shown on the terminal."""
    status, screen = typed(cli, f"{OTHER}\n".encode())
    assert status == 0, screen
    assert OTHER not in screen
    assert OTHER in cli.config.read_text()


def test_ctrl_d_at_the_prompt_is_no_token(service: FakeService, cli: Cli) -> None:
    """The error has a line of its own and a hint."""
    status, screen = typed(cli, b"\x04")
    prompt, error, hint = screen.splitlines()
    assert status == 2
    assert error.endswith("no token was given")
    assert prompt.startswith("Token for ")
    assert "hint:" in hint
    assert not cli.config.exists()


@pytest.mark.parametrize("token", ["a\nb-secret", "tök-secret", "a\x01b-secret", "a\x7fb-secret"])
def test_malformed_tokens(service: FakeService, cli: Cli, token: str) -> None:
    """Control and non-ASCII characters in a token are exit 2, wherever it comes from."""
    service.add("a")
    said = cli("list", "7", *CUBE, env={"SOURCECRAFT_TOKEN": token}, code=2).err
    said += cli("auth", "login", "--with-token", stdin=token.encode(), env=NO_TOKEN, code=2).err
    assert "-secret" not in said
    assert not cli.config.exists()
    assert service.api.requests == []


def test_a_padded_token_is_trimmed(service: FakeService, cli: Cli) -> None:
    """Whitespace around a token is ignored; an empty token on stdin is exit 2."""
    service.add("a")
    cli("list", "7", *CUBE, env={"SOURCECRAFT_TOKEN": f" \t{TOKEN}\r\n"})
    assert sent(service) == f"Bearer {TOKEN}"
    cli("auth", "login", "--with-token", stdin=b"  \n", env=NO_TOKEN, code=2)


@pytest.mark.parametrize(
    "text",
    [
        f'[tokens\n"127.0.0.1" = "{OTHER}"\n',
        f'tokens = "{OTHER}"\n',
        f'[tokens]\n"127.0.0.1" = ["{OTHER}"]\n',
        "api_url = 7\n",
        'api_url = "http://api.example.com"\n',
        "repo = 7\n",
        "\x00",
    ],
)
def test_a_bad_config_names_itself(service: FakeService, cli: Cli, text: str) -> None:
    """A bad config file is exit 2; the message names the file, and shows no token."""
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text(text)
    unset = {"SOURCECRAFT_API_URL": None, "HTTPS_PROXY": "http://127.0.0.1:1"}
    said = cli("list", "7", *CUBE, env=NO_TOKEN | unset, code=2).err
    assert str(cli.config) in said or "api_url" in text
    assert OTHER not in said


def test_the_config_file_names_the_api(service: FakeService, cli: Cli) -> None:
    """`api_url` in the file counts only without the option and the variable."""
    service.add("a")
    cli.config.parent.mkdir(parents=True)
    cli.config.write_text(f'api_url = "{service.api.url}/"\n')
    cli("list", "7", *CUBE, env={"SOURCECRAFT_API_URL": None})
    wrong = {"SOURCECRAFT_API_URL": "http://127.0.0.1:1"}
    cli("list", "7", *CUBE, "--retries", "0", env=wrong, code=7)
    cli("list", "--api-url", service.api.url, "7", *CUBE, env=wrong)
    assert len(service.api.requests) == 2


def test_a_refusal_without_a_token_says_how_to_log_in(service: FakeService, cli: Cli) -> None:
    """A 401, 403 or 404 without a token is described, with a hint how to log in."""
    for status, code in ((401, 4), (403, 4), (404, 5)):
        service.api.on(f"/repos/{REPO}/cicd/", json_response({"message": "hidden"}, status))
        said = cli("list", "7", *CUBE, env=NO_TOKEN, code=code).err
        assert REPO in said
        assert "auth login" in said


@pytest.mark.parametrize(
    "command", [("list", "7", *CUBE), ("download", "7"), ("runs",), ("auth", "status", "--check")]
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_which_token_was_refused(
    service: FakeService, cli: Cli, command: tuple[str, ...], status: int
) -> None:
    """The hint says where the token comes from, and how to change it there."""
    login(cli)
    service.api.on(f"/repos/{REPO}/cicd/", problem(status, "who are you"))
    flaw = "may have expired, or lack permission for this repository"
    for env, source, change in (
        ({}, "the variable SOURCECRAFT_TOKEN", "set another one, or unset it and log in again"),
        (NO_TOKEN, f"the config file {cli.config}", "log in again with `sourcecraft-artifacts"),
    ):
        said = cli(*command, env=env, code=4).err
        assert f"  hint: the token in {source} {flaw}: {change}" in said


def test_the_sandbox_runs_a_command_and_ends_with_its_status(cli: Cli) -> None:
    """The command gets the sandbox's settings in its environment, and none of the user's."""
    unset = dict.fromkeys(
        ("SOURCECRAFT_API_URL", "SOURCECRAFT_TOKEN", "SOURCECRAFT_ARTIFACTS_REPO")
    )
    names = " && ".join(f'test -n "${name}"' for name in unset)
    cli("sandbox", "--", "sh", "-c", f"{names} && exit 7", code=7, env=unset)
    assert cli("sandbox", "--", "no-such-command-here", code=(1, 2, 126, 127), env=unset).err
    assert "not found: --odd" in cli("sandbox", "--", "--odd", code=127, env=unset).err
    assert cli("sandbox", "echo", "--hi", "-h", env=unset).out == "--hi -h\n"


def run_in(cli: Cli, settings: dict[str, str], *arguments: str, code: int = 0) -> str:
    """Return the output of a command that uses a running sandbox."""
    return cli(*arguments, env=settings, code=code).out


def test_the_sandbox_serves_a_sample_that_is_always_the_same(cli: Cli) -> None:
    """The export lines lead to runs, downloads and all artifact statuses, the same each time."""
    seen: list[object] = []
    for attempt in ("one", "two"):
        process = cli.start("sandbox")
        assert process.stdout
        lines = [process.stdout.readline().decode() for _ in range(3)]
        matches = [re.fullmatch(r"export (\w+)=['\"]?([^'\"]*)['\"]?\n", line) for line in lines]
        settings = {match[1]: match[2] for match in matches if match}
        assert set(settings) == {
            "SOURCECRAFT_API_URL",
            "SOURCECRAFT_TOKEN",
            "SOURCECRAFT_ARTIFACTS_REPO",
        }
        statuses = [line.split("\t")[1] for line in run_in(cli, settings, "runs").splitlines()]
        assert statuses.count("success") >= 2
        assert {"created", "prepared", "processing"} & set(statuses)
        arguments = ("download", "latest", "--run-status", "success", "--allow-missing", "--json")
        report = cli(*arguments, "-d", attempt, env=settings).json
        run_in(cli, settings, "verify", attempt)
        files = report["files"]
        seen.append([(one["local_path"], one["status"], one["sha256"]) for one in files])
        process.send_signal(signal.SIGINT)
        assert cli.finish(process).code in (0, 130)
    assert seen[0] == seen[1]
    assert seen[0]
