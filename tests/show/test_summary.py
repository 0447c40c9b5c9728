"""What is shown at the end of a download, and of a plan."""

from __future__ import annotations

import os
from typing import Any

import pytest
from reports import HARMLESS, HOSTILE, artifact, report, result

from sourcecraft_artifacts.errors import ApiError, TransferError
from sourcecraft_artifacts.models import CubeAddress
from sourcecraft_artifacts.results import FileResult, MemberFile, Outcome, UnlistedCube
from sourcecraft_artifacts.show.colours import painted
from sourcecraft_artifacts.show.planned import plan_lines, plan_sentence
from sourcecraft_artifacts.show.summary import (
    AGAIN,
    GO_ON,
    hint_lines,
    missing_lines,
    summary_lines,
)


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        ([], ["Downloaded nothing."]),
        (
            [result("a", Outcome.DOWNLOADED), result("b", Outcome.UNCHANGED)],
            ["Downloaded 1 file to out/a, 1.0 KiB in 2.0 s (512 B/s); 1 unchanged."],
        ),
        (
            [result("a", Outcome.UNCHANGED)] * 1200 + [result("b", Outcome.SKIPPED)],
            ["Downloaded nothing; 1,200 unchanged in out, 1 skipped."],
        ),
        (
            [
                result(HOSTILE, Outcome.FAILED, TransferError(HOSTILE, code="x", hint="again")),
                result("b", Outcome.FAILED, TransferError("reset", code="y", hint="again")),
                result("c", Outcome.UNAVAILABLE),
            ],
            [
                "unavailable: c (missing)",
                f"failed: {HARMLESS}: {HARMLESS}",
                "failed: b: reset",
                "Downloaded nothing; 1 unavailable, 2 failed.",
                "  hint: again",
            ],
        ),
        (
            [result("a", Outcome.UNAVAILABLE), result("a", Outcome.UNCHANGED, cube="mac")],
            [
                "unavailable: build/compile/linux: a (missing)",
                "Downloaded nothing; 1 unchanged in out, 1 unavailable.",
            ],
        ),
    ],
)
def test_the_summary_names_what_is_missing_and_says_what_was_done(
    files: list[FileResult], lines: list[str]
) -> None:
    """Each missing file with its reason, then the counts, then each hint once."""
    assert summary_lines(report(*files)) == lines


def test_the_summary_counts_folders_and_their_files() -> None:
    """Folders and their files are counted; the bytes of failed files are not."""
    members = (MemberFile("out/d/a", "ab" * 32), MemberFile("out/d/b", "ab" * 32))
    folder = result("d", Outcome.DOWNLOADED)._replace(members=members)
    file, rate = result("a", Outcome.DOWNLOADED), "in 2.0 s"
    assert summary_lines(report(folder)) == [
        f"Downloaded 1 folder (2 files) to out/d, 1.0 KiB {rate} (512 B/s)."
    ]
    assert summary_lines(report(file, folder, folder)) == [
        f"Downloaded 1 file and 2 folders (4 files) to out, 3.0 KiB {rate} (1.5 KiB/s)."
    ]
    wrapped = file._replace(members=(MemberFile("out/a", "ab" * 32),))
    assert summary_lines(report(wrapped)) == summary_lines(report(file))
    failed = result("b", Outcome.FAILED, TransferError("reset", code="y"))._replace(transferred=1)
    assert "Downloaded nothing (1 B received); 1 failed." in summary_lines(report(failed))


PLAN = [
    result("a", Outcome.PLANNED, action="download"),
    result(HOSTILE, Outcome.PLANNED, action="replace"),
    result("c", Outcome.PLANNED, action="keep"),
    result("d", Outcome.UNCHANGED),
    result("e", Outcome.PLANNED, action="await"),
    result("f", Outcome.UNAVAILABLE),
    result("g", Outcome.SKIPPED),
]
UNSIZED = PLAN[0]._replace(size=None)


def test_a_plan_has_a_line_for_each_artifact() -> None:
    """Action and path are tab-separated for programs, and in columns for a person."""
    planned = report(*PLAN)
    assert list(plan_lines(planned)) == [
        "download\tout/a",
        f"replace\tout/{HARMLESS}",
        "keep\tout/c",
        "keep\tout/d",
        "await\tout/e",
        "unavailable\tf",
        "skip\tout/g",
    ]
    assert list(plan_lines(planned, table=True))[:2] == [
        "download     out/a",
        f"replace      out/{HARMLESS}",
    ]


