"""Bounds the connections of a process. Idle ones give way to new ones, and health checks always find room.

A client needs no key to open a connection and say nothing. Knows addresses and counts; knows no HTTP.
"""

import ipaddress
from collections import OrderedDict
from typing import Protocol

HEALTH_CONNECTIONS = 32
"""Connections beyond the maximum that are accepted and may only check the health."""
IPV6_SITE_BYTES = 8
"""A client with IPv6 usually has all addresses of a /64."""


class Closable(Protocol):
    def close_idle(self) -> None:
        """Close the connection, which waits for a request."""
        ...


class Connections:
    """All connections of a process, and the idle ones in the order in which they became idle."""

    def __init__(self, max_connections: int, max_idle_per_address: int) -> None:
        self._max_connections = max_connections
        self._max_idle_per_address = max_idle_per_address
        self._open: set[Closable] = set()
        self._idle: OrderedDict[Closable, str] = OrderedDict()
        self._idle_of: dict[str, OrderedDict[Closable, None]] = {}

    @property
    def is_full(self) -> bool:
        """Whether only health checks may be answered on a new connection."""
        return len(self._open) > self._max_connections

    @property
    def is_overfull(self) -> bool:
        """Whether a new connection must be refused."""
        return len(self._open) > self._max_connections + HEALTH_CONNECTIONS

    def opened(self, connection: Closable) -> None:
        """Count a new connection. At the maximum, the one that is idle for the longest time is closed."""
        self._open.add(connection)
        if self.is_full and self._idle:
            self._close(next(iter(self._idle)))

    def closed(self, connection: Closable) -> None:
        self._open.discard(connection)
        self.busy(connection)

    def idle(self, connection: Closable, address: str) -> None:
        """Note that the connection waits for a request. An address keeps its latest ones only."""
        self.busy(connection)
        self._idle[connection] = address
        of_address = self._idle_of.setdefault(address, OrderedDict())
        of_address[connection] = None
        if len(of_address) > self._max_idle_per_address:
            self._close(next(iter(of_address)))

    def busy(self, connection: Closable) -> None:
        """Note that the connection has a request, or is gone."""
        address = self._idle.pop(connection, None)
        if address is None:
            return
        of_address = self._idle_of[address]
        del of_address[connection]
        if not of_address:
            del self._idle_of[address]

    def _close(self, connection: Closable) -> None:
        self.closed(connection)  # its place is free at once, before the loop has closed its socket
        connection.close_idle()


def site_of(address: str) -> str:
    """Return the address, or for IPv6 the network of its client."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else parsed.packed[:IPV6_SITE_BYTES].hex()
