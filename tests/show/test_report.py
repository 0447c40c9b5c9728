import io
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from reports import HARMLESS, HOSTILE, STAMP, artifact, report, result
from rich.cells import cell_len
from rich.console import Console

from sourcecraft_artifacts.errors import TransferError
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress, Run
from sourcecraft_artifacts.results import Outcome
from sourcecraft_artifacts.show.checksum_file import checksum_lines
from sourcecraft_artifacts.show.listing import (
    listing_json,
    listing_lines,
    listing_table,
    local_time,
    runs_json,
    runs_lines,
    runs_table,
)
from sourcecraft_artifacts.show.report import report_json
from sourcecraft_artifacts.show.tables import fitting, folded, make_console


def table(
    artifacts: list[Artifact],
    width: int = 80,
    encoding: str = "utf-8",
    force: bool = False,
) -> list[str]:
    """Print a listing to a stream of this encoding, and return what was written."""
    raw = io.BytesIO()
    console = Console(
        file=io.TextIOWrapper(raw, encoding, newline="\n"), width=width, force_terminal=force
    )
    listing_table(artifacts, console)
    console.file.flush()
    return raw.getvalue().decode(encoding).splitlines()


@pytest.fixture
def moscow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the local zone to UTC+3, if the system can."""
    if not hasattr(time, "tzset"):
        pytest.skip("the local zone cannot be set here")
    monkeypatch.setenv("TZ", "MSK-3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_listing_line_has_six_fields_whatever_the_names() -> None:
    """Times are unchanged; a tab or line feed in a name makes no new field."""
    bare = Artifact(CubeAddress("o/r", "12", "w\t", "t", "c"), HOSTILE, "", ArtifactDates())
    assert list(listing_lines([artifact(), bare])) == [
        f"build\tcompile\tlinux\tsuccess\t{STAMP}\tplan.json",
        "w\\t\tt\tc\t\t\t" + HARMLESS,
    ]


def test_listing_lines_come_one_by_one() -> None:
    """Lines are made one at a time, as they are read."""

    def endless() -> Iterator[Artifact]:
        while True:
            yield artifact()

    assert next(listing_lines(endless())).endswith("plan.json")


def test_run_lines_have_four_fields() -> None:
    """An absent field is empty."""
    runs = [Run("12", "success", "push", created_at=STAMP), Run("11", HOSTILE)]
    assert list(runs_lines(runs)) == [f"12\tsuccess\tpush\t{STAMP}", f"11\t{HARMLESS}\t\t"]


def test_the_listing_document_shows_no_url_unless_asked() -> None:
    """The JSON has all fields, null for an absent date, and a URL only if asked for."""
    fields = {
        "workflow": "build",
        "task": "compile",
        "cube": "linux",
        "id": "id-1",
        "local_path": HOSTILE,
        "status": "success",
        "dates": {"registered_at": STAMP, "obtained_at": None, "updated_at": STAMP},
    }
    written = listing_json("o/r", "12", [artifact(HOSTILE)], with_urls=False)
    head = {"schema_version": 1, "repo": "o/r", "run": "12"}
    assert json.loads(written) == head | {"artifacts": [fields]}
    assert written.isascii()
    assert written.isprintable()
    with_urls = json.loads(listing_json("o/r", "12", [artifact(HOSTILE)], with_urls=True))
    url = "https://storage/x?signature=secret"
    assert with_urls == head | {"artifacts": [fields | {"download_url": url}]}
    assert json.loads(listing_json("o/r", "12", [], with_urls=True)) == head | {"artifacts": []}


def test_the_document_of_runs() -> None:
    """The JSON has all fields, null for an absent one."""
    run = Run("12", "processing", "pr_update", created_at=STAMP, pull="7")
    assert json.loads(runs_json("o/r", [run])) == {
        "schema_version": 1,
        "repo": "o/r",
        "runs": [
            {
                "slug": "12",
                "status": "processing",
                "event_type": "pr_update",
                "created_at": STAMP,
                "started_at": None,
                "finished_at": None,
                "updated_at": None,
                "pull": "7",
                "user": None,
            }
        ],
    }


def test_the_report_document() -> None:
    """The JSON has each file and the counts."""
    error = TransferError("no such object", code="http", hint="look there")
    files = (
        result("a", Outcome.DOWNLOADED),
        result("b", Outcome.FAILED, error),
        result("c", Outcome.UNAVAILABLE),
        result("d", Outcome.UNCHANGED),
        result("e", Outcome.SKIPPED),
        result("f", Outcome.PLANNED, action="download"),
    )
    document: dict[str, Any] = json.loads(report_json(report(*files, seconds=1.23456)))
    assert document["files"][0] == {
        "workflow": "build",
        "task": "compile",
        "cube": "linux",
        "local_path": "a",
        "path": "out/a",
        "status": "success",
        "outcome": "downloaded",
        "size": 1024,
        "sha256": "ab" * 32,
        "transferred": 1024,
        "seconds": 0.123,
        "error": None,
    }
    assert document["files"][1]["error"] == {"code": "http", "message": "no such object"}
    assert document["files"][2]["path"] is None
    assert [file["outcome"] for file in document["files"][2:]] == [
        "unavailable",
        "unchanged",
        "skipped",
        "planned",
    ]
    del document["files"]
    assert document == {
        "schema_version": 1,
        "repo": "o/r",
        "run": "12",
        "dir": "out",
        "summary": {
            "selected": 6,
            "downloaded": 1,
            "unchanged": 1,
            "skipped": 1,
            "unavailable": 1,
            "failed": 1,
            "bytes": 1024,
            "seconds": 1.235,
        },
    }


@pytest.mark.usefixtures("moscow")
@pytest.mark.parametrize(
    ("stamp", "shown"),
    [
        ("2025-11-24T22:22:33Z", ("2025-11-25 01:22", "+03:00")),
        (STAMP, ("2025-11-24 13:22", "+03:00")),
        ("2025-11-24T10:22:33+01:00", ("2025-11-24 12:22", "+03:00")),
        ("soon\x1b", (r"soon\x1b", "")),
        ("0001-01-01T00:00:00+14:00", ("0001-01-01T00:00:00+14:00", "")),
        ("", ("", "")),
        (None, ("", "")),
    ],
)
def test_a_person_reads_local_time(stamp: str | None, shown: tuple[str, str]) -> None:
    """Times are shown in the local zone; a text that is not a time is shown unchanged."""
    assert local_time(stamp) == shown


@pytest.mark.parametrize(
    ("zone", "stamps", "head", "cells"),
    [
        ("MSK-3", [STAMP, STAMP, None], "Created (+03:00)", ["2025-11-24 13:22"] * 2),
        ("UTC", [STAMP, "soon"], "Created (UTC)", ["2025-11-24 10:22", "soon"]),
        ("IST-5:30", [STAMP], "Created (+05:30)", ["2025-11-24 15:52"]),
        ("AST4", [STAMP], "Created (-04:00)", ["2025-11-24 06:22"]),
        ("UTC", ["soon"], "Created", ["soon"]),
        (
            "CET-1CEST",
            [STAMP, "2025-07-01T10:00:00Z"],
            "Created",
            ["2025-11-24 11:22 +01:00", "2025-07-01 12:00 +02:00"],
        ),
    ],
)
def test_times_carry_their_zone(
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
    stamps: list[str | None],
    head: str,
    cells: list[str],
) -> None:
    """The zone is in the column's title, or with each time if summer and winter mix."""
    if not hasattr(time, "tzset"):
        pytest.skip("the local zone cannot be set here")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        console = Console(file=io.StringIO(), width=80)
        runs_table(
            [Run(str(n), "failed", created_at=stamp) for n, stamp in enumerate(stamps)], console
        )
    time.tzset()
    assert isinstance(console.file, io.StringIO)
    first, *rows = console.file.getvalue().splitlines()
    assert first == f"Status    Run  {head}"
    assert [row[15:] for row in rows if row[15:]] == cells


