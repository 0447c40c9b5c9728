"""Kills real downloads at random moments, and runs them again, for some minutes.

    python tests/soak.py --minutes 10

After each run every final name is absent, or one whole version of its object or member. After a run
that was not killed the bytes are the newest, artifacts that were lost are absent, and the state
folder has only the manifest. `--seed` repeats the choices; the moments of the kills still depend on
the machine.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from archives import COMPRESSIONS, packed
from conftest import Cli
from fake_service import CUBE, STATE, FakeService, Stored, eventually, tree
from servers import Received, Reply, Response, ScriptedServer, ranged

from sourcecraft_artifacts.disk.leftovers import SUFFIX

SIZES = [0, *[20_000] * 40, *[1_500_000] * 4, 24_000_000]
LEAST_KILLS = 200
SIGNALS = [signal.SIGKILL] * 8 + [signal.SIGTERM, signal.SIGINT]
ENDS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
FOLDERS = 3
MEMBERS = 300
MANY_MEMBERS = 2_000
"""The members of a folder where there is time for them: unpacking takes longer."""
OPTIONS: list[tuple[str, ...]] = [(), ("-j", "1"), ("-j", "4"), ("-j", "64")]
SLOWEST_RUN = 60.0


class SlowServer(ScriptedServer):
    """A storage whose connections are slow, so that there is time for a kill."""

    def _pieces(self, answer: Response) -> Iterator[bytes]:
        for piece in super()._pieces(answer):
            yield piece
            self._pause(0.002)


@dataclass
class Tally:
    """The result of a soak: runs started, killed, killed while unpacking, and folders completed."""

    runs: int = 0
    kills: int = 0
    unpacking: int = 0
    complete: int = 0
    versions: dict[str, list[bytes]] = field(default_factory=dict)
    folders: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    """The members of each version of a folder."""


class Soak:
    """One storage, one folder, and runs that are killed."""

    def __init__(self, service: FakeService, cli: Cli, seed: int, members: int) -> None:
        self._members = members
        self._unpacked: set[str] = set()
        """The folders in which the last run that was killed unpacked archives."""
        self.tally = Tally()
        self._service = service
        self._cli = cli
        self._chance = random.Random(seed)
        self._usual = 0.5
        self._asked = 0
        self._changes = 0
        for number, size in enumerate(SIZES):
            self._change(service.add(f"dir-{number % 5}/file-{number}.bin"), size)
        for number in range(FOLDERS):
            self._change_folder(service.add(f"tree-{number}/dist"))

    def _change_folder(self, stored: Stored) -> None:
        """Replace an archive by another: members stay, come, go and change their kind."""
        files: dict[str, bytes] = {}
        for number in range(self._members):
            kind = self._chance.randrange(4)
            name = ["", f"m-{number}", f"m-{number}/x", f"d-{number % 7}/m-{number}"][kind]
            if name:
                body = b"same" if number % 2 else self._chance.randbytes(number % 300 * 10)
                files[name] = body
        self.tally.folders.setdefault(stored.local_path, []).append(dict(files))
        pack = COMPRESSIONS[self._chance.choice([*COMPRESSIONS])]
        self._put(stored, pack(packed({f"dist/{name}": body for name, body in files.items()})))

    def _change(self, stored: Stored, size: int) -> None:
        """Replace an object by another, with new dates."""
        self._put(stored, self._chance.randbytes(size))

    def _put(self, stored: Stored, body: bytes) -> None:
        self._changes += 1
        stored.body = body
        stored.dates = {**stored.dates, "updated_at": f"version {self._changes}"}
        stored.replies = [self._sometimes_cut(ranged(stored.body, etag=f'"{self._changes}"'))]
        self.tally.versions.setdefault(stored.local_path, []).append(stored.body)

    def _sometimes_cut(self, good: Callable[[Received], Response]) -> Reply:
        def reply(received: Received) -> Response:
            answer = good(received)
            if self._chance.random() > 0.02:
                return answer
            return replace(answer, cut_after=self._chance.randrange(len(answer.body) + 1))

        return reply

    def once(self) -> None:
        """Run the program, and kill it or let it end; check what it leaves."""
        self.tally.runs += 1
        if self._chance.random() < 0.1:
            self._service.expire()
        options = self._chance.choice(OPTIONS)
        if as_it_came := self._chance.random() < 0.2:
            options = (*options, "--no-unpack")
        began, self._asked = time.monotonic(), len(self._service.api.requests)
        process = self._cli.start("download", "7", *CUBE, "-d", "out", "-q", *options)
        number = self._end(process, self._chance.uniform(0.1, self._usual))
        finished = self._cli.finish(process)
        expected = (0, ENDS[number]) if number else (0,)
        assert finished.code in expected, f"exit {finished.code}: {finished.err}"
        if finished.code:
            self.tally.kills += 1
            before, self._unpacked = self._unpacked, self._asides()
            self.tally.unpacking += bool(self._unpacked - before)
            self._check_finals()
        else:
            self._usual += 0.3 * (min(time.monotonic() - began, 5.0) - self._usual)
            self._check_complete(packed=as_it_came)
            self._go_on()

    def _asides(self) -> set[str]:
        return {path.name for path in (self._cli.out / STATE).glob(f"partial/*.{SUFFIX}")}

    def _end(self, process: subprocess.Popen[bytes], after: float) -> signal.Signals | None:
        """End a run after so many seconds, if it has not ended by then."""
        if self._chance.random() < 0.1:
            after = SLOWEST_RUN
        try:
            process.wait(after)
            return None
        except subprocess.TimeoutExpired:
            number = self._chance.choice(SIGNALS)
        if number is not signal.SIGKILL:
            # A killed interpreter that has not started our program yet shows its own traceback.
            eventually(lambda: self._is_at_it(process), "the program has begun")
        process.send_signal(number)
        return number

    def _is_at_it(self, process: subprocess.Popen[bytes]) -> bool:
        return process.poll() is not None or len(self._service.api.requests) > self._asked

    def _check_finals(self) -> None:
        for name, body in tree(self._cli.out).items():
            known = self.tally.versions.get(name, [])
            folder, _, member = name.partition("/dist/")
            versions = self.tally.folders.get(f"{folder}/dist", [])
            known = [*known, *(one[member] for one in versions if member in one)]
            assert body in known, f"{name} is no version of its object"

    def _check_complete(self, *, packed: bool) -> None:
        self.tally.complete += 1
        newest = {name: versions[-1] for name, versions in self.tally.versions.items()}
        for folder, trees in () if packed else self.tally.folders.items():
            del newest[folder]
            newest |= {f"{folder}/{name}": body for name, body in trees[-1].items()}
        assert tree(self._cli.out) == newest, "the bytes are not the newest"
        left = sorted(path.name for path in (self._cli.out / STATE).iterdir())
        assert left == [".gitignore", "manifest.json"], f"left behind: {left}"

    def _go_on(self) -> None:
        """Begin again with an empty folder, or replace some objects."""
        if self._chance.random() < 0.5:
            shutil.rmtree(self._cli.out)
        large = self._service.artifacts[len(SIZES) - 1]
        others = self._service.artifacts[: len(SIZES) - 1]
        for stored in self._service.artifacts[len(SIZES) :]:
            if self._chance.random() < 0.7:
                self._change_folder(stored)
        for stored in [*self._chance.sample(others, 5), large]:
            self._change(stored, len(stored.body) and len(stored.body) + 1)
        for versions in self.tally.versions.values():
            del versions[:-2]  # the folder has no older one
        for trees in self.tally.folders.values():
            del trees[:-2]

    def close(self) -> None:
        """End processes that are still running."""
        self._cli.close()


def soak(
    home: Path,
    enough: Callable[[Tally], bool],
    seed: int,
    make: Callable[[Path, FakeService], Cli] = Cli,
    members: int = MEMBERS,
) -> Tally:
    """Kill and run again for long enough, and then until the folder is complete.

    `make` returns what runs the command; `members` is for each folder. Raises AssertionError
    if bytes are lost or mixed.
    """
    with FakeService() as service:
        service.storage.close()
        service.storage = SlowServer(host="localhost")
        service.storage.on("/", service._store)
        with service.storage:
            one = Soak(service, make(home, service), seed, members)
            try:
                complete = -1
                while not enough(one.tally) or one.tally.complete == complete:
                    if not enough(one.tally):
                        complete = one.tally.complete
                    one.once()
                return one.tally
            finally:
                one.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak for some minutes, and print the tally."""
    parser = argparse.ArgumentParser(description="Kill downloads at random, and run them again.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=LEAST_KILLS, help="at least so many")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}", flush=True)
    until = time.monotonic() + 60 * chosen.minutes

    def enough(tally: Tally) -> bool:
        shown = f"\r{tally.runs} runs, {tally.kills} killed, {tally.unpacking} unpacking"
        shown += f", {tally.complete} folders complete"
        print(shown, end="", flush=True)
        return bool(time.monotonic() >= until and tally.kills >= chosen.kills)

    with tempfile.TemporaryDirectory() as home:
        soak(Path(home), enough, chosen.seed, members=MANY_MEMBERS)
    print("\nnothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
