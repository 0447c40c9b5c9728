"""Nothing is lost and nothing is mixed, whatever happens between and during runs.

Whole downloads run in this process, from a storage with scripted faults. To test a kill, the folder
is copied as it was before one of the program's changes to it, and the next run starts from there.
`SOURCECRAFT_TEST_EXAMPLES=N` tries N times as many stories.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from archives import packed
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from servers import Received, Response, ScriptedServer, ranged

from sourcecraft_artifacts.disk import aside, hashing, partial, sums
from sourcecraft_artifacts.downloads import prepared_folder
from sourcecraft_artifacts.downloads.download import download
from sourcecraft_artifacts.downloads.request import Request
from sourcecraft_artifacts.downloads.verify import verify
from sourcecraft_artifacts.errors import Interrupted
from sourcecraft_artifacts.http import blocks, connection
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.results import Outcome, Report
from sourcecraft_artifacts.service.address import Address
from sourcecraft_artifacts.service.api import Client
from sourcecraft_artifacts.transfer import hasher, pacing, saving, scheduler, slices, transfer
from sourcecraft_artifacts.transfer.pacing import Pace, Use

pytestmark = pytest.mark.skipif(os.name == "nt", reason="patches calls that Windows lacks")

CUBE = CubeAddress("org/repo", "7", "ci", "build", "linux")
ADDRESS = Address("org/repo", "7", "ci", "build", "linux")
MORE = int(os.environ.get("SOURCECRAFT_TEST_EXAMPLES", "1"))
STATE = ".sourcecraft-artifacts"
Fault = tuple[str, int]


class Wide(Pace):
    """A pace that allows one file four connections from the start."""

    def __init__(self, most: int | None) -> None:
        super().__init__(most)
        self.width = min(4, most or 4)

    def tick(self, now: float, received: int, use: Use, *, wanted: int) -> None:
        """Change nothing."""


def fsync(descriptor: int) -> None:
    """Sync nothing: `Disk`, which knows this by its name, notes what a power cut would keep."""


@contextmanager
def small_world() -> Iterator[pytest.MonkeyPatch]:
    """Divide all sizes and times by a thousand: a file of 100 kB counts as large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "Pace", Wide)
        patch.setattr(scheduler, "_PULSE", 0.002)
        patch.setattr(saving, "_SAVE_EVERY", 0.002)
        patch.setattr(saving, "_SYNC_EVERY", 0.01)
        patch.setattr(slices, "MIN_PIECE", 1 << 10)
        patch.setattr(slices, "MAX_PIECE", 1 << 14)
        patch.setattr(transfer, "backoff", lambda tries, after=None: 0.0)
        patch.setattr(partial, "LARGE", 1 << 14)
        patch.setattr(hashing, "BLOCK", 1 << 12)
        patch.setattr(hasher, "_LAG", 1 << 12)
        patch.setattr(partial, "FIRST_CHECKPOINT", 1 << 12)
        patch.setattr(sums, "_BLOCK", 1 << 12)
        patch.setattr(pacing.RateLimit, "buffer_size", 1 << 12)
        patch.setattr(blocks, "SIZE", 1 << 13)
        patch.setattr(connection, "_LEAST_ROOM", 1 << 12)
        patch.setattr(os, "fsync", fsync)
        yield patch


@dataclass
class Thing:
    """One artifact: all versions of its object so far, and the headers that the storage sends."""

    name: str
    size: int
    kind: str = "etag"
    versions: list[bytes] = field(default_factory=list)

    def change(self) -> None:
        """Replace the object by another one, of about the size."""
        chance = random.Random(f"{self.name} {len(self.versions)}")
        self.versions.append(chance.randbytes(self.size + chance.randrange(5)))

    def reply(self, received: Received, **oddity: bool) -> Response:
        """Respond as the storage does without faults."""
        number = len(self.versions)
        etags = {"etag": f'"{number}"', "weak": f'W/"{number}"'}
        date = f"Sat, 01 Nov 2025 10:00:{number % 60:02d} GMT" if self.kind == "date" else None
        headers = {}
        if self.kind == "none":
            digest = hashlib.sha256(self.versions[-1]).digest()
            headers = {"Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"}
        return ranged(
            self.versions[-1],
            etag=etags.get(self.kind),
            last_modified=date,
            headers=headers,
            **oddity,
        )(received)