@pytest.mark.usefixtures("moscow")
def test_the_table_says_shared_names_once() -> None:
    """Names that differ get a column; the path is never cut."""
    long = "dist/" + "x" * 60 + "/[/nope] :bomb:"
    lines = table([artifact(long), artifact("b", "failed", "mac"), artifact("c", "registered")])
    assert lines == [
        "workflow build, task compile",
        "Status        Cube   Updated (+03:00)  Path",
        "✓ success     linux  2025-11-24 13:22",
        f"  {long}",
        "✗ failed      mac    2025-11-24 13:22  b",
        "• registered  linux  2025-11-24 13:22  c",
    ]


@pytest.mark.usefixtures("moscow")
def test_sizes_stand_before_the_path() -> None:
    """Sizes are in bytes and right-aligned; an unknown one is a question mark."""
    console = Console(file=io.StringIO(), width=80)
    listing_table([artifact("a"), artifact("b"), artifact("c")], console, [12345678, 0, None])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[1:] == [
        "Status     Updated (+03:00)      Size  Path",
        "✓ success  2025-11-24 13:22  12345678  a",
        "✓ success  2025-11-24 13:22         0  b",
        "✓ success  2025-11-24 13:22         ?  c",
    ]


@pytest.mark.parametrize("width", [12, 20, 40, 50, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_nothing_in_a_table_is_cut_or_steers(width: int, encoding: str) -> None:
    """Hostile names are folded like others, except a path, in every encoding, and made visible."""
    names = [HOSTILE, "отчёты/日本語" * 20, "p" * 300]
    lines = table([artifact(name, name, name) for name in names], width, encoding)
    wide = [line for line in lines if cell_len(line) > width]
    assert all(line.startswith("  ") for line in wide)
    assert len(wide) <= len(names)
    assert all(line.isprintable() for line in lines)
    assert "".join(lines).count("p") >= 900


def test_a_table_is_coloured_by_status() -> None:
    """On a terminal only the sign and the word of a status are coloured."""
    (line,) = [line for line in table([artifact("b", "failed")], force=True) if "failed" in line]
    assert re.match(r"\x1b\[31m✗ failed\x1b\[0m  ", line)


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 1000])
def test_a_table_has_all_rows(count: int) -> None:
    """Batches lose no row; an empty listing prints nothing."""
    lines = table([artifact(f"file{number}") for number in range(count)])
    assert [line.split()[-1] for line in lines[2:]] == [f"file{n}" for n in range(count)]
    assert len(lines) == (count + 2 if count else 0)


