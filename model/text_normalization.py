"""Normalises text before it is encoded, so that texts that look the same are encoded the same.

The published packages only lower and strip. Text from editors, web pages and file names has no-break spaces,
soft hyphens, stress marks and decomposed letters. The vocabulary does not know them, so each one would change
the result.
"""

import re
import unicodedata
from typing import Literal

Normalization = Literal["unicode", "none"]

_PLAIN = re.compile(r"[ -~а-яёА-ЯЁ]*")
"""Texts of which only the blanks are joined."""
_WIDTHS = ("<wide>", "<narrow>", "<noBreak>")
"""Compatibility decompositions that change width or line breaking, and not the character."""
_SPECIAL = {
    0x2010: "-",  # the hyphen, and with it the no-break hyphen
    0x2800: " ",  # a Braille pattern without dots
    **dict.fromkeys(
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164), ""
    ),  # fillers and a joiner without a shape
    **dict.fromkeys((*range(0x180B, 0x1810), *range(0xFE00, 0xFE10)), ""),  # variation selectors
    **dict.fromkeys(range(0xE0100, 0xE01F0), ""),
}
_MARKED_VOWEL = re.compile("[аеиоуыэюяіѣѵ][\u0300-\u036f]+", re.IGNORECASE)
_STRESS_MARKS: dict[int, None] = {0x0300: None, 0x0301: None}
"""Grave and acute: marks of stress on a Cyrillic vowel, and parts of letters elsewhere."""
_LOOSE_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
"""Combining marks of no script. In composed text, those of й, ё and é are parts of the letters."""


class _Shapes(dict[int, str]):
    """A table for `str.translate`: no format characters, and one width of each character."""

    def __missing__(self, code: int) -> str:
        # Not stored: the texts of clients may hold every character of Unicode.
        return _shape(chr(code))


def _shape(character: str) -> str:
    if unicodedata.category(character) == "Cf":
        return ""
    width, _, codes = unicodedata.decomposition(character).partition(" ")
    if width not in _WIDTHS:
        return character
    return "".join(_SPECIAL.get(code, chr(code)) for code in (int(code, 16) for code in codes.split()))


_SHAPES = _Shapes({code: _shape(chr(code)) for code in range(0x530)} | _SPECIAL)
"""The code points of Latin, Greek and Cyrillic are stored."""


def normalize(text: str) -> str:
    """Return the text in NFC, without invisible characters, stress marks and wide forms, its blanks joined.

    й, ё and е stay different letters, and the case stays. A second call changes nothing.
    """
    if not _PLAIN.fullmatch(text):
        decomposed = unicodedata.normalize("NFD", text.translate(_SHAPES))
        unstressed = _MARKED_VOWEL.sub(lambda found: found[0].translate(_STRESS_MARKS), decomposed)
        text = _LOOSE_MARKS.sub("", unicodedata.normalize("NFC", unstressed))
    return " ".join(text.split())