def test_the_sizes_of_a_plan_have_a_column() -> None:
    """Sizes are in bytes for programs, else in units; an unknown one is empty or `?`."""
    planned = report(PLAN[0], UNSIZED)
    assert list(plan_lines(planned, sizes=True)) == ["download\tout/a\t1024", "download\tout/a\t"]
    assert list(plan_lines(planned, sizes=True, table=True)) == [
        "download        1.0 KiB  out/a",
        "download              ?  out/a",
    ]


@pytest.mark.parametrize(
    ("files", "said", "with_sizes"),
    [
        ([], "nothing.", "nothing."),
        (
            PLAN,
            "2 files to out; 1 awaited, 2 unchanged, 1 skipped, 1 unavailable.",
            "2 files to out, 2.0 KiB; 1 awaited, 2 unchanged, 1 skipped, 1 unavailable.",
        ),
        (PLAN[:1], "1 file to out/a.", "1 file to out/a, 1.0 KiB."),
        (PLAN[3:4], "nothing; 1 unchanged.", "nothing; 1 unchanged."),
        (
            [result("a", Outcome.PLANNED, action="unpack"), *PLAN[5:]],
            "nothing; 1 skipped, 1 to be unpacked, 1 unavailable.",
            "nothing; 1 skipped, 1 to be unpacked, 1 unavailable.",
        ),
        (
            [PLAN[0], UNSIZED],
            "2 files to out.",
            "2 files to out, at least 1.0 KiB and 1 file of unknown size.",
        ),
        ([UNSIZED], "1 file to out/a.", "1 file to out/a, 1 file of unknown size."),
    ],
)
def test_a_plan_ends_with_the_sum(files: list[FileResult], said: str, with_sizes: str) -> None:
    """The summary of a plan does not say that something was downloaded."""
    planned = report(*files)
    assert plan_sentence(planned) == f"Would fetch {said}"
    assert plan_sentence(planned, sizes=True) == f"Would fetch {with_sizes}"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "1.0 KiB."), (0.05, "1.0 KiB in 0.1 s (20.0 KiB/s)."), (0.0, "1.0 KiB.")],
)
def test_a_time_too_short_to_show_is_not_shown(seconds: float, said: str) -> None:
    """A time of `0.0 s` and its speed are left out."""
    (line,) = summary_lines(report(result("a", Outcome.DOWNLOADED), seconds=seconds))
    assert line == f"Downloaded 1 file to out/a, {said}"


def test_quiet_leaves_what_is_missing() -> None:
    """With quiet, the reason for an exit status other than 0 is still shown, also for a plan."""
    files = [result("a", Outcome.PLANNED, action="download"), result("b", Outcome.UNAVAILABLE)]
    assert summary_lines(report(*files), quiet=True) == ["unavailable: b (missing)"]
    assert list(missing_lines(report(*files))) == ["unavailable: b (missing)"]


@pytest.mark.parametrize(
    ("dir_", "path", "said"),
    [
        (None, "-", "stdout"),
        (None, "here/file", "here/file"),
        ("out", "out/a", "out/a"),
        (".", "./a", "./a"),
        (f"out/{HOSTILE}", f"out/{HOSTILE}/a", f"out/{HARMLESS}/a"),
    ],
)
def test_the_place_of_one_file_is_said(dir_: str | None, path: str, said: str) -> None:
    """A single file is named itself."""
    one = result("a", Outcome.DOWNLOADED)._replace(path=path)
    (line,) = summary_lines(report(one)._replace(dir=dir_))
    assert line.startswith(f"Downloaded 1 file to {said}, ")


