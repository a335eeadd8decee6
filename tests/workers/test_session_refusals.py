"""Jobs that the session refuses: the reason and the field, and no effect on other jobs."""

import io
from pathlib import Path

import pytest
from PIL import Image

from jobs.contract.requests import (
    AnswerRequest,
    Borders,
    ClassifyRequest,
    Codes,
    Image2TextRequest,
    ImagePrompt,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    Sampling,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import ImagesResult, JobFailure
from tests.support.sessions import drawing, outcome_of, outcomes_of, small_rudolph
from workers.session import Session

CODES = Codes(tuple(range(16)))


REFUSED: dict[str, tuple[Request, str, str | None]] = {
    "no picture": (Image2TextRequest(b"GIF89a", 1), "invalid_image", "image"),
    "one of many": (RankImagesRequest("кот", (CODES, b"", CODES)), "invalid_image", "images[1]"),
    "too few codes": (RankImagesRequest("кот", (CODES, Codes((1, 2)))), "invalid_codes", "images[1].codes"),
    "code too large": (RankImagesRequest("кот", (Codes((64,) * 16),)), "invalid_codes", "images[0].codes"),
    "negative code": (RankImagesRequest("кот", (Codes((-1,) * 16),)), "invalid_codes", "images[0].codes"),
    "blank prompt": (Text2ImageRequest(" \n", 1), "invalid_text", "prompt"),
    "blank text": (RankTextsRequest(b"", ("кот", " ")), "invalid_text", "texts[1]"),
    "blank class": (ClassifyRequest(b"", ("кот", "")), "invalid_text", "classes[1]"),
    "surrogate": (Text2TextRequest("\ud800", 1), "invalid_text", "prompt"),
    "surrogate template": (Image2TextRequest(b"", 1, template="\ud800"), "invalid_text", "template"),
    "invisible class": (ClassifyRequest(b"", ("кот", "\u200b\u00ad")), "invalid_text", "classes[1]"),
    "invisible prompt": (Text2TextRequest("\u200e", 1), "invalid_text", "prompt"),
    "invisible template": (Image2TextRequest(b"", 1, template="\ufeff"), "invalid_text", "template"),
    "same class but for a stress": (
        ClassifyRequest(b"", ("мяч", "кот", "ко\u0301т")),
        "invalid_duplicate",
        "classes[2]",
    ),
    "class of the same unknown letter": (
        ClassifyRequest(b"", ("мяч", "猫", "猫\ufe0f")),
        "invalid_duplicate",
        "classes[2]",
    ),
    "classes cut before an unknown letter": (
        ClassifyRequest(b"", ("синий мяч у моря " * 9 + "猫", "синий мяч у моря " * 9 + "犬")),
        "invalid_duplicate",
        "classes[1]",
    ),
    "classes cut to the same": (
        ClassifyRequest(b"", ("синий мяч у моря " * 9 + "дом", "синий мяч у моря " * 9 + "кот")),
        "invalid_duplicate",
        "classes[1]",
    ),
    "template without room": (
        ClassifyRequest(b"", ("мяч", "кот"), "старый кот у моря " * 9 + "{}"),
        "invalid_duplicate",
        "template",
    ),
    "texts cut to the same": (
        RankTextsRequest(b"", ("мяч", "старый кот у моря " * 9 + "дом", "старый кот у моря " * 9 + "кот")),
        "invalid_duplicate",
        "texts[2]",
    ),
    "no pictures": (RankImagesRequest("кот", ()), "invalid_images", "images"),
    "no texts": (RankTextsRequest(b"", ()), "invalid_texts", "texts"),
    "no classes": (ClassifyRequest(b"", ()), "invalid_classes", "classes"),
    "no temperature": (
        Text2ImageRequest("кот", 1, sampling=Sampling(0.0, 1, 1.0)),
        "invalid_sampling",
        "temperature",
    ),
    "no placeholder": (ClassifyRequest(b"", ("кот", "мяч"), "это"), "invalid_template", "template"),
    "no picture left": (
        Text2ImageRequest("кот", 1, image_prompt=ImagePrompt(b"", Borders(up=2, down=2))),
        "invalid_borders",
        "image_prompt.borders",
    ),
    "negative border": (
        Text2ImageRequest("кот", 1, image_prompt=ImagePrompt(b"", Borders(left=-1))),
        "invalid_borders",
        "image_prompt.borders",
    ),
    "neither borders nor mask": (
        Text2ImageRequest("кот", 1, image_prompt=ImagePrompt(b"")),
        "invalid_borders",
        "image_prompt",
    ),
    "prompt picture": (
        Text2ImageRequest("кот", 1, image_prompt=ImagePrompt(b"x", Borders(up=1))),
        "invalid_image",
        "image_prompt.image",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_job_says_why_and_where(session: Session, name: str) -> None:
    request, code, param = REFUSED[name]
    outcome = outcome_of(session, request)
    assert isinstance(outcome, JobFailure)
    assert (outcome.code, outcome.param) == (code, param)
    assert outcome.message


def test_mask_without_alpha_is_refused(session: Session, picture: bytes) -> None:
    request = drawing(image_prompt=ImagePrompt(picture, mask=picture))
    outcome = outcome_of(session, request)
    assert isinstance(outcome, JobFailure)
    assert (outcome.code, outcome.param) == ("invalid_mask", "image_prompt.mask")


def test_mask_that_marks_nothing_is_refused(session: Session, picture: bytes) -> None:
    size = Image.open(io.BytesIO(picture)).size
    buffer = io.BytesIO()
    Image.new("RGBA", size, (0, 0, 0, 255)).save(buffer, "PNG")
    outcome = outcome_of(session, drawing(image_prompt=ImagePrompt(picture, mask=buffer.getvalue())))
    assert isinstance(outcome, JobFailure)
    assert outcome.code == "invalid_mask"


def test_question_to_a_model_that_cannot_answer_is_refused(tiny_v2: Path) -> None:
    session = Session(small_rudolph(tiny_v2))
    outcome = outcome_of(session, AnswerRequest("кто это?", 1))
    session.close()
    assert isinstance(outcome, JobFailure)
    assert outcome.code == "unsupported_task"


def test_refused_jobs_leave_the_others_alone(session: Session) -> None:
    requests: dict[str, Request] = {name: request for name, (request, _, _) in REFUSED.items()}
    outcomes = outcomes_of(session, {**requests, "good": drawing()})
    assert isinstance(outcomes.pop("good"), ImagesResult)
    assert all(isinstance(outcome, JobFailure) for outcome in outcomes.values())
