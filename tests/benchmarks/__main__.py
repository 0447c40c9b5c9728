"""Print our times against those of the peers, one row a kind of work.

    python -m tests.benchmarks [--runs N] [--command PATH] [--dir DIR] [ROW ...]

Ratios are our median over that of the fastest peer, of runs by turns, process start included. It
ends with 1 where our command fails or gives wrong bytes; a missed target is only marked.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import FrameType

from .contenders import Bench
from .measure import Result, Runner, spread
from .nginx import serving
from .rows import ROWS, Row

_LINE = "{:<12} {:<36} {:>8} {:>6} {:>6} {:<7} {}"


def main() -> int:
    """Run the rows that the arguments name, or all of them."""
    options = _arguments()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as folder:
            return _run(options, Path(folder).resolve())
    except RuntimeError as error:
        sys.exit(f"benchmarks: {error}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(row.key for row in ROWS))
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (5)")
    parser.add_argument("--dir", help="where the temporary folder is made; it needs 5 GB")
    beside = Path(sys.executable).with_name("sourcecraft-artifacts")
    parser.add_argument("--command", default=str(beside), help="the command to measure")
    options = parser.parse_args()
    unknown = set(options.rows) - {row.key for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if options.runs < 1:
        parser.error("--runs is at least 1")
    return options


def _terminated(signum: int, frame: FrameType | None) -> None:
    """Leave by way of the clean-up: nginx is ended, the temporary folder removed."""
    sys.exit(128 + signum)


def _run(options: argparse.Namespace, folder: Path) -> int:
    scratch = folder / "scratch"
    scratch.mkdir()
    spread(scratch)
    failed = False
    with serving(folder) as server:
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(scratch),
            "LANG": "C.UTF-8",
            "SOURCECRAFT_API_URL": server.url("api"),
            "SOURCECRAFT_TOKEN": "benchmark",
        }
        bench = Bench(options.command, server, scratch)
        print(_LINE.format("row", "work", "ours", "ratio", "reach", "", "peers"))
        for row in ROWS:
            if not options.rows or row.key in options.rows:
                results = _measure(row, bench, Runner(scratch, env), options.runs)
                print(_line(row, results), flush=True)
                failed |= bool(results[0].problem)
    return int(failed)


def _measure(row: Row, bench: Bench, runner: Runner, runs: int) -> list[Result]:
    measure = runner.weigh if row.memory else runner.race
    return measure(row.contenders(bench), runs * row.repeat)


def _line(row: Row, results: Sequence[Result]) -> str:
    mine, *peers = results
    best = min((median(peer.values) for peer in peers if not peer.problem), default=None)
    reached: float | None = None
    if row.memory and not mine.problem:
        reached = max(mine.values)
    elif best is not None and not mine.problem:
        reached = median(mine.values) / best
    verdict = "" if reached is None else "ok" if reached <= row.reach else "MISSED"
    ratio = "-" if reached is None or row.memory else f"{reached:.2f}"
    shown = f"{reached:.1f} MiB" if row.memory and reached is not None else _seconds(mine)
    notes = [f"ours: {mine.problem}"] if mine.problem else []
    notes += [f"{peer.name}: {peer.problem or _seconds(peer)}" for peer in peers]
    return _LINE.format(
        row.key, row.work, shown, ratio, f"{row.reach:g}", verdict, "; ".join(notes)
    )


def _seconds(result: Result) -> str:
    return "-" if result.problem else f"{median(result.values):.3f} s"


if __name__ == "__main__":
    sys.exit(main())
