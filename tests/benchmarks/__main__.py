"""Compare our times with those of other tools, one row for each kind of work.

    python -m tests.benchmarks [--runs N] [--command PATH] [--dir DIR] [ROW ...]
    python -m tests.benchmarks --wire [--nets NET,...] [ROW ...]

A ratio is our median over that of the fastest other tool; the commands run in turns, and process
start is included. `cpu` is in seconds, `switches` are between threads; both are of all processes of
our command. With --wire (as root) the comparison is over TLS between two network namespaces with a
round trip, a rate and a queue, and the other tools request the listing too. The exit status is 1 if
our command fails or its bytes are wrong; a missed target is only marked.
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
from .nginx import Server, serving
from .rows import ROWS, WIRE_ROWS, Row
from .wire import NETS, SERVER, Net, read_net, wired

_LINE = "{:<14} {:<38} {:>8} {:>6} {:>6} {:<7} {:>6} {:>8}  {}"


def main() -> int:
    """Run the rows that the arguments name, or all of them."""
    options = _arguments()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        if not options.wire:
            with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as folder:
                return _on_loopback(options, Path(folder).resolve())
        return max(_on_wire(options, net) for net in options.nets)
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
    parser.add_argument("--wire", action="store_true", help="race on a wire, over TLS")
    parser.add_argument(
        "--nets",
        type=lambda text: [read_net(name) for name in text.split(",")],
        default=list(NETS.values()),
        help=f"{', '.join(NETS)}, or ROUND_TRIP_MS/MEGABITS/QUEUE_MS",
    )
    options = parser.parse_args()
    options.command = str(Path(options.command).absolute())
    unknown = set(options.rows) - {row.key for row in (WIRE_ROWS if options.wire else ROWS)}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if options.runs < 1:
        parser.error("--runs is at least 1")
    return options


def _terminated(signum: int, frame: FrameType | None) -> None:
    """Exit with clean-up: nginx is stopped, and the temporary folder removed."""
    sys.exit(128 + signum)


def _on_loopback(options: argparse.Namespace, folder: Path) -> int:
    with serving(folder) as server:
        return _run(options, server, ROWS)


def _on_wire(options: argparse.Namespace, net: Net) -> int:
    print(f"\n{net.name}: {net.round_trip:g} ms, {net.megabits:g} Mbit/s, queue {net.queue:g} ms")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as name:
        folder = Path(name).resolve()
        with (
            wired(net, folder) as ends,
            serving(folder, host=SERVER, within=ends.server) as server,
        ):
            return _run(options, server, WIRE_ROWS, ends.client)


def _run(
    options: argparse.Namespace, server: Server, rows: Sequence[Row], within: Sequence[str] = ()
) -> int:
    scratch = server.directory / "scratch"
    scratch.mkdir()
    spread(scratch)
    failed = False
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "SOURCECRAFT_API_URL": server.url("api"),
        "SOURCECRAFT_TOKEN": "benchmark",
    }
    bench = Bench(options.command, server, scratch)
    heads = ("row", "work", "ours", "ratio", "reach", "", "cpu", "switches", "peers")
    print(_LINE.format(*heads))
    for row in rows:
        if not options.rows or row.key in options.rows:
            results = _measure(row, bench, Runner(scratch, env, within), options.runs)
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
    cpu, switches = ("-", "-") if mine.problem else _costs(mine)
    notes = [f"ours: {mine.problem}"] if mine.problem else []
    notes += [f"{peer.name}: {peer.problem or _seconds(peer)}" for peer in peers]
    return _LINE.format(
        row.key,
        row.work,
        shown,
        ratio,
        f"{row.reach:g}",
        verdict,
        cpu,
        switches,
        "; ".join(notes),
    )


def _costs(result: Result) -> tuple[str, str]:
    return f"{median(result.cpu):.2f}", f"{median(result.switches):.0f}"


def _seconds(result: Result) -> str:
    return "-" if result.problem else f"{median(result.values):.3f} s"


if __name__ == "__main__":
    sys.exit(main())