@pytest.mark.usefixtures("moscow")
def test_the_table_of_runs_leaves_out_empty_columns() -> None:
    """Pull and user appear only if a run has one."""
    console = Console(file=io.StringIO(), width=80)
    runs_table([Run("12", "success", "push", STAMP, user="[ann]"), Run("11", "timeout")], console)
    runs_table([], console)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "Status     Run  Event  Created (+03:00)  User",
        "✓ success  12   push   2025-11-24 13:22  [ann]",
        "✗ timeout  11",
    ]


@pytest.mark.usefixtures("moscow")
def test_a_narrow_table_keeps_what_matters() -> None:
    """A long path gets its own line; the time is left out first, then each path gets a line."""
    rows = [artifact("testing/unit_tests/report.zip"), artifact("plan.json", "registered", "mac")]
    assert table(rows, 62) == [
        "workflow build, task compile",
        "Status        Cube   Updated (+03:00)  Path",
        "✓ success     linux  2025-11-24 13:22",
        "  testing/unit_tests/report.zip",
        "• registered  mac    2025-11-24 13:22  plan.json",
    ]
    assert table(rows, 50) == [
        "workflow build, task compile",
        "Status        Cube   Path",
        "✓ success     linux  testing/unit_tests/report.zip",
        "• registered  mac    plan.json",
    ]
    assert table(rows, 40) == [
        "workflow build, task compile",
        "Status        Cube",
        "  Path",
        "✓ success     linux",
        "  testing/unit_tests/report.zip",
        "• registered  mac",
        "  plan.json",
    ]
    assert "  testing/unit_tests/report.zip" in table(rows, 16)


