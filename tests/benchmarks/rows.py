"""The rows of the table: what is done, who does it, and the ratio or the MiB to stay within."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .contenders import Bench, aria2c, completion, curl, listing, ours, start, unchanged
from .measure import Contender

_PARALLEL = ("-Z", "--parallel-max", "50")
_SLICES = ("-x16", "-s16", "-k1M")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `contenders` has ours first. `memory` rows are in MiB, not ratios.

    `repeat` multiplies the runs, for commands so short that a few runs tell little.
    """

    key: str
    work: str
    reach: float
    contenders: Callable[[Bench], Sequence[Contender]]
    memory: bool = False
    repeat: int = 1


def _many(bench: Bench, name: str) -> list[Contender]:
    return [
        ours(bench, name, "store"),
        curl(bench, name, "store", *_PARALLEL),
        aria2c(bench, name, "store", "-j16"),
    ]


def _sliced(bench: Bench, name: str, *options: str) -> list[Contender]:
    return [ours(bench, name, "store"), aria2c(bench, name, "store", *options, *_SLICES)]


def _huge(bench: Bench, kind: str) -> list[Contender]:
    return [
        ours(bench, "huge", kind),
        curl(bench, "huge", kind),
        aria2c(bench, "huge", kind, "-x4"),
    ]


def _fast(bench: Bench) -> list[Contender]:
    return [ours(bench, "small", "plain"), curl(bench, "small", "plain", *_PARALLEL)]


ROWS = (
    Row("small", "1,000 files of 20 kB, store model", 1.0, lambda b: _many(b, "small")),
    Row("medium", "200 files of 1 MB, store model", 1.0, lambda b: _many(b, "medium")),
    Row("large", "one file of 256 MiB, store model", 1.0, lambda b: _sliced(b, "large")),
    Row("mixed", "256 MiB, 40 of 1 MB, 300 of 20 kB", 1.0, lambda b: _sliced(b, "mixed", "-j16")),
    Row("huge-plain", "one file of 1 GiB, no latency", 1.0, lambda b: _huge(b, "plain")),
    Row("huge-tls", "one file of 1 GiB, TLS", 1.0, lambda b: _huge(b, "tls")),
    Row("small-plain", "1,000 files of 20 kB, no latency", 5.0, _fast),
    Row("unchanged", "10,000 unchanged, second run", 2.5, unchanged, repeat=2),
    Row("list", "list --json", 1.15, listing, repeat=4),
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
