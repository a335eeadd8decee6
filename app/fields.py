"""Types of fields that several request bodies share: text, images, seeds, sampling; with their ranges.

Refused here: unknown fields, NaN and infinity, control characters, unpaired surrogates.
"""

import re
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from app.example_images import EXAMPLE_IMAGE, EXAMPLE_MASK
from jobs.contract.requests import Sampling

MAX_PROMPT_CHARACTERS = 2000
MAX_SEED = 2**63 - 1
MAX_CANDIDATES = 256
MAX_TOKENS = 4096
"""More than the text region of any preset. The loaded model has a lower bound."""

# The rules below as patterns for the OpenAPI document. The validators decide, because they can explain a
# refusal. A text has no control character but three, and is not blank.
_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_BLANKS = r"\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_REFUSED_CHARACTERS = re.compile(rf"[{_CONTROLS}\ud800-\udfff]")
CLEAN_PATTERN = rf"^[^{_CONTROLS}]*$"
TEXT_PATTERN = rf"^[^{_CONTROLS}]*[^{_CONTROLS}{_BLANKS}][^{_CONTROLS}]*$"
_NO_BRACES = rf"(?:[^{{{_CONTROLS}]|\{{+[^{{}}{_CONTROLS}])*\{{*"
ONE_BRACES_PATTERN = rf"^{_NO_BRACES}\{{\}}{_NO_BRACES}$"
AT_MOST_ONE_BRACES_PATTERN = rf"^{_NO_BRACES}(?:\{{\}}{_NO_BRACES})?$"


def _stop_at_first_fault(schema: Any) -> None:
    """Set `fail_fast` in every list of a schema of pydantic-core."""
    parts: Any = ()
    if isinstance(schema, dict):
        node = cast(dict[str, Any], schema)
        if node.get("type") == "list":
            node["fail_fast"] = True
        parts = node.values()
    elif isinstance(schema, list | tuple):
        parts = schema
    for part in parts:
        _stop_at_first_fault(part)


class FirstFault(BaseModel):
    """Base of every body: a list is not validated beyond its first fault.

    Only the first fault is reported. To collect a million of them takes ten seconds without other threads.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _stop_at_first_fault(schema)
        return schema


class Schema(FirstFault):
    """Base of every request body: refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


def _clean_text(value: Any) -> Any:
    # A longer text is refused for its length, and is not searched.
    if not isinstance(value, str) or len(value) > MAX_PROMPT_CHARACTERS:
        return value
    if found := _REFUSED_CHARACTERS.search(value):
        code, index = ord(found[0]), found.start()
        if 0xD800 <= code <= 0xDFFF:
            raise PydanticCustomError(
                "text_surrogate",
                "holds half of a surrogate pair at character {index}; send valid Unicode text",
                {"index": index},
            )
        raise PydanticCustomError(
            "text_control",
            "holds the control character U+{code} at character {index}; remove it",
            {"code": f"{code:04X}", "index": index},
        )
    return value


def not_blank(value: Any) -> Any:
    """Validate a text that holds more than blanks."""
    value = _clean_text(value)
    if isinstance(value, str) and len(value) <= MAX_PROMPT_CHARACTERS and not value.strip():
        raise PydanticCustomError("text_blank", "is empty; write at least one character")
    return value


def _image(value: Any) -> Any:
    if isinstance(value, str | bytes):
        return value
    raise PydanticCustomError(
        "image_type", "must be an image: a base64 string or a data URI of a PNG, JPEG or WebP file"
    )


