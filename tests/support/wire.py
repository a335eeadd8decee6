"""HTTP/1.1 by hand over a socket: exact packets out, one response after the other in."""

import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Reply:
    """One response; `id` is its x-request-id, which the server copies from the request."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.fields["x-request-id"]


class Wire:
    """A connection. Every `send` leaves as packets of its own."""

    def __init__(self, port: int, *, timeout_s: float = 20) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._socket.close()

    def send(self, *packets: bytes, pause_s: float = 0.02) -> None:
        for number, packet in enumerate(packets):
            if number:
                time.sleep(pause_s)
            self._socket.sendall(packet)

    def reply(self) -> Reply:
        """The next final response; raises EOFError when the server closed instead."""
        head = self._until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split()[1])
        if status == 100:
            return self.reply()
        if fields.get("transfer-encoding") != "chunked":
            return Reply(status, fields, self._exactly(int(fields["content-length"])))
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size + 2)[:-2]
        self._exactly(2)
        return Reply(status, fields, body)

    def rest(self, *, quiet_s: float = 0.3) -> bytes | None:
        """Bytes that still come within `quiet_s`; None when the server has closed and sent nothing."""
        self._socket.settimeout(quiet_s)
        try:
            more = self._socket.recv(65536)
        except TimeoutError:
            return self._received
        except ConnectionResetError:
            more = b""
        return (self._received + more) or None

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._read()
        found, _, self._received = self._received.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._read()
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _read(self) -> None:
        more = self._socket.recv(65536)
        if not more:
            raise EOFError(self._received)
        self._received += more


def request(
    request_id: str,
    path: str = "/v1/text2text",
    *lines: str,
    method: str = "POST",
    version: str = "1.1",
    body: bytes | None = None,
) -> bytes:
    """A request with its id. With a body its length is added."""
    first = [f"{method} {path} HTTP/{version}", "Host: localhost", f"X-Request-Id: {request_id}", *lines]
    if body is not None:
        first += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join([*first, "", ""]).encode() + (body or b"")


def chunked(body: bytes, size: int = 5) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