@pytest.mark.parametrize(
    ("dir_", "said"),
    [
        ("out", "out"),
        ("./", os.getcwd()),
        (".", os.getcwd()),
        ("../x", "../x"),
        (f"out/{HOSTILE}", f"out/{HARMLESS}"),
    ],
)
def test_the_place_of_several_files_is_their_folder(dir_: str, said: str) -> None:
    """The folder is shown as it was given, but the current folder by its path."""
    files = [result("a", Outcome.DOWNLOADED), result("b", Outcome.DOWNLOADED)]
    (line,) = summary_lines(report(*files)._replace(dir=dir_))
    assert line.startswith(f"Downloaded 2 files to {said}, ")
    kept = report(result("a", Outcome.UNCHANGED))._replace(dir=dir_)
    assert summary_lines(kept) == [f"Downloaded nothing; 1 unchanged in {said}."]


@pytest.mark.parametrize(
    ("size", "transferred", "told"),
    [
        (1024, 1024, ", 1.0 KiB in 2.0 s (512 B/s)"),
        (1024, 3000, ", 1.0 KiB in 2.0 s (512 B/s)"),
        (4096, 1024, ", 1.0 KiB in 2.0 s (512 B/s)"),
        (1024, 0, ""),
        (0, 0, ""),
    ],
    ids=["once", "some twice", "the rest", "none", "empty"],
)
def test_the_summary_counts_a_byte_once(size: int, transferred: int, told: str) -> None:
    """It says how much of the files this run fetched, not how much it received."""
    file = result("a", Outcome.DOWNLOADED)._replace(size=size, transferred=transferred)
    failed = result("b", Outcome.FAILED, TransferError("reset", code="y"))._replace(transferred=9)
    assert f"Downloaded 1 file to out/a{told}; 1 failed." in summary_lines(report(file, failed))


def test_what_was_resumed_is_said() -> None:
    """The summary says how many files and bytes were resumed."""
    resumed = result("a", Outcome.DOWNLOADED)._replace(resumed=512)
    files = [resumed, resumed._replace(resumed=1024), result("b", Outcome.DOWNLOADED)]
    assert summary_lines(report(*files))[1:] == [
        "Resumed 2 files: 1.5 KiB had been received before."
    ]
    assert summary_lines(report(*files), quiet=True) == []


def test_colours_are_for_labels_and_the_sentence() -> None:
    """Labels and the summary are coloured, if colours are wanted."""
    files = [result("a", Outcome.FAILED), result("b", Outcome.UNAVAILABLE)]
    assert summary_lines(report(*files), paint=painted) == [
        "\x1b[35munavailable:\x1b[0m b (missing)",
        "\x1b[31mfailed:\x1b[0m a: it could not be downloaded",
        "\x1b[1mDownloaded nothing; 1 unavailable, 1 failed.\x1b[0m",
    ]


def test_the_summary_does_not_repeat_what_the_progress_told() -> None:
    """Failures that the progress has shown are counted, with their hints, but not named."""
    error = TransferError("reset", code="y", hint="again")
    files = [result("a", Outcome.FAILED, error), result("b", Outcome.UNAVAILABLE)]
    assert summary_lines(report(*files), failures_told=True) == [
        "unavailable: b (missing)",
        "Downloaded nothing; 1 unavailable, 1 failed.",
        "  hint: again",
    ]


def test_however_many_are_missing_the_counts_come_last() -> None:
    """All missing files are named, even hundreds; cancelled ones are one line."""
    called_off = TransferError("it was cancelled", code="cancelled")
    files = [result("a", Outcome.FAILED)] * 220 + [result("b", Outcome.FAILED, called_off)] * 30
    lines = summary_lines(report(*files))
    assert lines[:-2] == ["failed: a: it could not be downloaded"] * 220
    assert lines[-2:] == ["cancelled: 30 files", "Downloaded nothing; 220 failed, 30 cancelled."]


def failed(name: str, code: str, hint: str | None = None) -> FileResult:
    """Return the result of a file that could not be downloaded."""
    return result(name, Outcome.FAILED, TransferError("reset", code=code, hint=hint))


def unlisted(hint: str | None = None) -> UnlistedCube:
    """Return a cube that could not be listed."""
    return UnlistedCube(CubeAddress("o/r", "12", "w", "t", "c"), ApiError("500", hint=hint))


ENDS_EARLY = {"error": ApiError("gone")}


