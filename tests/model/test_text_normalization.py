"""Texts that look the same become the same text; letters that differ stay different."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.text_normalization import normalize

PLAIN = "кот на синем фоне"
CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"


@pytest.mark.parametrize(
    "text",
    [
        "кот на\u00a0синем фоне",
        "кот на\u202fсинем фоне",
        "кот\u2007на\u2003синем\u3000фоне",
        "кот на\u2028синем\u2029фоне",
        "кот на\u0085синем фоне",
        "кот  на\r\n\tсинем фоне ",
        "кот на си\u00adнем фоне",
        "кот на си\u0301нем фо\u0300не",
        "кот на си\u0341нем фоне",
        "кот на\u200b синем фоне",
        "\ufeffкот на синем фоне",
        "кот на си\u2060нем фо\u200dне\u200c",
        "\u202bкот\u202c на \u2066синем\u2069 фоне\u200f",
        "кот\ufe0f на синем\ufe0e фоне\U000e0100",
        "кот на синем фоне\U000e0067\U000e007f",
        "кот на си\u034fнем фоне",
        "кот\u3164 на \u2800синем фоне\u115f",
        "к\u0336о\u0336т\u0336 на синем фо\u0332не",
        "кот на си\u20ddнем фоне",
    ],
)
def test_what_cannot_be_seen_is_removed(text: str) -> None:
    assert normalize(text) == PLAIN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("й ё Й Ё", "й ё Й Ё"),
        ("и\u0306 е\u0308", "й ё"),
        ("и\u200b\u0306 е\u034f\u0308", "й ё"),
        ("ё\u0301лка е\u0308\u0301лка е\u0301\u0308лка", "ёлка ёлка ёлка"),
        ("желтый жёлтый", "желтый жёлтый"),
        ("ѐ ѝ", "е и"),
        ("ѓ ќ ў ї", "ѓ ќ ў ї"),
        ("cafe\u0301 café", "café café"),
        ("Ｃａｔ　１２", "Cat 12"),
        ("ﾊﾟ", "パ"),
        ("сине\u2011зелёный сине\u2010зелёный", "сине-зелёный сине-зелёный"),
        ("№ 5 — «кот»…", "№ 5 — «кот»…"),
        ("м² ½ ﬁ", "м² ½ ﬁ"),
        ("हिन्दी", "हिन्दी"),
        ("\u200b\u00ad\ufeff", ""),
        ("", ""),
    ],
)
def test_letters_stay(text: str, expected: str) -> None:
    assert normalize(text) == expected


TEXTS = st.text() | st.text(CYRILLIC + "\u0300\u0301\u0306\u0308\u034f\u00ad\u00a0\u200b\ufe0f")


@given(TEXTS)
@example("и\u0305\u0306")
@settings(max_examples=500, deadline=None)
def test_twice_is_once_and_the_form_of_the_input_does_not_matter(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert normalize(unicodedata.normalize("NFD", text)) == once
    assert unicodedata.is_normalized("NFC", once)


@given(
    st.text(CYRILLIC + CYRILLIC.upper() + " ").map(str.strip),
    st.integers(0, 9),
    st.sampled_from("\u00ad\u200b\u2060\ufe0f"),
)
@settings(max_examples=200, deadline=None)
def test_russian_text_is_only_cleaned(text: str, place: int, mark: str) -> None:
    plain = " ".join(text.split())
    assert normalize(text) == plain
    assert normalize(plain[:place] + mark + plain[place:]) == plain
