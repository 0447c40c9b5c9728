"""What is written down of partial data: which bytes of which version of an object to trust."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..http.checksums import ALGORITHMS
from ..http.ranges import Version
from .spans import Span

SCHEMA = 1
_SENDABLE = re.compile(r"[\x20-\x7e\x80-\xff]+")
"""What can be sent back in `If-Range`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a part: the spans that are `done`, and those `synced` to the disk.

    While the machine has not been started anew, what a killed program wrote is still there, and
    `done` counts; after that, only `synced`. `in_order` tells that the part was written from its
    start on without a hole, so that also its length tells what is done.
    """

    version: Version
    digests: dict[str, bytes]
    done: list[Span]
    synced: list[Span]
    in_order: bool
    boot: str | None = None

    @property
    def told(self) -> tuple[list[Span], bool]:
        """What changes from one checkpoint of a part to the next."""
        return self.done, self.in_order

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        value = {
            "schema_version": SCHEMA,
            "validator": self.version.validator,
            "size": self.version.size,
            "digests": {name: digest.hex() for name, digest in self.digests.items()},
            "boot": boot_id(),
            "done": self.done,
            "synced": self.synced,
            "in_order": self.in_order,
        }
        return json.dumps(value).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Checkpoint:
        """Read a file's content. Raises ValueError, KeyError or TypeError for what is not ours."""
        try:
            value: Any = json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if value["schema_version"] != SCHEMA:
            raise ValueError("it is of another version")
        validator, size = value["validator"], value["size"]
        if not _SENDABLE.fullmatch(validator) or type(size) is not int or size <= 0:
            raise ValueError("it names no version of an object")
        digests = _read_digests(value["digests"])
        done, synced = (_read_spans(value[name], size) for name in ("done", "synced"))
        version, in_order = Version(validator, size), value["in_order"] is True
        return cls(version, digests, done, synced, in_order, value["boot"])

    def trusted(self, on_disk: int) -> list[Span]:
        """Return the spans to trust, given the length of the part file in bytes."""
        if self.boot is None or self.boot != boot_id():
            return [span for span in self.synced if span[1] <= on_disk]
        if self.in_order:
            return [(0, min(on_disk, self.version.size or 0))] if on_disk else []
        return [span for span in self.done if span[1] <= on_disk]


def _read_digests(value: Any) -> dict[str, bytes]:
    if not isinstance(value, dict) or not value.keys() <= ALGORITHMS:
        raise ValueError("its digests are not known")
    return {name: bytes.fromhex(text) for name, text in value.items()}


def _read_spans(value: Any, size: int) -> list[Span]:
    spans: list[Span] = []
    at = 0
    for start, end in value:
        if type(start) is not int or type(end) is not int or not at <= start < end <= size:
            raise ValueError("its spans are out of order")
        spans.append((start, end))
        at = end
    return spans


@cache
def boot_id() -> str | None:
    """Return what tells this start of the machine from others, or None where it is not told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() or None
    except OSError:
        return None
