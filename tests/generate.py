"""Write `completions/` anew from the program: `python tests/generate.py`."""

from __future__ import annotations

from pathlib import Path

from manpage import man_page

from sourcecraft_artifacts.choices import Shell
from sourcecraft_artifacts.shells import script

FOLDER = Path(__file__).parents[1] / "completions"
NAMES = {
    Shell.BASH: "sourcecraft-artifacts.bash",
    Shell.ZSH: "_sourcecraft-artifacts",
    Shell.FISH: "sourcecraft-artifacts.fish",
    Shell.POWERSHELL: "sourcecraft-artifacts.ps1",
}


def generated() -> dict[str, str]:
    """Return the text of each file, by its name."""
    scripts = {NAMES[shell]: script(shell) for shell in Shell}
    return {**scripts, "sourcecraft-artifacts.1": man_page()}


if __name__ == "__main__":
    for name, text in generated().items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