@pytest.mark.parametrize(
    ("files", "more", "hints"),
    [
        ([failed("a", "cut"), failed("b", "http_503")], {}, [GO_ON]),
        ([failed("a", "http_404"), failed("b", "unsafe_url"), failed("c", "gone")], {}, []),
        ([failed("a", "cancelled"), result("b", Outcome.DOWNLOADED)], {}, []),
        # A hint that is not for all that failed names what it is for.
        ([failed("a", "cut"), failed("b", "x", "do")], {}, ["b: do", GO_ON]),
        ([failed("a", "x", "do"), failed("b", "y", "do")], {}, ["do"]),
        ([failed("a", "x", "do"), failed("b", "cancelled")], {}, ["do"]),
        (
            [failed(name, "x", "do") for name in "abcde"] + [failed("f", "y", "else")],
            {},
            ["a, b, c and 2 more: do", "f: else"],
        ),
        ([failed(HOSTILE, "x", "do"), failed("b", "z")], {}, [f"{HARMLESS}: do"]),
        # The error of the whole download says what to do.
        ([failed("a", "cut")], {"timed_out": True}, []),
        ([failed("a", "cut")], ENDS_EARLY, []),
        ([], {"unlisted": (unlisted(),)}, [f"{AGAIN} later"]),
        ([failed("a", "cut")], {"unlisted": (unlisted(),)}, [GO_ON]),
        ([failed("a", "cut")], {"unlisted": (unlisted(f"{AGAIN} later"),)}, [GO_ON]),
        ([], {"unlisted": (unlisted(f"{AGAIN} later"), unlisted())}, [f"{AGAIN} later"]),
        ([failed("a", "odd", f"{AGAIN} later"), failed("b", "x", "do")], {}, ["b: do", GO_ON]),
        ([], {"unlisted": (unlisted("log in"), unlisted("log in"))}, ["log in"]),
    ],
)
def test_each_failure_has_a_hint_if_there_is_something_to_do(
    files: list[FileResult], more: dict[str, Any], hints: list[str]
) -> None:
    """Each hint comes once, and tells to try again only what may then succeed."""
    assert hint_lines(report(*files)._replace(**more)) == [f"  hint: {hint}" for hint in hints]


def test_a_stream_does_not_go_on() -> None:
    """Nothing is kept of what went to a stream."""
    sent = failed("a", "cut")._replace(path="-")
    assert hint_lines(report(sent)) == [f"  hint: {AGAIN}"]


def test_cubes_that_could_not_be_listed_are_counted() -> None:
    """The last line does not sound as if all were there."""
    lacking = report(result("a", Outcome.UNCHANGED))._replace(unlisted=(unlisted(), unlisted()))
    said = "Downloaded nothing; 1 unchanged in out, 2 cubes could not be listed."
    assert summary_lines(lacking)[0] == said
    planned = report(PLAN[0])._replace(unlisted=(unlisted(),))
    assert plan_sentence(planned) == "Would fetch 1 file to out/a; 1 cube could not be listed."


def test_an_artifact_that_may_still_come_is_called_so() -> None:
    """A registered artifact is called still registered."""
    files = [
        FileResult(artifact("a", "registered"), None, Outcome.UNAVAILABLE),
        FileResult(artifact("b", ""), None, Outcome.UNAVAILABLE),
    ]
    missing = ["unavailable: a (still registered)", "unavailable: b (without a status)"]
    assert summary_lines(report(*files), quiet=True) == missing
    fetches = "--wait fetches what is still registered as soon as it is ready"
    hint = f"  hint: if run 12 is in progress, {fetches}"
    assert summary_lines(report(*files), may_wait=True)[-1] == hint
    assert hint not in summary_lines(report(*files), quiet=True, may_wait=True)
    assert hint not in summary_lines(report(files[1]), may_wait=True)
    goes_on, ended = (report(*files)._replace(may_come=one) for one in (True, False))
    assert summary_lines(goes_on, may_wait=True)[-1] == f"  hint: {fetches}"
    assert "--wait" not in "".join(summary_lines(ended, may_wait=True))
    allow = "  hint: --allow-missing makes this a success"
    assert summary_lines(goes_on, may_wait=True, may_allow=True)[-1] == f"  hint: {fetches}"
    assert summary_lines(ended, may_wait=True, may_allow=True)[-1] == allow
    assert allow not in summary_lines(ended, quiet=True, may_wait=True, may_allow=True)
