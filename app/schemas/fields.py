"""Field types that several requests share: text, pictures, seeds, sampling settings. Each carries its range.

Refused here: unknown fields, numbers that are no numbers, control characters, halves of surrogate pairs.
"""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_PROMPT_CHARACTERS = 2000
MAX_CLASS_CHARACTERS = 200
MAX_SEED = 2**63 - 1
MAX_CANDIDATES = 256
MAX_TOKENS = 4096
"""More than any preset's text region; the loaded model sets the true bound."""

_ALLOWED_CONTROLS = "\n\r\t"

# The rules below as patterns, for the OpenAPI document; what is refused is decided by the functions, which
# can say why. Every control character but three is refused, and a text needs more than blanks.
_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_BLANKS = r"\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
CLEAN_PATTERN = rf"^[^{_CONTROLS}]*$"
TEXT_PATTERN = rf"^[^{_CONTROLS}]*[^{_CONTROLS}{_BLANKS}][^{_CONTROLS}]*$"
_NO_PLACE = rf"(?:[^{{{_CONTROLS}]|\{{+[^{{}}{_CONTROLS}])*\{{*"
ONE_PLACE_PATTERN = rf"^{_NO_PLACE}\{{\}}{_NO_PLACE}$"
AT_MOST_ONE_PLACE_PATTERN = rf"^{_NO_PLACE}(?:\{{\}}{_NO_PLACE})?$"

EXAMPLE_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQAAAAA3iMLMAAAAEUlEQVR42mNgQAL8H7AjJAAAu+wH+a2XxEwA"
    "AAAASUVORK5CYII="
)
"""A white square on black, 16 px a side, so that every example of the document can be sent as it stands."""


class Schema(BaseModel):
    """Base of every request: unknown fields refused, NaN and infinity refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


def _clean_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for place, character in enumerate(value):
        kind = unicodedata.category(character)
        if kind == "Cs":
            raise PydanticCustomError(
                "text_surrogate",
                "holds half of a surrogate pair at character {place}; send valid Unicode text",
                {"place": place},
            )
        if kind == "Cc" and character not in _ALLOWED_CONTROLS:
            raise PydanticCustomError(
                "text_control",
                "holds the control character U+{code} at character {place}; remove it",
                {"code": f"{ord(character):04X}", "place": place},
            )
    return value


def _not_blank(value: Any) -> Any:
    value = _clean_text(value)
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("text_blank", "is empty; write at least one character")
    return value


def _picture(value: Any) -> Any:
    if isinstance(value, str | bytes):
        return value
    raise PydanticCustomError(
        "picture_type", "must be a picture: a base64 string or a data URI of a PNG, JPEG or WebP file"
    )


Text = Annotated[
    str,
    BeforeValidator(_not_blank),
    Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        examples=["рыжий кот"],
        json_schema_extra={"pattern": TEXT_PATTERN},
    ),
]
OptionalText = Annotated[
    str,
    BeforeValidator(_clean_text),
    Field(max_length=MAX_PROMPT_CHARACTERS, json_schema_extra={"pattern": CLEAN_PATTERN}),
]
ClassName = Annotated[
    str,
    BeforeValidator(_not_blank),
    Field(min_length=1, max_length=MAX_CLASS_CHARACTERS, json_schema_extra={"pattern": TEXT_PATTERN}),
]
Picture = Annotated[
    Any,
    PlainValidator(_picture),
    WithJsonSchema(
        {
            "type": "string",
            "format": "picture",
            "description": "PNG, JPEG or WebP file as base64 or as a data URI; at most 10 MB, 16–8,192 px "
            "a side, 25 megapixels. Addresses of pictures are never fetched.",
            "examples": [EXAMPLE_PICTURE],
        }
    ),
]
Seed = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_SEED,
        description="Start of the random numbers; the same seed and request give the same result. "
        "Candidate c uses seed + c. Left out: the server draws one below 2^53 and returns it.",
    ),
]
Count = Annotated[int, Field(ge=1, le=16, description="How many results to return, 1–16.")]
Candidates = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_CANDIDATES,
        description="How many to generate, n–256. More than n: they are scored and the best n come back.",
    ),
]
MaxTokens = Annotated[
    int | None,
    Field(ge=1, le=MAX_TOKENS, description="Tokens to generate at most; left out: the whole region."),
]
TopP = Annotated[
    float,
    Field(ge=0, le=1, description="Keep the likeliest tokens whose probabilities add up to this; 1: all."),
]
Temperature = Annotated[
    float,
    Field(ge=0.01, le=10, description="Divides the logits, 0.01–10; below 1 plays safe, above 1 dares."),
]
Stream = Annotated[
    bool,
    Field(description="Answer as server-sent events: progress, partial results, and the whole reply last."),
]
PictureFormat = Literal["png", "jpeg", "webp"]


class TextSamplingFields(Schema):
    top_k: int = Field(64, ge=0, le=65_536, description="Keep the k likeliest tokens; 0: all, 1: greedy.")
    top_p: TopP = 0.8
    temperature: Temperature = 0.9


class ImageSamplingFields(Schema):
    top_k: int = Field(
        768, ge=0, le=65_536, description="Keep the k likeliest image codes; 0: all, 1: greedy."
    )
    top_p: TopP = 0.99
    temperature: Temperature = 1.0