TREES: list[dict[str, bytes]] = [
    {"a": b"1" * 900, "same": b"s", "gone/x": b"g", "kind": b"k", "was/f": b"w", "empty": b""},
    {"a": b"2" * 800, "same": b"s", "new/d/y": b"n", "kind/k": b"l", "was": b"v", "empty": b""},
]


@dataclass
class Packed(Thing):
    """An artifact that is a folder, which the service stores as an archive."""

    trees: list[dict[str, bytes]] = field(default_factory=list)

    def change(self) -> None:
        """Replace the folder by another one: files stay, change, go, come, and become folders."""
        tree = TREES[len(self.trees) % len(TREES)]
        self.trees.append({f"{self.name}/{name}": body for name, body in tree.items()})
        self.versions.append(packed(self.trees[-1]))


class Service:
    """The API and a storage for some things; the next requests meet `faults`, in order."""

    def __init__(self, *things: Thing) -> None:
        self.things = {thing.name: thing for thing in things}
        self.gone: dict[str, Thing] = {}
        for thing in things:
            thing.change()
        self.generation = 1
        self.faults: list[Fault] = []
        self.asked = 0
        self.interrupt_at = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self.server = ScriptedServer()
        self.server.on("/", self._reply)
        self.server.__enter__()

    def artifacts(self, _: CubeAddress) -> list[Artifact]:
        """Return all things, dated by their versions."""
        return [
            Artifact(
                CUBE,
                thing.name,
                "success",
                ArtifactDates(updated_at=f"2026-11-01T10:{len(thing.versions):02d}:00Z"),
                download_url=f"{self.server.url}/{self.generation}/{thing.name}?sig=x",
            )
            for thing in self.things.values()
        ]

    def asked_by_last_listing(self) -> list[str]:
        """Return what was requested from the storage by the newest URLs."""
        targets = [received.target for received in self.server.requests]
        return [one for one in targets if one.startswith(f"/{self.generation}/")]

    def newest(self) -> dict[str, bytes]:
        """Return the files of the newest versions, by place."""
        found: dict[str, bytes] = {}
        for thing in self.things.values():
            found |= (
                thing.trees[-1] if isinstance(thing, Packed) else {thing.name: thing.versions[-1]}
            )
        return found

    def versions_of(self, place: str) -> list[bytes]:
        """Return all that a file may hold; an archive may also lie where its folder will be."""
        if place in self.gone or place in self.things:
            return {**self.gone, **self.things}[place].versions
        folders = [thing for thing in self.things.values() if isinstance(thing, Packed)]
        return [tree[place] for thing in folders for tree in thing.trees if place in tree]

    def _reply(self, received: Received) -> Response:
        _, generation, rest = received.target.split("/", 2)
        thing = self.things[rest.partition("?")[0]]
        with self._lock:
            self.asked += 1
            kind, number = self.faults.pop(0) if self.faults else ("", 0)
            if kind == "expire":
                self.generation += 1
            if kind == "change":
                thing.change()
            if int(generation) != self.generation:
                return Response(403)
            if self.asked == self.interrupt_at:
                return self._interrupt(thing.reply(received))
        return self._spoiled(thing, received, kind, number)

    def _interrupt(self, good: Response) -> Response:
        """Send a signal when half of a response has been sent."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        return replace(good, gate=self.over)

    def _spoiled(self, thing: Thing, received: Received, kind: str, number: int) -> Response:
        good = thing.reply(received)
        if kind == "cut":
            return replace(good, cut_after=number)
        if kind == "reset":
            return replace(good, reset_after=number)
        if kind in ("ignore_range", "status_200_with_content_range", "wrong_start"):
            return thing.reply(received, **{kind: True})
        if kind == "status":
            return Response(number)
        if kind == "short" and good.status == 206:
            return replace(good, body=good.body[: number % 100], no_length=True)
        return good

    def close(self) -> None:
        """Stop the storage."""
        self.over.set()
        self.server.close()


class Disk:
    """Observes changes to the disk one by one, and makes what a kill or a power cut leaves.

    `before` is called before each change, while all other changes wait. It is known which files and
    names were synced; a power cut may keep or lose any combination of the other changes.
    """

    CALLS = ("open", "mkdir", "pwrite", "write", "replace", "unlink", "rmdir", "fsync")

    def __init__(self) -> None:
        self.before: Callable[[int], None] = lambda number: None
        self._contents: dict[int, bytes] = {}
        """Synced bytes, by the numbers of their files."""
        self._names: dict[int, dict[str, int]] = {}
        """Synced names, with the numbers of what they lead to, by the numbers of their folders."""
        self._kept: dict[int, int] = {}
        """A descriptor of each, so that its number is given to nothing else."""
        self.changes = 0
        """How many changes there were since they are watched."""
        self._lock = threading.RLock()
        self._ours = threading.local()

    def close(self) -> None:
        """Close what keeps the numbers; the disk is of no use afterwards."""
        for descriptor in self._kept.values():
            os.close(descriptor)
        self._kept.clear()

    @contextmanager
    def watched(self, before: Callable[[int], None] = lambda number: None) -> Iterator[None]:
        """Watch the changes until the end of the context, and count them from 1 on."""
        self.before, self.changes = before, 0
        with pytest.MonkeyPatch.context() as patch:
            for name in self.CALLS:
                patch.setattr(os, name, self._spy(getattr(os, name)))
            yield

    def _spy(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            reads = real.__name__ == "open" and not args[1] & os.O_CREAT
            if reads or getattr(self._ours, "busy", False):
                return real(*args, **options)
            with self._lock:
                self._ours.busy = True
                try:
                    self.changes += 1
                    self.before(self.changes)
                    if real.__name__ == "fsync":
                        self._note(args[0])
                finally:
                    self._ours.busy = False
                return real(*args, **options)

        return call

    def _note(self, descriptor: int) -> None:
        with suppress(OSError):
            number = self._keep(f"/proc/self/fd/{descriptor}")
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                self._names[number] = self._listed(f"/proc/self/fd/{descriptor}")
            else:
                self._contents[number] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def _keep(self, path: str) -> int:
        descriptor = os.open(path, os.O_PATH)
        number = os.fstat(descriptor).st_ino
        if number in self._kept:
            os.close(descriptor)
        else:
            self._kept[number] = descriptor
        return number

    def _listed(self, path: str) -> dict[str, int]:
        return {name: self._keep(f"{path}/{name}") for name in os.listdir(path)}

    def snapshot(self, folder: Path, copy: Path, *, power: bool, chance: str = "") -> None:
        """Copy a folder as a kill leaves it, or with `power` as a power cut leaves it.

        `chance` decides which changes a power cut loses; without it, all that were not synced.
        """
        shutil.rmtree(copy, ignore_errors=True)
        self._ours.busy = True
        try:
            if folder.exists() and not power:
                shutil.copytree(folder, copy, symlinks=True)
            elif folder.exists():
                drawn = random.Random(chance)
                self._restore(self._keep(str(folder)), copy, drawn if chance else None)
            self._learn(copy)
        finally:
            self._ours.busy = False

    def sync_all(self, folder: Path) -> bool:
        """Note that all of a folder is synced."""
        with self._lock:
            self._learn(folder)
        return True

    def _learn(self, path: Path) -> None:
        """Count everything on disk as synced, as after a restart of the machine."""
        if path.is_dir():
            self._names[self._keep(str(path))] = self._listed(str(path))
            for below in path.iterdir():
                self._learn(below)
        elif path.exists():
            self._contents[self._keep(str(path))] = path.read_bytes()

    def _restore(self, folder: int, copy: Path, chance: random.Random | None) -> None:
        copy.mkdir(parents=True)
        safe, path = self._names.get(folder, {}), f"/proc/self/fd/{self._kept[folder]}"
        now = self._listed(path)
        for name in sorted({*safe, *now}):
            there = [names.get(name) for names in (safe, now)]
            number = there[0] if chance is None else chance.choice(there)
            if number is None:
                continue
            if stat.S_ISDIR(os.stat(f"/proc/self/fd/{self._kept[number]}").st_mode):
                self._restore(number, copy / name, chance)
            else:
                (copy / name).write_bytes(self._restored(number, chance))

    def _restored(self, number: int, chance: random.Random | None) -> bytes:
        safe = self._contents.get(number, b"")
        now = Path(f"/proc/self/fd/{self._kept[number]}").read_bytes()
        lost = safe[: len(now)] + bytes(len(now) - len(safe[: len(now)]))
        return lost if chance is None else chance.choice([safe, lost, now])


def run(service: Service, folder: Path, **options: Any) -> Report:
    """Run the program once; a bug in it fails the test."""
    if "output" not in options:
        options["directory"] = str(folder)
    request = Request(ADDRESS, stall_timeout=20, **options)
    report = download(cast("Client", service), request)
    for result in report.files:
        assert result.error is None or result.error.code != "local", result.error
    return report


def check_finals(service: Service, folder: Path) -> None:
    """Check that each final name is absent, or one whole version of its object."""
    for path in folder.rglob("*") if folder.exists() else ():
        place = path.relative_to(folder)
        if path.is_file() and place.parts[0] != STATE:
            assert path.read_bytes() in service.versions_of(str(place)), place


def check_complete(service: Service, folder: Path) -> None:
    """Check that a clean run leaves the newest bytes and nothing else, and the next has no work."""
    report = run(service, folder)
    errors = [result.error for result in report.files if result.error]
    assert errors == []
    newest = service.newest()
    for place, body in newest.items():
        assert (folder / place).read_bytes() == body
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {*newest, f"{STATE}/manifest.json", f"{STATE}/.gitignore"}
    assert not (folder / STATE / "partial").exists()
    assert {checked.state for checked in verify(str(folder))} == {"OK"}
    check_right(service, folder)


def check_right(service: Service, folder: Path) -> None:
    """Check that a run has nothing to do, and asks the storage nothing."""
    service.generation += 1  # requests of earlier runs may still come
    report = run(service, folder)
    assert {result.outcome for result in report.files} == {Outcome.UNCHANGED}
    assert service.asked_by_last_listing() == []


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Make SIGUSR1 in this process do what SIGTERM does in the program."""

    def interrupt(*_: object) -> None:
        raise Interrupted(signal.SIGTERM)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