Text = Annotated[
    str,
    BeforeValidator(not_blank),
    Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        examples=["сова на зелёном фоне"],
        json_schema_extra={"pattern": TEXT_PATTERN},
    ),
]
OptionalText = Annotated[
    str,
    BeforeValidator(_clean_text),
    Field(max_length=MAX_PROMPT_CHARACTERS, json_schema_extra={"pattern": CLEAN_PATTERN}),
]
IMAGE = (
    "PNG, JPEG or WebP file as base64 or as a data URI; at most 10 MB, 16–8,192 px a side, 25 megapixels. "
    "URLs are never fetched."
)
_IMAGE_SCHEMA: dict[str, Any] = {
    "type": "string",
    "format": "picture",
    "description": IMAGE,
}
ImageFile = Annotated[
    Any, PlainValidator(_image), WithJsonSchema({**_IMAGE_SCHEMA, "examples": [EXAMPLE_IMAGE]})
]
Mask = Annotated[Any, PlainValidator(_image), WithJsonSchema({**_IMAGE_SCHEMA, "examples": [EXAMPLE_MASK]})]
DrawnText = Annotated[
    Text,
    Field(
        description="What to draw, in Russian. It is lower-cased and cut at the model's left text region.",
    ),
]
Beginning = Annotated[Text, Field(description="The beginning of the text, in Russian.")]
Question = Annotated[Text, Field(description="The question, in Russian.", examples=["Что на картинке?"])]
MASK = "PNG of the image's size; cells that hold a pixel with alpha 0 are redrawn."
T = TypeVar("T")
Guidance = Annotated[
    T,
    Field(
        ge=0,
        le=1,
        description="Weight of the unconditional probabilities in the mixture, 0–1. 0, the default: the "
        "prompt alone; 1: no prompt.",
    ),
]
Seed = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_SEED,
        description="Seed of the random numbers; the same seed and request give the same result on the same "
        "kind of machine. On a GPU in float16 a result may also depend on the requests that run "
        "at the same time. Candidate c uses seed + c. Omitted: the server draws one below 2^53. Replies "
        "that have a `seed`, and the header x-seed, return it.",
    ),
]
Count = Annotated[int, Field(ge=1, le=16, description="Number of results to return, 1–16.")]
CANDIDATES = (
    "Number of results to generate, n–256. More than n: they are scored, and the best n are returned."
)
Candidates = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_CANDIDATES,
        description=f"{CANDIDATES} Omitted: n.",
    ),
]
MaxTokens = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_TOKENS,
        description="Maximum number of tokens to generate; those of a prompt do not count. Omitted: as many "
        "as the text region has room for.",
    ),
]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


StopText = Annotated[str, Field(min_length=1, max_length=200)]
StopTexts = Annotated[list[StopText], Field(max_length=16)]
STOP = (
    "One text or up to 16. The generated text, which is lower case, ends before the first of these. Omitted: "
    "none."
)
Stop = Annotated[
    StopTexts,
    BeforeValidator(_as_list, json_schema_input_type=StopText | StopTexts),
    Field(description=STOP),
]
Merge = Annotated[
    bool,
    Field(
        description="Return equal texts once, with their count. False: n texts, equal ones too; in the order "
        "of the candidates where these are n."
    ),
]
TopP = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="Keep the likeliest tokens whose probabilities add up to this; 1: all. Omitted: the "
        "model's default, see `/v1/models`.",
    ),
]
TopK = Annotated[
    int | None,
    Field(
        ge=0,
        le=65_536,
        description="Keep the k likeliest tokens; 0: all, 1: greedy. Omitted: the model's default, see "
        "`/v1/models`.",
    ),
]
MinP = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="Drop tokens below this share of the largest probability; 0: keep all. Applied after "
        "temperature, top_k and top_p. Omitted: the model's default, see `/v1/models`.",
    ),
]
Temperature = Annotated[
    float | None,
    Field(
        ge=0.01,
        le=10,
        description="Divides the logits, 0.01–10. Lower is more conservative, higher is more diverse. "
        "Omitted: the model's default, see `/v1/models`.",
    ),
]
Stream = Annotated[
    bool,
    Field(description="Reply with server-sent events: progress, partial results, and the full reply last."),
]
ImageFormat = Literal["png", "jpeg", "webp"]


class TokenFilters(BaseModel):
    """The sampling settings that have one range on all routes."""

    top_k: TopK = None
    top_p: TopP = None
    min_p: MinP = None


class SamplingFields(TokenFilters, Schema):
    """Sampling settings. A field that is omitted or null takes the model's default."""

    temperature: Temperature = None

    def sampling(self, defaults: Sampling) -> Sampling:
        """Return the settings with `defaults` for the fields that are omitted."""
        given = {name: value for name in SAMPLING_NAMES if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(defaults, **given)


SAMPLING_NAMES = tuple(SamplingFields.model_fields)


class CandidateFields(Schema):
    n: Count = 1
    candidates: Candidates = None

    @model_validator(mode="after")
    def _enough_candidates(self) -> "CandidateFields":
        if self.candidates is not None and self.candidates < self.n:
            raise PydanticCustomError(
                "too_few_candidates",
                "must be at least n = {n}; got {candidates}",
                {"n": self.n, "candidates": self.candidates, "field": "candidates"},
            )
        return self
