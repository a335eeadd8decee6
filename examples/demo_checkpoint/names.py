"""Emoji of the demo checkpoint, their names, and the names of backgrounds.

The names are the Russian short names of Unicode CLDR, from the `emoji` package.
"""

import hashlib
from dataclasses import dataclass

VARIATION_SELECTOR = "️"
FULLY_QUALIFIED = 2
"""Status of an entry in the `emoji` package's table."""

# Objects, animals, plants, food, vehicles and places, as prompts name them. Faces, people, hands, clocks,
# arrows, letters and coloured shapes are left out.
OBJECT_RANGES = (
    (0x231A, 0x231B),
    (0x2600, 0x2604),
    (0x2614, 0x2615),
    (0x2693, 0x2699),
    (0x26A1, 0x26A1),
    (0x26B0, 0x26B1),
    (0x26BD, 0x26BE),
    (0x26C4, 0x26C5),
    (0x26E9, 0x26FD),
    (0x2702, 0x2702),
    (0x2708, 0x2709),
    (0x270F, 0x270F),
    (0x2744, 0x2744),
    (0x2764, 0x2764),
    (0x2B50, 0x2B50),
    (0x1F300, 0x1F384),
    (0x1F388, 0x1F393),
    (0x1F396, 0x1F39E),
    (0x1F3A0, 0x1F3BF),
    (0x1F3C0, 0x1F3C0),
    (0x1F3C5, 0x1F3C6),
    (0x1F3C8, 0x1F3C9),
    (0x1F3CD, 0x1F3F0),
    (0x1F3F8, 0x1F3FA),
    (0x1F400, 0x1F43F),
    (0x1F451, 0x1F465),
    (0x1F488, 0x1F48A),
    (0x1F48C, 0x1F49C),
    (0x1F4A1, 0x1F4A1),
    (0x1F4A3, 0x1F4A3),
    (0x1F4B0, 0x1F4B8),
    (0x1F4BA, 0x1F4F1),
    (0x1F4F7, 0x1F4FF),
    (0x1F50B, 0x1F511),
    (0x1F525, 0x1F52E),
    (0x1F54A, 0x1F54D),
    (0x1F56F, 0x1F573),
    (0x1F576, 0x1F579),
    (0x1F587, 0x1F58D),
    (0x1F5A4, 0x1F5DE),
    (0x1F5FB, 0x1F5FF),
    (0x1F680, 0x1F6A8),
    (0x1F6B2, 0x1F6B2),
    (0x1F6BD, 0x1F6BF),
    (0x1F6C1, 0x1F6FC),
    (0x1F940, 0x1F96F),
    (0x1F97B, 0x1F97F),
    (0x1F980, 0x1F9AE),
    (0x1F9B4, 0x1F9B4),
    (0x1F9B7, 0x1F9B7),
    (0x1F9BA, 0x1F9CB),
    (0x1F9E0, 0x1FA6F),
    (0x1FA70, 0x1FABF),
    (0x1FACE, 0x1FADF),
)

# Left out of the ranges above: signs and marks, emoji that differ from another one by a detail too small for
# 64 pixels, and emoji whose names few people use.
LEFT_OUT = frozenset(
    "🌀🌁🌂🌃🌄🌅🌆🌇🌉🌌🌐🌍🌎🌏🌑🌒🌓🌔🌖🌗🌘🌚🌛🌜🎴🎦🎫🎞🎟👤👥👣💟💢💦💨💬💭💮💯💠💱💲💹💤💫💥📛📴📵📳📶📪📬📭📩📨📧📤📥📄📃📑📊"
    "📇📋📉📈📆📅📝📔📗📘📙📓📒📀💿🔏🔐🔃🔄🔀🔁🔂🔅🔆🔇🔈🔉🔊🔕🔖🚥🚮🚯🚰🚱🚳🚷🚸🚹🚺🚻🚼🚾🛂🛃🛄🛅🛐🛑🚩🚫🚬🚭🗯🗨🗳🗂🗃🗄"
    "🚍🚔🚖🚘🚉🚞🚝🛗🌨🌧🌩🌦🌥🌤🌫🌬🧑🧒🧓🧔🧕🧖🧗🧘🧙🧚🧛🧜🧝🧞🧟🛀🛌🫂🫃🫄🫅🪪🪧🪫🪯🐦🐤🐀🐖🐂🐪🐁🐅🐃🐐🐋🎑🎏🎋🎌🩶"
    "🏗🏘🏙🏚🏛🏞🏤🏢🏣🏬🏫🏩🏨🏦🏪💑💏🛏🧱🔎🚋🚅🚊🚣⛹⚕🏧🛝⛳⛴🎊🎒🎚🎛🎮🎵🎶🎹🏏🏉🥌🥍🥎🍡🍢🍥🍱🌯🎉🏕🏟📟📠📼📽🕋🕍🕌🖲🗜🗻🗿🚃🚇"
    "🚐🚛🚨🛘🛫🛬🛺🧆🧉🫔🫕🪬🪘🪅🤤🦕🦪🦠🧮🥻👘🥿🩴🩲👝👙👚🩼🩻💒💈🪌🪊🪋🪍🪎🪏🪉⚰🌠🌟🪠🏒🏑🏸🎳🎱🏇"
)
MOST_WORDS = 3
"""Longer names are sentences, which are unusual in prompts."""