@pytest.mark.usefixtures("moscow")
@pytest.mark.parametrize(
    ("width", "head"),
    [
        (59, "Status        Run  Event   Created (+03:00)  Pull  User"),
        (52, "Status        Run  Event   Created (+03:00)  User"),
        (48, "Status        Run  Event   Created (+03:00)"),
        (40, "Status        Run  Created (+03:00)"),
        (20, "Status        Run"),
    ],
)
def test_narrow_runs_keep_the_run_and_its_status(width: int, head: str) -> None:
    """The least important columns are left out first, before others are folded."""
    console = Console(file=io.StringIO(), width=width)
    runs_table([Run("45", "processing", "manual", STAMP, pull="7", user="anna")], console)
    assert isinstance(console.file, io.StringIO)
    shown, row = console.file.getvalue().splitlines()
    assert shown == head
    assert row.startswith("• processing  45")


@pytest.mark.parametrize(
    ("widths", "leasts", "room", "narrowed"),
    [
        ([10, 16, 20], [10, 10, 10], 50, [10, 16, 20]),
        ([10, 16, 60], [10, 10, 10], 50, [10, 16, 24]),
        ([10, 40, 60], [10, 10, 10], 50, [10, 20, 20]),
        ([10, 40, 60], [10, 30, 10], 50, [10, 30, 10]),
        ([10, 10, 10], [8, 8, 8], 8, [2, 2, 2]),
        ([12, 30], [12, 12], 22, [11, 11]),
    ],
)
def test_the_widest_columns_give_way(
    widths: list[int], leasts: list[int], room: int, narrowed: list[int]
) -> None:
    """Narrow columns stay whole as long as wide ones can be folded."""
    assert fitting(widths, leasts, room) == narrowed


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("plan.json", ["plan.json"]),
        ("testing/unit_tests/report.zip", ["testing/", "unit_tests/", "report.zip"]),
        ("a/bcdefghijklmnopqrs", ["a/bcdefghijk", "lmnopqrs"]),
        ("日本語日本語日本語", ["日本語日本語", "日本語"]),
        ("abcdefg/hijk", ["abcdefg/hijk"]),
    ],
)
def test_paths_fold_behind_a_slash(text: str, lines: list[str]) -> None:
    """Without a slash in its second half a line is filled; no character is lost."""
    assert folded(text, 12) == lines


@pytest.mark.parametrize("size", ["0", "", "-1", "wide", "\u00b2", "9" * 5000])
def test_a_size_that_is_none_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """COLUMNS and LINES are used if they are sizes; else the terminal's own are."""
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    own = make_console(io.StringIO()).size
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, size)
    assert make_console(io.StringIO()).size == own
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, "31")
    assert make_console(io.StringIO()).size == (31, 31)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("plain", b"%b  out/plain\n"),
        ("a\nb", b"\\%b  out/a\\nb\n"),
        ("a\rb", b"\\%b  out/a\\rb\n"),
        ("a\\nb", b"\\%b  out/a\\\\nb\n"),
        ("\udcff", b"%b  out/\xff\n"),
    ],
)
def test_a_line_of_checksums_is_one_line(name: str, line: bytes) -> None:
    """An escaped name begins its line with a backslash, as `sha256sum` writes it."""
    assert checksum_lines(report(result(name, Outcome.DOWNLOADED))) == line % (b"ab" * 32)
