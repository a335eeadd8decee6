"""Reads multipart/form-data with UTF-8 text. Knows parts and their charset; does not know schemas.

No codec that a client names is looked up. Some of Python's codecs take quadratic time (punycode, idna). Some
decode text that a proxy or filter cannot read (utf-7, unicode_escape). The interpreter caches every unknown
name for ever.
"""

import re
from typing import NoReturn

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.errors import ApiError, printable

MAX_FILES = 260
MAX_FIELDS = 1100
MAX_FIELD_BYTES = 1 << 20
UTF_8 = frozenset({b"utf-8", b"utf8"})
MAX_SHOWN_CHARSET = 40
MAX_PARAMETERS = 32
"""Maximum for a header. Each takes a microsecond of the event loop, and 16 MB have room for millions."""

_EXTENDED_FILE_NAME = re.compile(rb";[ \t]*filename\*", re.IGNORECASE)


async def read_form(request: Request) -> list[tuple[str, bytes | str]]:
    """Return name and value of every part, in order: the bytes of a file, or the text of a field.

    Raises ApiError (400, 415) or ClientDisconnect. Files are held in memory: the body is bounded already.
    """
    parser = _Utf8Parser(
        request.headers,
        request.stream(),
        max_files=MAX_FILES,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        _refuse(f"The multipart body cannot be read: {error.message}")
    try:
        return [
            (name, await value.read() if isinstance(value, UploadFile) else value)
            for name, value in form.multi_items()
        ]
    finally:
        await form.close()


def check_charset(content_type: str | bytes, param: str) -> None:
    """Refuse a Content-Type with a charset other than UTF-8 by ApiError 415, naming `param`."""
    options = _parameters(content_type, param)
    if b"charset" in options:
        check_charset_name(options[b"charset"], param)


def check_charset_name(charset: bytes, param: str) -> None:
    """Refuse the name of any charset but UTF-8 by ApiError 415, naming `param`."""
    if charset.lower() not in UTF_8:
        name = charset.decode("ascii", "backslashreplace")[:MAX_SHOWN_CHARSET]
        message = (
            f"{param} has the charset {name!r}; only UTF-8 is read. Send UTF-8, with charset=utf-8 or none."
        )
        raise ApiError(415, "unsupported_charset", message, param=param)


class _Utf8Parser(MultiPartParser):
    """Starlette's parser without its decoding by the charset of the form, and by latin-1 where that fails.

    It relies on the parser's private `_current_part`; constraints.txt pins the version.
    """

    spool_max_size = 1 << 30

    def on_headers_finished(self) -> None:
        part = self._current_part
        disposition = part.content_disposition or b""
        options = _parameters(disposition, None)
        name = printable(options.get(b"name", b"").decode("utf-8", "backslashreplace"))
        for key, what in ((b"name", "field name"), (b"filename", "file name")):
            _decode(options.get(key, b""), name, f"The {what} of {name}")
        if b"filename" not in options and _EXTENDED_FILE_NAME.search(disposition):
            # RFC 7578, section 4.2, forbids `filename*`; some clients send it alone. No file name is used.
            part.content_disposition = disposition + b'; filename=""'
        super().on_headers_finished()
        content_type = dict(part.item_headers).get(b"content-type", b"")
        # An image has no charset; a client may name one, such as binary.
        if part.file is None or not content_type.lower().startswith(b"image/"):
            check_charset(content_type, name)

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:
            self.items.append((part.field_name, _decode(part.data, part.field_name, part.field_name)))
        else:
            super().on_part_end()


def _parameters(header: str | bytes, param: str | None) -> dict[bytes, bytes]:
    """Return the parameters of a Content-Type or Content-Disposition. Raises ApiError 400 for too many."""
    if (header.encode("latin-1") if isinstance(header, str) else header).count(b";") > MAX_PARAMETERS:
        message = f"A header of the body has more than {MAX_PARAMETERS} parameters."
        raise ApiError(400, "invalid_header", message, param=param)
    return parse_options_header(header)[1]


def _decode(data: bytes | bytearray, param: str, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(f"{what} is not UTF-8: byte {error.start}. Send the form as UTF-8.", param)


def _refuse(message: str, param: str | None = None) -> NoReturn:
    raise ApiError(400, "invalid_multipart", message, param=param) from None