# Any story.

FAULTS = st.one_of(
    st.tuples(st.sampled_from(["cut", "reset"]), st.integers(0, 120_000)),
    st.tuples(st.just("short"), st.integers(0, 99)),
    st.tuples(st.just("status"), st.sampled_from([404, 416, 429, 503])),
    st.tuples(
        st.sampled_from(
            [
                "",
                "expire",
                "change",
                "ignore_range",
                "status_200_with_content_range",
                "wrong_start",
            ]
        ),
        st.just(0),
    ),
)
KINDS = st.sampled_from(["etag", "date", "weak", "none"])
CUTS = st.lists(st.tuples(st.just("cut"), st.integers(1, 100_000)), max_size=3)


class Stories(RuleBasedStateMachine):
    """Runs that end in all ways, from a storage that fails in all ways."""

    @initialize(large=KINDS, small=KINDS, before=st.booleans())
    def begin(self, large: str, small: str, before: bool) -> None:
        """Begin with an empty folder, or with an older version of all files."""
        self._world = small_world()
        self._world.__enter__()
        self._folder = tempfile.TemporaryDirectory()
        self.base = Path(self._folder.name)
        self.folder = self.base / "out"
        things = [Thing("large", 100_000, large), Thing("dir-small", 900, small), Thing("empty", 0)]
        self.service = Service(*things)
        self.disk = Disk()
        if before:
            with self.disk.watched():
                run(self.service, self.folder)
            for thing in things:
                thing.change()

    @rule(name=st.sampled_from(["large", "dir-small"]))
    def change(self, name: str) -> None:
        """Another object takes the place of one."""
        self.service.things[name].change()

    @rule()
    def expire(self) -> None:
        """All URLs expire."""
        self.service.generation += 1

    @rule(faults=st.lists(FAULTS, max_size=8), retries=st.integers(0, 2))
    def run_to_its_end(self, faults: list[Fault], retries: int) -> None:
        """A run meets these faults, and succeeds or fails."""
        self.service.faults[:] = faults
        with self.disk.watched():
            run(self.service, self.folder, retries=retries)

    @rule(faults=st.lists(FAULTS, max_size=4), at=st.integers(1, 6))
    def suspend(self, faults: list[Fault], at: int) -> None:
        """A signal ends a run in the middle of a response."""
        self.service.faults[:] = faults
        self.service.over.clear()
        self.service.interrupt_at = self.service.asked + at
        with self.disk.watched(), signals_interrupt(), suppress(Interrupted):
            run(self.service, self.folder)
        self.service.interrupt_at = 0
        self.service.over.set()

    @rule(faults=st.lists(FAULTS, max_size=4), at=st.integers(1, 120), power=st.booleans())
    def kill(self, faults: list[Fault], at: int, power: bool) -> None:
        """A run ends before one of its changes to the disk, as by kill -9 or a power cut."""
        self.service.faults[:] = faults
        copy = self.base / "copy"

        def before(number: int) -> None:
            if number == at:
                self.disk.snapshot(self.folder, copy, power=power, chance=f"{at}")

        with self.disk.watched(before):
            run(self.service, self.folder, retries=1)
        if copy.exists():
            shutil.rmtree(self.folder)
            copy.rename(self.folder)

    @rule(at=st.integers(0, 9), length=st.integers(0, 120_000), text=st.binary(max_size=20))
    def damage(self, at: int, length: int, text: bytes) -> None:
        """A file of the partial data is damaged."""
        files = sorted((self.folder / STATE / "partial").glob("*"))
        if files:
            path = files[at % len(files)]
            if path.suffix == ".json" or not length:
                path.write_bytes(path.read_bytes()[: length % 100] + text)
            else:
                os.truncate(path, min(length, path.stat().st_size))

    @invariant()
    def no_final_name_is_wrong(self) -> None:
        """Each final name is one whole version."""
        if hasattr(self, "service"):
            check_finals(self.service, self.folder)

    def teardown(self) -> None:
        """In the end a clean run completes everything."""
        if hasattr(self, "service"):
            try:
                self.service.faults.clear()
                check_complete(self.service, self.folder)
            finally:
                self.service.close()
                self.disk.close()
                self._folder.cleanup()
                self._world.__exit__(None, None, None)


