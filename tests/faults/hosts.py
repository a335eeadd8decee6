"""Hosts as network namespaces on one bridge. A host can be cut off from all others."""

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Generator
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """A namespace with one address."""

    name: str
    address: str
    link: str
    """The bridge's end of its cable."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before a command that runs on this host."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Pull the cable: no packet arrives or leaves, and no connection is reset."""
        _ip("link", "set", self.link, "down")

    def mend(self) -> None:
        _ip("link", "set", self.link, "up")


def why_no_hosts() -> str | None:
    """Why this machine cannot make network namespaces; None if it can."""
    if shutil.which("ip") is None:
        return "`ip` (iproute2) is not installed"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    try:
        with hosts(1):
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made: {error.stderr.strip()}"


@contextlib.contextmanager
def hosts(number: int) -> Generator[list[Host]]:
    """Make hosts that reach one another and that this process reaches."""
    token = secrets.token_hex(3)
    # One of 65,536 networks of the range for benchmarks and private use, so that parallel tests do not meet.
    network = f"10.{secrets.randbelow(64) + 128}.{secrets.randbelow(256)}"
    bridge = f"rb{token}"
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "delete", bridge)
        _ip("address", "add", f"{network}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        yield [_host(f"r{token}-{index}", network, bridge, index, stack) for index in range(1, number + 1)]


def _host(name: str, network: str, bridge: str, index: int, stack: contextlib.ExitStack) -> Host:
    host = Host(name, f"{network}.{index}", f"v{name}")
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "delete", name)  # its end of the cable goes with it
    _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", host.link, "master", bridge, "up")
    for words in (
        ("address", "add", f"{host.address}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("link", "set", "lo", "up"),
    ):
        _ip("-netns", name, *words)
    return host


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
