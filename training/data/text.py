"""Decodes text files of a data set: UTF-8, UTF-16 with a byte order mark, and old Russian encodings."""

import codecs
from pathlib import Path

RUSSIAN = ("cp1251", "koi8-r", "cp866")
MAX_TEXT_BYTES = 1 << 20
"""Of the text of one image, and of one line of a table."""
MAX_TABLE_BYTES = 4 << 30
MIN_LOWER_CASE = 0.5
"""Share of lower-case Russian letters among all bytes above ASCII of a text in the right encoding."""
MIN_LETTERS = 3
LOWER_CASE = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюя")
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class EncodingError(ValueError):
    """Bytes in no known encoding; the message has the remedy."""


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file. Raises EncodingError if it is larger than `max_bytes`."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1) if path.stat().st_size <= max_bytes else None
    if data is None or len(data) > max_bytes:
        raise EncodingError(f"larger than {max_bytes} bytes; split it")
    return data


def decode(data: bytes, encoding: str | None = None) -> tuple[str, str]:
    """Return the text and its encoding. `encoding`: the right one, if it is known. Raises EncodingError."""
    marked = next((name for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), None)
    chosen = encoding or marked or "utf-8"
    try:
        return data.decode(chosen), chosen
    except LookupError:
        raise EncodingError(f"there is no encoding {chosen!r}; use utf-8, cp1251 or utf-16") from None
    except UnicodeDecodeError as error:
        if encoding is None and marked is None:
            return _russian(data)
        raise EncodingError(f"byte {error.start} is not {chosen}; name the right --encoding") from None


def _russian(data: bytes) -> tuple[str, str]:
    # In the wrong encoding letters change their case or become signs.
    found: list[tuple[float, str, str]] = []
    for name in RUSSIAN:
        text = data.decode(name, errors="replace")
        high = [letter for letter in text if ord(letter) > 127]
        lower = sum(letter in LOWER_CASE for letter in high)
        if lower >= MIN_LETTERS:
            found.append((lower / len(high), name, text))
    share, name, text = max(found, default=(0.0, "", ""))
    if share < MIN_LOWER_CASE:
        raise EncodingError("not UTF-8; save the file as UTF-8, or name its --encoding")
    return text, name
