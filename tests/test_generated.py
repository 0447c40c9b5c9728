"""The generated files in `completions/` are current."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from conftest import Cli
from generate import FOLDER, NAMES, generated


@pytest.mark.parametrize("name", generated())
def test_a_generated_file_is_current(name: str) -> None:
    """A file is what the program would write today; `make generate` writes it."""
    assert (FOLDER / name).read_text(encoding="utf-8") == generated()[name]


def test_nothing_else_is_there() -> None:
    """The folder has only generated files."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(generated())


def test_the_program_prints_its_scripts(cli: Cli) -> None:
    """The program prints the same scripts."""
    for shell, name in NAMES.items():
        script = (FOLDER / name).read_bytes()
        assert cli("--show-completion", shell).stdout == script
        asked = cli(env={"_SOURCECRAFT_ARTIFACTS_COMPLETE": f"source_{shell}"})
        assert asked.stdout == script


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff here")
def test_the_man_page_is_clean(cli: Cli) -> None:
    """groff has no warnings about the page, and it fits 80 columns."""
    page = FOLDER / "sourcecraft-artifacts.1"
    command = ["groff", "-man", "-ww", "-Tascii", "-rLL=80n", "-P-cbou", str(page)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    assert "sourcecraft-artifacts download [OPTIONS] RUN [WORKFLOW [TASK [CUBE]]]" in shown.stdout
    assert "--unpack, --no-unpack" in shown.stdout
