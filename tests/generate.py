"""Generate `completions/` from the program: scripts for the shells, and the man page.

    python -m tests.generate            # write
    python -m tests.generate --check    # write nothing; exit with 1 if a file is not current

The man page is in roff (groff_man(7)).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sourcecraft_artifacts import __version__
from sourcecraft_artifacts.choices import Shell
from sourcecraft_artifacts.cli.app import program
from sourcecraft_artifacts.cli.help import PROGRAM, usage_pieces
from sourcecraft_artifacts.cli.shells import script
from sourcecraft_artifacts.errors import ExitCode
from sourcecraft_artifacts.service.access import DEFAULT_API_URL

FOLDER = Path(__file__).parents[1] / "completions"
NAMES = {
    Shell.BASH: "sourcecraft-artifacts.bash",
    Shell.ZSH: "_sourcecraft-artifacts",
    Shell.FISH: "sourcecraft-artifacts.fish",
    Shell.POWERSHELL: "sourcecraft-artifacts.ps1",
}
EXIT_STATUS = {
    ExitCode.OK: "All that was asked for is there.",
    ExitCode.LOCAL: "A local fault: disk full, no permission, a bug.",
    ExitCode.USAGE: "Usage: bad arguments, bad configuration, a malformed token.",
    ExitCode.NOTHING: "Nothing matched; with --allow-empty that is success.",
    ExitCode.AUTH: "No valid token, or no permission.",
    ExitCode.NOT_FOUND: "Not found: the repository, run, workflow, task or cube.",
    ExitCode.INCOMPLETE: "Some artifacts are missing or could not be fetched;"
    " the rest is in place.",
    ExitCode.API: "The API could not be reached or understood, retries included.",
    ExitCode.REFUSED: "Refused: unsafe or colliding paths, an unsafe URL, a file in the way;"
    " or verify found a difference.",
    ExitCode.WAIT_TIMEOUT: "--wait-timeout passed.",
    ExitCode.RUN_FAILED: "With --fail-on-run-status: the run ended as failed, canceled or timeout.",
}
SIGNALS = {
    "129": "The terminal was closed (SIGHUP); what was received is kept for the next run.",
    "130": "Interrupted by SIGINT; what was received is kept for the next run.",
    "143": "Ended by SIGTERM; what was received is kept for the next run.",
}
ENVIRONMENT = {
    "SOURCECRAFT_TOKEN": "The token; it takes precedence over the stored one.",
    "SOURCECRAFT_API_URL": f"The address of the API, instead of {DEFAULT_API_URL}.",
    "SOURCECRAFT_ARTIFACTS_REPO": "The repository, as ORG/REPO.",
    "SOURCECRAFT_ARTIFACTS_NAME": "The value of the option --NAME, for every option of a command;"
    " in capitals, with _ for -. For a flag 1 is on and 0 off; an empty value counts as not set."
    " A repeatable option has several values, separated by blanks; for a blank in a pattern write"
    " ?, or give that pattern on the command line.",
    "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY": "Proxies, and hosts to contact without one.",
    "REQUESTS_CA_BUNDLE, SSL_CERT_FILE": "A file of trusted CAs; --ca-bundle takes precedence.",
    "NO_COLOR, CLICOLOR_FORCE, TERM, COLUMNS": "Whether colours are used, and the width of tables.",
}
FILES = {
    "~/.config/sourcecraft-artifacts/config.toml": "The config file, on Linux: api_url, repo, and"
    " the tokens below [tokens], each under its API host.",
    "~/.cache/sourcecraft-artifacts/": "A short-lived cache of names for completion, on Linux.",
    "DIR/.sourcecraft-artifacts/manifest.json": "What was downloaded to DIR: addresses, sizes,"
    " checksums and dates. The next run and verify use it.",
}
EXAMPLES = {
    "List the artifacts of the newest successful run:": f"{PROGRAM} list latest"
    " --run-status success",
    "Download all artifacts of run 12 into out/:": f"{PROGRAM} download 12 -d out",
    "Unpack the only artifact of a cube without keeping it:": f"{PROGRAM} download 12 ci build"
    " linux -o - | tar x",
    "Fetch artifacts of a run in progress as they become ready:": f"{PROGRAM} download latest"
    " --wait --wait-timeout 30m",
    "Try the tool without an account:": f"{PROGRAM} sandbox -- {PROGRAM} list 43",
    "Turn on completion in this bash:": f"source <({PROGRAM} --show-completion bash)",
}


def generated() -> dict[str, str]:
    """Return the text of each file, by its name."""
    scripts = {NAMES[shell]: script(shell) for shell in Shell}
    return {**scripts, "sourcecraft-artifacts.1": man_page()}


def main(arguments: list[str]) -> int:
    """Write files that are not current, or with `--check` only name them. Return an exit status."""
    stale = [
        (FOLDER / name, text)
        for name, text in generated().items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_bytes() != text.encode()
    ]
    if "--check" in arguments:
        for path, _ in stale:
            print(f"{path.name} is not current: make generate", file=sys.stderr)
        return int(bool(stale))
    for path, text in stale:
        path.write_bytes(text.encode())
    return 0


def man_page() -> str:
    """Return the man page."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    root: Any = program()
    yield f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"'
    yield from (".SH NAME", f"{PROGRAM} \\- {_text(_lower(root.help.rstrip('.')))}")
    yield ".SH SYNOPSIS"
    for path, command in _commands(root):
        yield from (f'.SY "{_text(path)}"', _text(_usage(command)), ".YS")
    yield from (".SH DESCRIPTION", *_paragraphs(root.help))
    yield from _options(root)
    yield ".SH COMMANDS"
    for path, command in _commands(root):
        yield f'.SS "{_text(path.removeprefix(PROGRAM).strip())}"'
        yield from (*_paragraphs(command.help), *_arguments(command), *_options(command))
    codes = {str(int(code)): EXIT_STATUS[code] for code in ExitCode}
    yield from _entries("EXIT STATUS", {**codes, **SIGNALS})
    yield from _entries("ENVIRONMENT", ENVIRONMENT)
    yield from _entries("FILES", FILES)
    yield ".SH EXAMPLES"
    for what, example in EXAMPLES.items():
        yield from (".TP", _text(what), ".EX", _text(example), ".EE")


