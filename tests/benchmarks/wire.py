"""A simulated network on this machine: two network namespaces with a round trip and a rate.

Needs root, `ip netns`, /dev/net/tun and a C compiler. All traffic stays between the namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .loopback import ended

_SOURCE = Path(__file__).with_name("wire.c")
SERVER = "10.213.77.1"
_CLIENT = "10.213.77.2"


@dataclass(frozen=True, slots=True)
class Net:
    """A network: its round trip and queue in milliseconds, and its megabits a second."""

    name: str
    round_trip: float
    megabits: float
    queue: float


NETS = {
    "ci": Net("ci", 10, 1000, 50),
    "office": Net("office", 30, 200, 100),
}


def read_net(text: str) -> Net:
    """Return a net by its name, or by `ROUND_TRIP_MS/MEGABITS/QUEUE_MS`. Raises ValueError."""
    if text in NETS:
        return NETS[text]
    round_trip, megabits, queue = (float(word) for word in text.split("/"))
    return Net(text, round_trip, megabits, queue)


@dataclass(frozen=True, slots=True)
class Ends:
    """The commands that run another command at the server's or the client's end of the wire."""

    server: Sequence[str]
    client: Sequence[str]


@contextmanager
def wired(net: Net, directory: Path) -> Iterator[Ends]:
    """Set up the network until the context ends; the server's end has the address `SERVER`.

    Raises `RuntimeError` if the machine lacks something that it needs.
    """
    binary = _compiled(directory)
    spaces = [f"bench-{os.getpid()}-{end}" for end in ("server", "client")]
    devices = [f"bw{os.getpid() % 100000}{end}" for end in "sc"]
    with ExitStack() as stack:
        numbers = [str(number) for number in (net.round_trip, net.megabits, net.queue)]
        command = [str(binary), *devices, *numbers]
        process = stack.enter_context(ended(subprocess.Popen(command, stdout=subprocess.PIPE)))
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError("no wire: /dev/net/tun cannot be used")
        for space, device, address in zip(spaces, devices, (SERVER, _CLIENT), strict=True):
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            _ip("link", "set", device, "netns", space)
            inside = ("-n", space)
            _ip(*inside, "link", "set", "lo", "up")
            _ip(*inside, "addr", "add", f"{address}/24", "dev", device)
            _ip(*inside, "link", "set", device, "mtu", "1500", "txqueuelen", "10000", "up")
        yield Ends(*(("ip", "netns", "exec", space) for space in spaces))


def _compiled(directory: Path) -> Path:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or shutil.which("ip") is None or os.geteuid() != 0:
        raise RuntimeError("a wire needs root, a C compiler and `ip netns` (Debian: gcc, iproute2)")
    binary = directory / "wire"
    command = [compiler, "-O2", "-pthread", "-o", str(binary), str(_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"wire.c cannot be compiled: {done.stderr}")
    return binary


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
