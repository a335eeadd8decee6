"""Random messages of HTTP/1.1: upgrades, chunk framing, trailers, charsets of forms and images, from a seed.

A conversation is what one connection sends. Its sound requests must get one response each, in order. A fault
after them gets at most one more response and the end of the connection.
"""

import json
from dataclasses import dataclass
from random import Random

from tests.fuzz.random_images import image
from tests.support.wire import request

TOKENS = ("h2c", "websocket", "TLS/1.0", "foo", "h2c, websocket", "HTTP/2.0, foo/1", "", "h2c,,")
CONNECTIONS = ("Upgrade", "upgrade, HTTP2-Settings", "keep-alive, Upgrade", "UPGRADE", "close")
ROUTES = (
    ("GET", "/health/live"),
    ("GET", "/v1/models"),
    ("POST", "/v1/text2text"),
    ("POST", "/v1/image2text"),
)
CHARSETS = (
    *("utf-8", "UTF-8", '"utf-8"', "", "utf-8\x00", "no-such-charset", "latin-1", "cp037", "utf-7", "utf-16"),
    *("punycode", "idna", "unicode_escape", "rot13", "hex", "zip", "undefined", "mbcs"),
)
SMUGGLED_ID = "smuggled"
OVER_BUDGET = 200_000


@dataclass(frozen=True)
class Conversation:
    """Packets to send, the ids that must be answered in this order, and whether a fault follows them."""

    packets: list[bytes]
    ids: list[str]
    is_faulty: bool


def conversation(random: Random, number: int, key: str) -> Conversation:
    ids = [f"c{number}-{index}" for index in range(random.randint(1, 4))]
    sent = b"".join(_sound(random, one, key) for one in ids)
    is_faulty = random.random() < 0.3
    if is_faulty:
        sent += _faulty(random, f"c{number}-fault", key)
    cuts = sorted(random.randrange(1, len(sent)) for _ in range(random.choice((0, 1, 1, 2, 5))))
    packets = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    return Conversation([packet for packet in packets if packet], ids, is_faulty)


def _sound(random: Random, request_id: str, key: str) -> bytes:
    method, path = random.choice(ROUTES)
    kind, body = _body(random)
    lines = [*_upgrade(random), f"Content-Type: {kind}"]
    if random.random() < 0.8:
        lines.append(f"Authorization: Bearer {key}")
    if random.random() < 0.2:
        lines.append("Expect: 100-continue")
    random.shuffle(lines)
    if random.random() < 0.5:
        return _head(request_id, method, path, [*lines, f"Content-Length: {len(body)}"]) + body
    chunks = _chunks(random, body) + _trailers(random, random.randrange(6)) + b"\r\n"
    return _head(request_id, method, path, [*lines, "Transfer-Encoding: chunked"]) + chunks


def _faulty(random: Random, request_id: str, key: str) -> bytes:
    head = _head(
        request_id,
        "POST",
        "/v1/text2text",
        [*_upgrade(random), "Transfer-Encoding: chunked", f"Authorization: Bearer {key}"],
    )
    return random.choice(
        (
            head + b"0\r\n" + b"a: b\r\n" * (OVER_BUDGET // 6),
            head + b"0\r\na: " + b"b" * OVER_BUDGET,
            head + b"1;" + b"e" * OVER_BUDGET,
            head + b"0" * OVER_BUDGET,
            head + b"1\r\n \r\n" * (OVER_BUDGET // 6),
            head + b"zz\r\n" + _smuggled(),
            head + b"0\r\nConnection: close\r\n\r\n" + _smuggled(),
            head.replace(b"Host: localhost\r\n", b"") + _smuggled(),
            head.replace(b"Host: localhost\r\n", b"Host: localhost\r\nHost: localhost\r\n") + _smuggled(),
            _head(request_id, "CONNECT", "x:443", _upgrade(random)) + _smuggled(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _smuggled(),
        )
    )


def _head(request_id: str, method: str, path: str, lines: list[str]) -> bytes:
    return request(request_id, path, *lines, method=method)


def _upgrade(random: Random) -> list[str]:
    if random.random() < 0.3:
        return []
    lines = [f"Upgrade: {random.choice(TOKENS)}", "Connection: " + random.choice(CONNECTIONS[:-1])]
    if random.random() < 0.2:
        lines.append(f"Upgrade: {random.choice(TOKENS)}")
    if random.random() < 0.3:
        lines.append("HTTP2-Settings: AAMAAABkAAQAAP__")
    return lines


def _body(random: Random) -> tuple[str, bytes]:
    """A content type and a body: JSON, an image, a form in some charset, or a request to smuggle."""
    which = random.random()
    if which < 0.15:
        fields = {"prompt": "кот", "max_tokens": 2, "candidates": 1, "seed": random.randrange(9)}
        return "application/json", json.dumps(fields).encode() + b"\r\n" * random.randrange(40)
    if which < 0.5:
        return "application/json", b"\r\n" * random.choice((0, 1, 3, 3000)) + _smuggled()
    boundary = "frontier"
    if which < 0.65:
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
        more = b"".join(
            f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
            for name, value in (("candidates", 1), ("max_tokens", 2))
        )
        end = f"\r\n--{boundary}--\r\n".encode()
        return f"multipart/form-data; boundary={boundary}", part + image(random) + more + end
    charset = random.choice(CHARSETS)
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="prompt"\r\n'
    if random.random() < 0.5:
        part += f"Content-Type: text/plain; charset={random.choice(CHARSETS)}\r\n"
    text = random.choice(("кот".encode(), b"\xff\xfe\x00", b"a" * 3000, random.randbytes(30).hex().encode()))
    named = f'--{boundary}\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n{charset}\r\n'
    body = part.encode() + b"\r\n" + text + b"\r\n"
    body += named.encode() if random.random() < 0.3 else b""
    kind = f"multipart/form-data; boundary={boundary}; charset={charset}".replace("\x00", "")
    return kind, body + f"--{boundary}--\r\n".encode()


def _chunks(random: Random, body: bytes) -> bytes:
    """The body in chunks of random sizes, with extensions and leading zeros, up to the last chunk's line."""
    framed, start = b"", 0
    while start < len(body):
        size = random.choice((1, 2, 7, 100, 5000))
        piece = body[start : start + size]
        framed += b"0" * random.choice((0, 0, 3)) + b"%x" % len(piece)
        framed += _extension(random) + b"\r\n" + piece + b"\r\n"
        start += size
    return framed + b"0" + _extension(random) + b"\r\n"


def _extension(random: Random) -> bytes:
    return random.choice((b"", b"", b";a", b";a=b", b';a="b c"', b";x=" + b"y" * 50))


def _trailers(random: Random, number: int) -> bytes:
    names = (b"X-Trailer", b"Authorization", b"X-Request-Id", b"Upgrade", b"Connection", b"Host", b"Expect")
    values = (b"", b"smuggled", b"upgrade", b"Bearer other", b"v" * 300)
    return b"".join(b"%s: %s\r\n" % (random.choice(names), random.choice(values)) for _ in range(number))


def _smuggled() -> bytes:
    return request(SMUGGLED_ID, "/v1/models", method="GET")