def _commands(group: Any, path: str = PROGRAM) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}", command


def _usage(command: Any) -> str:
    arguments = [
        _metavar(p) if p.required or _metavar(p).startswith("[") else f"[{_metavar(p)}]"
        for p in command.params
        if p.param_type_name == "argument"
    ]
    return " ".join(usage_pieces(["[OPTIONS]", *arguments]))


def _metavar(param: Any) -> str:
    if param.metavar:
        return str(param.metavar)
    return "|".join(getattr(param.type, "choices", ()))


def _arguments(command: Any) -> Iterator[str]:
    for param in command.params:
        if param.param_type_name == "argument":
            name = _metavar(param).strip("[]")
            yield from (".TP", f".I {_text(name)}", _text(param.help))


def _options(command: Any) -> Iterator[str]:
    for param in command.params:
        if param.param_type_name == "option":
            opts = [*sorted(param.opts, key=len), *param.secondary_opts]
            names = ", ".join(f"\\fB{_text(name)}\\fR" for name in opts)
            value = "" if param.is_flag else f" \\fI{_text(_metavar(param))}\\fR"
            yield from (".TP", names + value, _text(param.help))


def _entries(title: str, entries: dict[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for term, meaning in entries.items():
        yield from (".TP", f".B {_text(term)}", _text(meaning))


def _paragraphs(text: str) -> Iterator[str]:
    first, *others = text.split("\n\n")
    yield _text(" ".join(first.split()))
    for paragraph in others:
        yield from (".PP", _text(" ".join(paragraph.split())))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _text(text: str) -> str:
    """Escape characters with a meaning in roff, and those that must stay ASCII, such as `-`.

    A line that begins with `.` or `'` would be a request.
    """
    for character, escape in {"\\": "\\e", "-": "\\-", "~": "\\(ti", "…": "..."}.items():
        text = text.replace(character, escape)
    return "\\&" + text if text[:1] in (".", "'") else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