def test_any_story_ends_with_the_exact_bytes() -> None:
    """Cuts, changes, expiries, signals, kills, power cuts and damage, in any order."""
    run_state_machine_as_test(
        Stories,
        settings=settings(
            max_examples=25 * MORE,
            stateful_step_count=10,
            suppress_health_check=list(HealthCheck),
        ),
    )


# Every moment of some stories.


def crashed(
    disk: Disk, service: Service, folder: Path, copies: Path, *, power: str = "", **options: Any
) -> list[Path]:
    """Run once, and return copies of the folder before each change to it, and after the last.

    With `power` each copy is as after a power cut: changes that were not synced are lost, all of
    them or by `chance`. Of copies that are alike only the last one is returned.
    """
    found: dict[object, Path] = {}

    def before(number: int) -> None:
        copy = copies / f"{number}" / folder.name
        chance = f"{number} {MORE}" if power == "chance" else ""
        disk.snapshot(folder, copy, power=bool(power), chance=chance)
        if copy.exists():
            looks = appearance(copy, times=not power)
            found.pop(looks, None)
            found[looks] = copy

    with disk.watched(before):
        run(service, folder, **options)
    assert disk.changes > 20
    before(0)
    return list(found.values())


def appearance(folder: Path, *, times: bool) -> object:
    """Return what a run may see of a folder; after a power cut the times of all files are new."""
    found: list[object] = []
    for path in sorted(folder.rglob("*")):
        there = path.stat()
        body = path.read_bytes() if path.is_file() else b""
        time = there.st_mtime_ns if times and path.is_file() else 0
        found.append((path.relative_to(folder), there.st_mode, time, body))
    return tuple(found)


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Watch the disk during one test."""
    disk = Disk()
    yield disk
    disk.close()


SCENES = ["fresh", "resumed", "replaced", "changed", "moved"]


@pytest.fixture
def service() -> Iterator[Service]:
    """Serve two small files, and use the small world."""
    with small_world():
        service = Service(Thing("large", 40_000), Thing("small", 900))
        yield service
        service.close()


def prepare(scene: str, service: Service, folder: Path) -> None:
    """Create a folder's state before the interesting run."""
    if scene in ("replaced", "moved"):
        run(service, folder)
    if scene == "moved":  # a folder is needed where there is a file of the run before
        service.gone["small"] = service.things.pop("small")
        for name in ("small/a", "small/b/c"):
            service.things[name] = Thing(name, 700)
            service.things[name].change()
    if scene in ("resumed", "changed"):
        small = service.things.pop("small")
        service.faults[:] = [("cut", 20_000), *[("status", 503)] * 50]
        run(service, folder, retries=0)
        assert list(folder.rglob("*.part"))
        service.faults.clear()
        service.things["small"] = small
    if scene in ("replaced", "changed"):
        for thing in service.things.values():
            thing.change()


