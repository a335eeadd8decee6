"""Heads of requests: checks that RFC 9110 and RFC 9112 require, removal of an upgrade, refusals as bytes."""

import re
import uuid
from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.errors import ApiError

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields in the order of arrival; names are lower-case."""

_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*")
"""Characters of a host and a port, RFC 3986 §3.2.2. An empty value is valid."""


def check_head(method: bytes, version: str, fields: Fields) -> None:
    """Raise ApiError for a head that the parser accepts and a server has to refuse."""
    if method == b"CONNECT":
        raise _bad_request("CONNECT is not supported: this server is not a proxy.")
    if version not in ("1.0", "1.1"):  # RFC 9110 §15.6.6
        raise ApiError(505, "http_version", "This server supports HTTP/1.1 and HTTP/1.0.")
    _check_host(version, _values(fields, b"host"))
    _check_transfer_encoding(version, _values(fields, b"transfer-encoding"))
    # RFC 9110 §10.1.1: 100-continue is the only expectation.
    if any(value.lower() != b"100-continue" for value in _values(fields, b"expect")):
        raise ApiError(417, "expectation_failed", "Expect may only be 100-continue.", param="Expect")


def without_upgrade(method: bytes, url: bytes, version: str, fields: Fields) -> bytes:
    """The same head without its Upgrade fields. RFC 9110 §7.8: a server may ignore an upgrade.

    Connection stays as it is: it may name other options, such as close.
    """
    lines = [name + b": " + value for name, value in fields if name != b"upgrade"]
    return b"\r\n".join([method + b" " + url + b" HTTP/" + version.encode("ascii"), *lines, b"", b""])


def _check_host(version: str, values: list[bytes]) -> None:
    # RFC 9112 §3.2: exactly one Host in HTTP/1.1, never two, and a valid value.
    if len(values) > 1 or (version == "1.1" and not values):
        raise _bad_request("Send exactly one Host header.", param="Host")
    if values and not _HOST.fullmatch(values[0]):
        raise _bad_request("Host must be a host name or an address, with a port where needed.", param="Host")


def _check_transfer_encoding(version: str, values: list[bytes]) -> None:
    if not values:
        return
    if version == "1.0":  # RFC 9112 §6.1: its framing is faulty
        raise _bad_request("Transfer-Encoding needs HTTP/1.1.", param="Transfer-Encoding")
    codings = [coding.strip().lower() for value in values for coding in value.split(b",")]
    if codings[-1] != b"chunked" or b"chunked" in codings[:-1]:  # RFC 9112 §6.3
        message = "The last transfer coding must be chunked, once."
        raise _bad_request(message, param="Transfer-Encoding")
    if len(codings) > 1:  # RFC 9112 §6.1
        message = "The only transfer coding that this server supports is chunked."
        raise ApiError(501, "transfer_coding", message, param="Transfer-Encoding")


def _values(fields: Fields, wanted: bytes) -> list[bytes]:
    return [value.strip() for name, value in fields if name == wanted]


def _bad_request(message: str, *, param: str | None = None) -> ApiError:
    return ApiError(400, "bad_request", message, param=param)


def refusal(error: ApiError) -> bytes:
    """Return a whole response in HTTP/1.1, for a request that no application sees."""
    body = error.reply().model_dump_json().encode()
    lines = [
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
        b"x-content-type-options: nosniff",
        b"x-request-id: " + uuid.uuid4().hex.encode(),
        *(f"{name}: {value}".encode("latin-1") for name, value in error.headers.items()),
    ]
    return STATUS_LINE[error.status] + b"\r\n".join(lines) + b"\r\n\r\n" + body
