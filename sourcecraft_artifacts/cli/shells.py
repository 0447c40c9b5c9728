"""The completion scripts, and the replies in the form that each shell expects.

A script passes the line up to the cursor, in the variables that typer's own scripts use. Typer's
scripts are not used: zsh would evaluate names from the service as code, and bash and PowerShell
would insert them without quotes.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..choices import Shell
from .help import PROGRAM
from .streams import write_bytes

# bash 3.2, which macOS has, knows neither mapfile nor nosort.
_BASH = r"""
_sourcecraft_artifacts_completion() {
    local reply
    COMPREPLY=()
    while IFS= read -r reply; do
        COMPREPLY+=("$reply")
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \
        COMP_WORDBREAKS="$COMP_WORDBREAKS" _TYPER_COMPLETE_ARGS="${COMP_LINE:0:COMP_POINT}" \
        _SOURCECRAFT_ARTIFACTS_COMPLETE=complete_bash "${1/#\~\//$HOME/}" 2>/dev/null)
}

complete -o default -o nosort -F _sourcecraft_artifacts_completion sourcecraft-artifacts \
    2>/dev/null ||
    complete -o default -F _sourcecraft_artifacts_completion sourcecraft-artifacts
"""

# If zsh finds the file in fpath, it is the function's body at the first call; else it is sourced.
_ZSH = r"""
#compdef sourcecraft-artifacts

_sourcecraft-artifacts() {
    local -a replies
    replies=("${(@f)$(env _TYPER_COMPLETE_ARGS="${(j: :)words[1,CURRENT]}" \
        _SOURCECRAFT_ARTIFACTS_COMPLETE=complete_zsh ${~${(Q)words[1]}} 2>/dev/null)}")
    if [[ -n "${replies[1]}" ]]; then
        _describe -V sourcecraft-artifacts replies
    else
        _files
    fi
}

if [[ "${funcstack[1]}" == _sourcecraft-artifacts ]]; then
    _sourcecraft-artifacts "$@"
else
    compdef _sourcecraft-artifacts sourcecraft-artifacts
fi
"""

_FISH = r"""
function __sourcecraft_artifacts_completion
    set -l program (commandline -opc | string replace -r '^~/' $HOME/)[1]
    set -l replies (env _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) \
        _SOURCECRAFT_ARTIFACTS_COMPLETE=complete_fish $program 2>/dev/null)
    if test (count $replies) -gt 0
        printf '%s\n' $replies
    else
        __fish_complete_path (commandline -ct)
    end
end

complete --command sourcecraft-artifacts --no-files --keep-order \
    --arguments '(__sourcecraft_artifacts_completion)'
"""

_POWERSHELL = r"""
Register-ArgumentCompleter -Native -CommandName sourcecraft-artifacts -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = $commandAst.CommandElements |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        ForEach-Object {
            if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) {
                $_.Value
            } else {
                $_.Extent.Text
            }
        }
    try {
        $Env:_SOURCECRAFT_ARTIFACTS_COMPLETE = 'complete_powershell'
        $Env:_TYPER_COMPLETE_ARGS = $words -join "`n"
        $Env:_TYPER_COMPLETE_WORD_TO_COMPLETE = $wordToComplete
        sourcecraft-artifacts 2>$null | ForEach-Object {
            $text, $name, $help = $_ -split "`t", 3
            [System.Management.Automation.CompletionResult]::new(
                $text, $name, 'ParameterValue', $help)
        }
    } finally {
        Remove-Item -ErrorAction Ignore Env:_SOURCECRAFT_ARTIFACTS_COMPLETE,
            Env:_TYPER_COMPLETE_ARGS, Env:_TYPER_COMPLETE_WORD_TO_COMPLETE
    }
}
"""

_SCRIPTS = {
    Shell.BASH: _BASH,
    Shell.ZSH: _ZSH,
    Shell.FISH: _FISH,
    Shell.POWERSHELL: _POWERSHELL,
}


def script(shell: Shell) -> str:
    """Return a shell's completion script."""
    return _SCRIPTS[shell].lstrip("\n")