def check_moments(service: Service, moments: list[Path]) -> None:
    """Check a folder as each kill left it, and that the last one needs nothing more."""
    check_right(service, moments[-1])  # what is complete outlives the power
    for moment in moments:
        check_finals(service, moment)
        check_complete(service, moment)


@pytest.mark.parametrize("power", ["", "all", "chance"])
@pytest.mark.parametrize("scene", SCENES)
def test_a_kill_at_any_moment_loses_nothing(
    service: Service, disk: Disk, tmp_path: Path, scene: str, power: str
) -> None:
    """A run is killed before each single change to the disk; the next one completes the folder."""
    folder = tmp_path / "out"
    with disk.watched():
        prepare(scene, service, folder)
    moments = crashed(disk, service, folder, tmp_path / "copies", power=power)
    check_moments(service, moments)


@pytest.mark.parametrize("power", ["", "all", "chance"])
@pytest.mark.parametrize("scene", ["fresh", "replaced", "packed", "many"])
def test_a_kill_at_any_moment_of_a_folder(
    service: Service,
    disk: Disk,
    tmp_path: Path,
    scene: str,
    power: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same while an archive is unpacked, its files are put in place, and older ones removed."""
    service.things = {"dist": Packed("dist", 0)}
    service.things["dist"].change()
    folder = tmp_path / "out"
    if scene == "many":  # files are synced together with all else of the file system
        for module in (aside, prepared_folder):
            monkeypatch.setattr(module, "FEW", 1)
            monkeypatch.setattr(module, "sync_file_system", lambda _: disk.sync_all(folder))
    with disk.watched():
        if scene in ("replaced", "packed"):
            run(service, folder, unpack=scene != "packed")
    if scene == "replaced":
        service.things["dist"].change()
    moments = crashed(disk, service, folder, tmp_path / "copies", power=power)
    check_moments(service, moments)


@pytest.mark.parametrize("power", ["", "all", "chance"])
@pytest.mark.parametrize("scene", ["fresh", "resumed"])
def test_a_kill_at_any_moment_of_one_file(
    service: Service,
    disk: Disk,
    tmp_path: Path,
    scene: str,
    power: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After such a kill of `-o FILE` the next run leaves the file, and nothing else beside it."""
    service.things.pop("small")
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if scene == "resumed":
        service.faults[:] = [("cut", 20_000), *[("status", 503)] * 50]
        run(service, folder, retries=0, output=str(folder / "file"))
        service.faults.clear()
    copies, output = tmp_path / "copies", str(folder / "file")
    moments = crashed(disk, service, folder, copies, power=power, output=output)
    assert (moments[-1] / "file").read_bytes() == service.things["large"].versions[-1]
    body = service.things["large"].versions[-1]
    for moment in moments:
        assert not (moment / "file").exists() or (moment / "file").read_bytes() == body
        (result,) = run(service, moment, output=str(moment / "file")).files
        assert result.error is None
        assert {path.name: path.read_bytes() for path in moment.iterdir()} == {"file": body}


def test_what_came_before_a_kill_is_not_fetched_again(
    service: Service, disk: Disk, tmp_path: Path
) -> None:
    """A kill at any moment costs bytes that no checkpoint has: at most a fifth, mostly very few.

    Checkpoints are written after a quarter more bytes, and at timed intervals.
    """
    service.things.pop("small")
    received: list[int] = []
    moments = crashed(disk, service, tmp_path / "out", tmp_path / "copies", jobs=1)
    for moment in moments:
        held = sum(part.stat().st_size for part in moment.rglob("*.part"))
        (result,) = run(service, moment).files
        if result.outcome is Outcome.DOWNLOADED:
            received.append(held + result.transferred)
    size = len(service.things["large"].versions[-1])
    assert max(received) <= size + size // 4 + (1 << 12)
    assert min(received) <= size + (1 << 12)
    assert len(received) > 10


def test_a_stranger_is_never_replaced_for_a_failed_commit(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a user puts where a commit failed stays the user's."""
    folder = tmp_path / "out"
    service.things.pop("large")
    real = os.replace

    def refused(source: Any, target: Any, **options: Any) -> None:
        if target == "small":
            raise PermissionError(13, "no")
        real(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refused)
        report = download(cast("Client", service), Request(ADDRESS, directory=str(folder)))
    assert report.files[0].outcome is Outcome.FAILED
    (folder / "small").write_bytes(b"mine")
    with pytest.raises(Exception, match="did not put there"):
        run(service, folder)
    assert (folder / "small").read_bytes() == b"mine"
