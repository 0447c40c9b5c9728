"""The rows of the table: the work, the commands, and the ratio or the MiB to stay below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .contenders import (
    Bench,
    aria2c,
    bare,
    completion,
    curl,
    listing,
    ours,
    scripts,
    start,
    unchanged,
)
from .measure import Contender

_PARALLEL = ("-Z", "--parallel-max", "50")
_SLICES = ("-x16", "-s16", "-k1M")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `contenders` has ours first. `memory` rows are in MiB, not ratios.

    `repeat` multiplies the runs of very short commands.
    """

    key: str
    work: str
    reach: float
    contenders: Callable[[Bench], Sequence[Contender]]
    memory: bool = False
    repeat: int = 1


def _many(bench: Bench, name: str, kind: str = "store") -> list[Contender]:
    return [
        ours(bench, name, kind),
        curl(bench, name, kind, *_PARALLEL),
        aria2c(bench, name, kind, "-j16"),
    ]


def _sliced(bench: Bench, name: str, *options: str, kind: str = "store") -> list[Contender]:
    return [ours(bench, name, kind), aria2c(bench, name, kind, *options, *_SLICES)]


def _huge(bench: Bench, kind: str) -> list[Contender]:
    return [
        ours(bench, "huge", kind),
        curl(bench, "huge", kind),
        aria2c(bench, "huge", kind, "-x4"),
    ]


def _fast(bench: Bench, name: str, kind: str = "plain") -> list[Contender]:
    return [ours(bench, name, kind), curl(bench, name, kind, *_PARALLEL)]


def _raced(name: str) -> Callable[[Bench], list[Contender]]:
    return lambda bench: [ours(bench, name, "far"), *scripts(bench, name, "far")]


ROWS = (
    Row("small", "1,000 files of 20 kB, store model", 0.8, lambda b: _many(b, "small")),
    Row(
        "small-x5",
        "5,000 files of 20 kB, store model",
        0.8,
        lambda b: _fast(b, "small-x5", "store"),
    ),
    Row("medium", "200 files of 1 MB, store model", 1.1, lambda b: _many(b, "medium")),
    Row("large", "one file of 256 MiB, store model", 0.8, lambda b: _sliced(b, "large")),
    Row("mixed", "256 MiB, 40 of 1 MB, 300 of 20 kB", 0.7, lambda b: _sliced(b, "mixed", "-j16")),
    Row("huge-plain", "one file of 1 GiB, no latency", 1.3, lambda b: _huge(b, "plain")),
    Row("huge-tls", "one file of 1 GiB, TLS", 1.3, lambda b: _huge(b, "tls")),
    Row("small-plain", "1,000 files of 20 kB, no latency", 4.0, lambda b: _fast(b, "small")),
    Row("small-plain-x5", "5,000 files of 20 kB, no latency", 2.5, lambda b: _fast(b, "small-x5")),
    Row("tls-small", "1,000 of 20 kB, TLS, 20 ms", 1.4, lambda b: _many(b, "small", "far")),
    Row("tls-small-x5", "5,000 of 20 kB, TLS, 20 ms", 1.0, lambda b: _fast(b, "small-x5", "far")),
    Row("tls-medium", "100 of 1 MB, TLS, 20 ms", 2.5, lambda b: _many(b, "hundred", "far")),
    Row("tls-medium-x5", "500 of 1 MB, TLS", 1.5, lambda b: _many(b, "hundred-x5", "far")),
    Row("tls-large", "128 MiB, TLS, 20 ms", 2.3, lambda b: _sliced(b, "slab", kind="far")),
    Row(
        "tls-mixed",
        "64 MiB, 20 of 1 MB, 200 of 20 kB, TLS",
        1.5,
        lambda b: _sliced(b, "blend", "-j16", kind="far"),
    ),
    Row("unchanged", "10,000 unchanged, second run", 2.5, unchanged, repeat=2),
    Row("list", "list --json", 1.15, lambda b: listing(b, "few"), repeat=4),
    Row("list-x5", "list --json of 50", 1.15, lambda b: listing(b, "few-x5"), repeat=4),
    Row(
        "version",
        "--version",
        1.3,
        lambda b: start(b, "--version", answer=b"sourcecraft-artifacts "),
        repeat=4,
    ),
    Row("complete", "completing an option", 1.6, completion, repeat=4),
    Row("help", "--help", 2.4, lambda b: start(b, "--help", answer=b"download"), repeat=4),
    Row(
        "memory-huge",
        "peak memory, one file of 1 GiB",
        80,
        lambda b: [ours(b, "huge", "plain")],
        memory=True,
    ),
    Row(
        "memory-tiny",
        "peak memory, 10,000 tiny files",
        120,
        lambda b: [ours(b, "tiny", "plain")],
        memory=True,
    ),
)
WIRE_ROWS = (
    Row("small", "1,000 files of 20 kB", 1.0, _raced("small")),
    Row("medium", "100 files of 1 MB", 1.0, _raced("hundred")),
    Row("large", "one file of 128 MiB", 1.0, _raced("slab")),
    Row("mixed", "64 MiB, 20 of 1 MB, 200 of 20 kB", 1.0, _raced("blend")),
    Row(
        "few",
        "three files of 300 kB",
        1.15,
        lambda b: [ours(b, "three", "far"), bare(b, "three", "far")],
        repeat=2,
    ),
)
"""What is raced on a wire; the peers list too there, as a script has to. Few files are over before
a Python has started: they race against the least that a Python can do."""
