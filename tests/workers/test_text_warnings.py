"""Warnings about texts that the model could not use whole."""

import re

import pytest

from jobs.contract.requests import (
    ClassifyRequest,
    Codes,
    Image2TextRequest,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    Text2ImageRequest,
    Text2TextRequest,
)
from tests.support.sessions import result_of
from workers.planner.texts import MAX_WARNINGS
from workers.session import Session

LONG = "старый кот у моря " * 9
CODES = Codes(tuple(range(16)))

Found = list[tuple[str, str]]


def warnings_of(session: Session, request: Request) -> Found:
    return [(warning.code, warning.param) for warning in result_of(session, request).warnings]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Text2ImageRequest("кот", 1), []),
        (Text2ImageRequest("ко\u0301т\u00a0у\u200b моря", 1), []),
        (Text2ImageRequest(LONG, 1), [("text_cut", "prompt")]),
        (Text2ImageRequest("кот 🐱", 1), [("unknown_letters", "prompt")]),
        (Text2ImageRequest(LONG + "Q", 1), [("text_cut", "prompt"), ("unknown_letters", "prompt")]),
        (Text2TextRequest("кот, w", 1), [("unknown_letters", "prompt")]),
        (RankImagesRequest(LONG, (CODES, CODES)), [("text_cut", "text")]),
    ],
)
def test_texts_that_are_cut_or_unknown_are_reported(
    session: Session, request_: Request, expected: Found
) -> None:
    assert warnings_of(session, request_) == expected


def test_templates_classes_and_texts_are_reported_by_their_place(session: Session, picture: bytes) -> None:
    ranked = RankTextsRequest(picture, ("кот", "дом " + LONG, "猫"))
    assert warnings_of(session, ranked) == [("text_cut", "texts[1]"), ("unknown_letters", "texts[2]")]
    classes = ClassifyRequest(picture, ("кот", "дом W"), "это: {}", "мяч {} !")
    assert set(warnings_of(session, classes)) == {
        ("unknown_letters", "template"),
        ("unknown_letters", "classes[1]"),
        ("unknown_letters", "left_template"),
    }
    caption = Image2TextRequest(picture, 1, template="на W")
    assert warnings_of(session, caption) == [("unknown_letters", "template")]


def test_classes_of_different_unknown_letters_are_scored_with_a_warning(
    session: Session, picture: bytes
) -> None:
    found = warnings_of(session, ClassifyRequest(picture, ("猫", "犬")))
    assert found == [("unknown_letters", "classes[0]"), ("unknown_letters", "classes[1]")]


def test_many_warnings_are_summed_up(session: Session, picture: bytes) -> None:
    classes = tuple(f"кот {chr(0x4E00 + number)}" for number in range(40))
    warnings = result_of(session, ClassifyRequest(picture, classes)).warnings
    assert len(warnings) == MAX_WARNINGS
    assert warnings[-1].code == "more_warnings"
    assert "25 more" in warnings[-1].message


def test_a_message_has_the_numbers_and_the_letters(session: Session) -> None:
    cut, unknown = result_of(session, Text2ImageRequest(LONG + "Q🐱", 1)).warnings
    assert re.search(r"prompt has \d+ tokens, and the model reads the first \d+\.", cut.message)
    assert "q 🐱" in unknown.message
