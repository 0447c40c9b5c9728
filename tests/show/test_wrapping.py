"""Sentences on a terminal: wrapped between words, with paths in one piece."""

from __future__ import annotations

import io
import os

import pytest

from sourcecraft_artifacts.show.wrapping import terminal_width, wrapped

PLACE = "/home/ann/my files/out"
SENTENCE = f"Downloaded 15 files to {PLACE}, 1.0 KiB in 2.0 s; 3 failed."


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (None, [SENTENCE]),
        (200, [SENTENCE]),
        (60, [f"Downloaded 15 files to {PLACE}, 1.0 KiB in", "  2.0 s; 3 failed."]),
        (
            40,
            ["Downloaded 15 files to", f"  {PLACE}, 1.0 KiB in", "  2.0 s; 3 failed."],
        ),
        (
            13,
            [
                "Downloaded",
                "  15 files to",
                f"  {PLACE},",
                "  1.0 KiB in",
                "  2.0 s;",
                "  3 failed.",
            ],
        ),
    ],
)
def test_a_sentence_is_wrapped_between_words(width: int | None, lines: list[str]) -> None:
    """A path is never broken, not even at its spaces, nor is a number parted from its noun."""
    assert wrapped(SENTENCE, PLACE, width) == lines


def test_wide_characters_count_as_two_cells() -> None:
    """The width is in cells of the terminal."""
    assert wrapped("日本 日本 日本", "", 9) == ["日本 日本", "  日本"]


@pytest.mark.parametrize(("told", "width"), [("100", 100), ("0", None), ("wide", None), ("", None)])
def test_a_stream_that_is_no_terminal_has_no_width(
    monkeypatch: pytest.MonkeyPatch, told: str, width: int | None
) -> None:
    """COLUMNS counts for a terminal alone, and only if it is a number."""
    monkeypatch.setenv("COLUMNS", told)
    master, slave = os.openpty()
    with os.fdopen(master, "rb"), os.fdopen(slave, "w") as stream:
        assert terminal_width(stream) == width
    assert terminal_width(io.StringIO()) is None
    assert terminal_width(None) is None
