import json

import pytest

from sourcecraft_artifacts.text import to_json, visible, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plan.json", "plan.json"),
        ("отчёты/итог.txt", "отчёты/итог.txt"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\x9bb", r"a\x9bb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\tb\nc\x7f", r"a\tb\nc\x7f"),
        ("a\ud800b", r"a\ud800b"),
        ("[red]x[/nope] :bomb:", "[red]x[/nope] :bomb:"),
    ],
)
def test_what_steers_a_terminal_is_made_visible(text: str, shown: str) -> None:
    """Control characters, bidi marks and lone surrogates become escapes; other text stays."""
    assert visible(text) == shown


def test_json_is_printable_ascii_and_reads_back() -> None:
    """A hostile string is printable ASCII in JSON, and is read back unchanged."""
    hostile = "\x1b\x7f\x9b\u202e\ud800ё"
    written = to_json({"name": hostile})
    assert written.isascii()
    assert written.isprintable()
    assert json.loads(written) == {"name": hostile}


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("get https://h/a?X-Signature=s now", "get https://h/a?[redacted] now"),
        ("via http://user:pass@proxy:3128", "via http://[redacted]@proxy:3128"),
        ("Bearer tok-1234", "Bearer [redacted]"),
    ],
)
def test_secrets_are_redacted(text: str, redacted: str) -> None:
    """Known tokens, user info and queries are redacted."""
    assert without_secrets(text, ["tok-1234"]) == redacted