def answer(command: Any, instruction: str) -> int:
    """Write the reply to a script to stdout and return an exit status; a failure shows nothing.

    `complete_SHELL` asks for completions of the line, `source_SHELL` for the script itself.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        what, _, name = instruction.partition("_")
        shell = Shell(name)
        lines = [script(shell).rstrip("\n")] if what == "source" else _REPLIES[shell](command)
        text = "".join(f"{line}\n" for line in lines)
        write_bytes(memoryview(text.encode(sys.stdout.encoding)))
    except Exception:
        return 1
    return 0


@dataclass
class Typed:
    """A line up to the cursor, with its quotes resolved."""

    words: list[str] = field(default_factory=list)
    """The words before the one being typed, the program first."""
    word: str = ""
    quote: str = ""
    """The quote that is still open in the word being typed."""
    held: int = 0
    """How many characters of the word precede the piece that bash will replace."""
    mended: bool = False
    """Whether a quote was opened and closed in the word being typed."""


def read_line(line: str, breaks: str = "", *, fish: bool = False) -> Typed:
    """Read a line as a POSIX shell does, or fish, where `'` and `\\` are escaped in `'…'` too.

    `breaks` are the characters, besides blanks, at which bash splits the line.
    """
    typed, started = Typed(), False
    characters = iter(line)
    for character in characters:
        if character == "\\" and (typed.quote != "'" or fish):
            following = next(characters, "")
            escapable = {"": following, '"': '"\\$`', "'": "'\\"}[typed.quote]
            typed.word += following if following in escapable else character + following
        elif character == typed.quote:
            typed.quote, typed.mended = "", True
        elif typed.quote:
            typed.word += character
        elif character in "'\"":
            typed.quote, typed.held = character, len(typed.word)
        elif character in " \t\n":
            if started:
                typed = Typed([*typed.words, typed.word])
            started = False
            continue
        else:
            typed.word += character
            typed.held = len(typed.word) if character in breaks else typed.held
        started = True
    return typed


def _candidates(command: Any, words: Sequence[str], word: str) -> Mapping[str, str]:
    """Return the words that the word being typed could become, each with its help text.

    Commands and their parameters complete words themselves; this finds the one to ask.
    """
    before, args, value = "", list(words[1:]), "" if word == "=" else word
    context = _context(command, args)
    if match := re.match(r"(--[^=]*)=", word):
        before, args, value = match[0], [*args, match[1]], word[match.end() :]
    items = _answerer(context, args, value).shell_complete(context, value)
    return {before + item.value: " ".join((item.help or "").split()) for item in items}


def _context(command: Any, args: Sequence[str], parent: Any = None, name: str = PROGRAM) -> Any:
    """Parse the arguments, and return the context of the command that they name."""
    rest = iter(args)
    takes_value = {name for option in _options(command) for name in option.opts}
    for word in rest if hasattr(command, "commands") else ():
        if word in command.commands:
            context = command.make_context(name, [], parent=parent, resilient_parsing=True)
            return _context(command.commands[word], list(rest), context, word)
        if word in takes_value:
            next(rest, None)
    return command.make_context(name, list(args), parent=parent, resilient_parsing=True)


def _answerer(context: Any, args: Sequence[str], value: str) -> Any:
    """Return the option or argument that the word is a value of, or the command for other words."""
    if value.startswith("-") and "--" not in args:
        return context.command
    for option in _options(context.command):
        if args and args[-1] in option.opts:
            return option
    for param in context.command.params:
        if param.param_type_name == "argument":
            source = context.get_parameter_source(param.name)
            if param.nargs == -1 or source is None or source.name != "COMMANDLINE":
                return param
    return context.command


def _options(command: Any) -> list[Any]:
    """Return the options that take a value."""
    return [p for p in command.params if p.param_type_name == "option" and not p.is_flag]


def _for_bash(command: Any) -> list[str]:
    line = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    if not line:
        # typer's own bash script passes the words alone, and quotes the reply itself.
        words = [*read_line(os.environ["COMP_WORDS"] + " ").words, ""]
        at = int(os.environ["COMP_CWORD"])
        return list(_candidates(command, words[:at], words[min(at, len(words) - 1)]))
    typed = read_line(line, os.environ.get("COMP_WORDBREAKS", ""))
    if typed.mended:
        return []
    found = _candidates(command, typed.words, typed.word)
    return [_quoted_for_bash(value[typed.held :], typed.quote) for value in found]


def _quoted_for_bash(text: str, quote: str) -> str:
    """Quote a reply that bash inserts after the quote that is already open."""
    if quote == "'":
        return text.replace("'", r"'\''")
    special = r'(["\\$`])' if quote else r"([^\w@%+=:,./-])"
    return re.sub(special, r"\\\1", text)


def _for_zsh(command: Any) -> list[str]:
    typed = read_line(os.environ["_TYPER_COMPLETE_ARGS"])

    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace(":", "\\:")

    found = _candidates(command, typed.words, typed.word)
    return [
        escaped(value) + (f":{escaped(help_)}" if help_ else "") for value, help_ in found.items()
    ]


def _for_fish(command: Any) -> list[str]:
    typed = read_line(os.environ["_TYPER_COMPLETE_ARGS"], fish=True)
    found = _candidates(command, typed.words, typed.word)
    return [value + (f"\t{help_}" if help_ else "") for value, help_ in found.items()]


def _for_powershell(command: Any) -> list[str]:
    words = os.environ["_TYPER_COMPLETE_ARGS"].split("\n")
    word = os.environ.get("_TYPER_COMPLETE_WORD_TO_COMPLETE", "").lstrip("'\"")
    found = _candidates(command, words, word)
    return [f"{_quoted_for_powershell(v)}\t{v}\t{help_ or v}" for v, help_ in found.items()]


def _quoted_for_powershell(text: str) -> str:
    return text if re.fullmatch(r"[\w./:=+-]+", text) else "'" + text.replace("'", "''") + "'"


_REPLIES: Mapping[Shell, Callable[[Any], list[str]]] = {
    Shell.BASH: _for_bash,
    Shell.ZSH: _for_zsh,
    Shell.FISH: _for_fish,
    Shell.POWERSHELL: _for_powershell,
}
