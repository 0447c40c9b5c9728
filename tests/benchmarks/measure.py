"""Run commands in turns, and measure each: seconds, CPU, switches, or peak memory."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LONGEST = 300
# A child starts with the peak of its parent, so a bare interpreter is in between.
_PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


class Broken(Exception):
    """A command that failed, or whose result is wrong."""


def _accept(folder: Path, stdout: bytes) -> None:
    """Check nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A command to be compared, run in an empty folder; `check` checks its files and stdout.

    A check raises `Broken`.
    """

    name: str
    argv: Sequence[str]
    check: Callable[[Path, bytes], None] = _accept
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Result:
    """The results of one contender, or the problem that prevented its runs.

    `values` are seconds or MiB; `cpu` is seconds of CPU time, `switches` are context switches of
    threads, both in all processes of the command.
    """

    name: str
    values: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    switches: list[float] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs contenders below one folder, in an environment with only the variables named here.

    `within` is a command that runs another one somewhere else.
    """

    scratch: Path
    env: Mapping[str, str]
    within: Sequence[str] = ()

    def race(self, contenders: Sequence[Contender], runs: int) -> list[Result]:
        """Measure seconds: one checked run of each, then runs in turns."""
        return self._by_turns(contenders, runs, self._seconds)

    def weigh(self, contenders: Sequence[Contender], runs: int) -> list[Result]:
        """Measure the peak resident MiB of a command's largest process, after a checked run."""
        return self._by_turns(contenders, runs, self._peak)

    def _by_turns(
        self, contenders: Sequence[Contender], runs: int, measure: Callable[[Contender], float]
    ) -> list[Result]:
        results = [Result(contender.name) for contender in contenders]
        turns = [self._check, *[measure] * runs]
        for turn in turns:
            for contender, result in zip(contenders, results, strict=True):
                if not result.problem:
                    self._turn(contender, result, turn)
        return results

    def _turn(
        self, contender: Contender, result: Result, turn: Callable[[Contender], float | None]
    ) -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            value = turn(contender)
        except Broken as error:
            result.problem = str(error)
            return
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if value is not None:
            result.values.append(value)
            result.cpu.append(_cpu(after) - _cpu(before))
            result.switches.append(_switches(after) - _switches(before))

    def _check(self, contender: Contender) -> None:
        if shutil.which(contender.argv[0]) is None:
            raise Broken("not installed")
        self._run(contender, contender.argv, contender.check)

    def _seconds(self, contender: Contender) -> float:
        seconds, _ = self._run(contender, contender.argv)
        return seconds

    def _peak(self, contender: Contender) -> float:
        argv = [sys.executable, "-I", "-S", "-c", _PEAK, *contender.argv]
        _, stdout = self._run(contender, argv)
        return int(stdout) / 1024

    def _run(
        self,
        contender: Contender,
        argv: Sequence[str],
        check: Callable[[Path, bytes], None] = _accept,
    ) -> tuple[float, bytes]:
        env = {**self.env, **contender.env}
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            os.sync()  # no run pays for the writes of another
            start = time.perf_counter()
            try:
                done = subprocess.run(
                    [*self.within, *argv],
                    cwd=folder,
                    env=env,
                    capture_output=True,
                    timeout=_LONGEST,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise Broken(f"still running after {_LONGEST} s") from error
            seconds = time.perf_counter() - start
            if done.returncode != 0:
                last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
                raise Broken(f"exit {done.returncode}: {last}")
            check(Path(folder), done.stdout)
        return seconds, done.stdout


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _switches(usage: resource.struct_rusage) -> int:
    return usage.ru_nvcsw + usage.ru_nivcsw


def spread(folder: Path) -> None:
    """Make ext4 put the folders in this one far from each other; no effect elsewhere.

    For minutes ext4 skips recently freed inodes in the same region of the disk one by one: after
    some thousand removals, creating a file takes up to twenty times as long.
    """
    if program := shutil.which("chattr"):
        subprocess.run([program, "+T", str(folder)], capture_output=True, check=False)