@dataclass(frozen=True)
class Emoji:
    """An emoji: its characters, and its Russian name in lower case."""

    character: str
    name: str


@dataclass(frozen=True)
class Background:
    """A named background: the words after the emoji's name, and the colour in sRGB bytes."""

    words: str
    colour: tuple[int, int, int]
    spellings: tuple[str, ...] = ()
    """Other spellings of the words, in prompts only."""


WHITE = Background("", (255, 255, 255))
COLOURED = (
    Background("на красном фоне", (216, 40, 44)),
    Background("на оранжевом фоне", (245, 134, 28)),
    Background("на желтом фоне", (252, 216, 56), ("на жёлтом фоне",)),
    Background("на зеленом фоне", (48, 152, 72), ("на зелёном фоне",)),
    Background("на голубом фоне", (118, 204, 246)),
    Background("на синем фоне", (34, 70, 196)),
    Background("на фиолетовом фоне", (124, 56, 172)),
    Background("на розовом фоне", (246, 156, 196)),
)
BACKGROUNDS = (WHITE, *COLOURED)
"""White is the first: a prompt without a background is drawn on white."""

# Everyday names besides those of CLDR; in prompts only, never in a caption.
ALIASES: dict[str, tuple[str, ...]] = {
    "кошка": ("кот", "кошка целиком"),
    "морда кошки": ("котик", "мордочка кота", "котенок"),
    "собака": ("пес",),
    "морда собаки": ("щенок", "песик"),
    "морда медведя": ("медведь", "мишка"),
    "морда панды": ("панда",),
    "морда лисицы": ("лиса", "лисичка"),
    "морда волка": ("волк",),
    "морда льва": ("лев",),
    "морда тигра": ("тигр",),
    "морда коровы": ("коровка",),
    "морда свиньи": ("свинья", "поросенок"),
    "морда мыши": ("мышь", "мышка"),
    "морда хомяка": ("хомяк", "хомячок"),
    "морда кролика": ("зайчик", "заяц"),
    "морда коалы": ("коала",),
    "морда обезьяны": ("обезьянка",),
    "морда енота": ("енот",),
    "морда лошади": ("лошадка", "конь"),
    "голова лягушки": ("лягушка",),
    "голова дракона": ("дракончик",),
    "голова единорога": ("единорог",),
    "красное яблоко": ("яблоко",),
    "горячий напиток": ("кофе", "чашка кофе"),
    "кружка пива": ("пиво",),
    "бокал вина": ("вино",),
    "автомобиль": ("машина",),
    "новогодняя елка": ("елка с игрушками", "новогодняя ёлка"),
    "елка": ("ёлка", "ель"),
    "алое сердце": ("сердце", "красное сердце"),
    "желтая звезда": ("звезда",),
    "клубника": ("ягода клубники",),
    "куриная ножка": ("курица гриль",),
    "воздушный шарик": ("шарик",),
    "футбол": ("футбольный мяч", "мяч"),
    "баскетбол": ("баскетбольный мяч",),
    "картофель": ("картошка",),
    "морковь": ("морковка",),
    "божья коровка": ("жучок в крапинку",),
    "паровоз": ("паровозик",),
    "тюльпан": ("цветок тюльпана",),
    "мед": ("мёд",),
    "дом": ("домик",),
    "осел": ("осёл",),
    "орел": ("орёл",),
    "еж": ("ёж", "ежик"),
    "самолет": ("самолёт",),
    "вертолет": ("вертолёт",),
}

HELD_OUT_OF = 8
"""One pair of emoji and colour in this many is not trained on."""


def is_held_out(emoji: Emoji, background: Background) -> bool:
    """Return whether the pair is held out to measure composition; depends on the two names only."""
    if not background.words:
        return False
    digest = hashlib.sha256(f"{emoji.name}|{background.words}".encode()).digest()
    return digest[0] % HELD_OUT_OF == 0


def phrase(name: str, background: Background) -> str:
    """Return a prompt: «кот» on blue gives «кот на синем фоне»."""
    return f"{name} {background.words}".strip()


def object_emoji() -> list[Emoji]:
    """Return all candidates by code point; the font may lack some. Needs the `emoji` package."""
    import emoji as package

    package.config.load_language("ru")
    table = package.EMOJI_DATA
    names: dict[str, Emoji] = {}
    for text in sorted(table):
        bare = text.removesuffix(VARIATION_SELECTOR)
        if table[text]["status"] != FULLY_QUALIFIED or len(bare) != 1 or bare in LEFT_OUT:
            continue
        if not any(first <= ord(bare) <= last for first, last in OBJECT_RANGES):
            continue
        # The entry without the variation selector has the breve of «й»; the other one does not.
        name = str(table.get(bare, table[text])["ru"]).strip(":").replace("_", " ").lower()
        if name.replace(" ", "").isalpha() and len(name.split()) <= MOST_WORDS:
            names.setdefault(name, Emoji(text, name))
    return list(names.values())
