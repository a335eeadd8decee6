"""Things that the demo knows, and the Russian words that name and describe them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Gender = Literal["m", "f", "n", "p"]
"""Masculine, feminine, neuter; p: plural only."""
TABLE = Path(__file__).parent / "things.tsv"
NO_FORM = "-"


@dataclass(frozen=True)
class Thing:
    """A thing: its emoji, its Russian name, and what is needed to use the name in a phrase."""

    character: str
    name: str
    genitive: str | None
    """Genitive singular, which follows «два» and «три»; None for a name that is plural only."""
    gender: Gender
    synonyms: tuple[str, ...] = ()
    """Other names, in prompts only."""

    def gender_of(self, name: str) -> Gender:
        """Return the gender of the name or of a synonym."""
        head = name.split(maxsplit=1)[0]
        if name == self.name or head.endswith(("ь", "у")):
            return EXCEPTIONS.get(head, self.gender)
        return EXCEPTIONS.get(head) or GENDERS.get(head[-1], "m")


EXCEPTIONS: dict[str, Gender] = {"мишка": "m", "конь": "m", "селезень": "m", "автомобиль": "m", "пламя": "n"}
GENDERS: dict[str, Gender] = {"а": "f", "я": "f", "о": "n", "е": "n", "ё": "n", "ы": "p", "и": "p"}
"""Genders by the last letter; all others are masculine."""


@dataclass(frozen=True)
class Adjective:
    """An adjective in the nominative."""

    stem: str
    endings: tuple[str, str, str, str]
    """Masculine, feminine, neuter, plural."""

    def form(self, gender: Gender) -> str:
        return self.stem + self.endings["mfnp".index(gender)]


HARD = ("ый", "ая", "ое", "ые")
STRESSED = ("ой", "ая", "ое", "ые")
AFTER_K = ("ий", "ая", "ое", "ие")
AFTER_HISS = ("ий", "ая", "ее", "ие")
SOFT = ("ий", "яя", "ее", "ие")


@dataclass(frozen=True)
class Colour:
    """A colour of things and backgrounds."""

    adjective: Adjective
    background: str
    """Words of a background of this colour."""
    rgb: tuple[int, int, int]
    """sRGB, in bytes."""
    other: Adjective | None = None
    """Another adjective for the colour, in prompts only."""


COLOURS = (
    Colour(Adjective("красн", HARD), "на красном фоне", (216, 40, 44)),
    Colour(Adjective("оранжев", HARD), "на оранжевом фоне", (245, 134, 28), Adjective("рыж", AFTER_HISS)),
    Colour(Adjective("жёлт", HARD), "на жёлтом фоне", (252, 216, 56)),
    Colour(Adjective("зелён", HARD), "на зелёном фоне", (48, 152, 72)),
    Colour(Adjective("голуб", STRESSED), "на голубом фоне", (118, 204, 246)),
    Colour(Adjective("син", SOFT), "на синем фоне", (34, 70, 196)),
    Colour(Adjective("фиолетов", HARD), "на фиолетовом фоне", (124, 56, 172), Adjective("лилов", HARD)),
    Colour(Adjective("розов", HARD), "на розовом фоне", (246, 156, 196)),
)
SMALL = Adjective("маленьк", AFTER_K)


@dataclass(frozen=True)
class Style:
    """A set of drawings, and the words that ask for it."""

    key: str
    """Name of the set in `sets.py`."""
    adjective: Adjective
    phrase: str


STYLES = (
    Style("noto", Adjective("обычн", HARD), "в обычном стиле"),
    Style("fluent-3d", Adjective("объёмн", HARD), "в объёмном стиле"),
    Style("twemoji", Adjective("прост", STRESSED), "в простом стиле"),
    Style("fluent-flat", Adjective("плоск", AFTER_K), "в плоском стиле"),
    Style("fluent-contour", Adjective("контурн", HARD), "в контурном стиле"),
)
MAIN_STYLES = 2
"""The first styles of STYLES also exist in other colours and in small. Fewer drawings train in less time."""
PLACES = {"left": "слева", "right": "справа", "top": "вверху", "bottom": "внизу"}


def numeral(layout: str, gender: Gender) -> str:
    """Return «два» or «две», or «три»."""
    if layout == "three":
        return "три"
    return "две" if gender == "f" else "два"


def one(gender: Gender) -> str:
    """Return «один», «одна» or «одно»."""
    return {"m": "один", "f": "одна", "n": "одно", "p": "одни"}[gender]


def load_things(count: int | None = None, path: Path = TABLE) -> tuple[Thing, ...]:
    """Return all things, or `count` of them, spread over the table.

    Raises ValueError if a line is not character, name, genitive, gender, synonyms, or if there are fewer.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    things = [_thing(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]
    if count is None:
        return tuple(things)
    if not 2 <= count <= len(things):
        raise ValueError(f"--things is {count}; the table has {len(things)} things, and pairs need two.")
    return tuple(things[index * len(things) // count] for index in range(count))


def _thing(line: str, place: str) -> Thing:
    fields = line.split("\t")
    if len(fields) != 5:
        raise ValueError(f"{place} has {len(fields)} fields instead of 5, separated by tabs.")
    character, name, genitive, gender, synonyms = fields
    if gender not in ("m", "f", "n", "p"):
        raise ValueError(f"{place}: the gender is {gender!r}; it must be m, f, n or p.")
    others = tuple(word for word in synonyms.split(",") if word)
    return Thing(character, name, None if genitive == NO_FORM else genitive, gender, others)
