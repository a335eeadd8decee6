"""Bodies of the native task routes, as the HTTP contract names their fields."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.schemas.fields import (
    AT_MOST_ONE_PLACE_PATTERN,
    ONE_PLACE_PATTERN,
    Candidates,
    ClassName,
    Count,
    ImageSamplingFields,
    MaxTokens,
    OptionalText,
    Picture,
    PictureFormat,
    Schema,
    Seed,
    Stream,
    Text,
    TextSamplingFields,
)

MAX_PARTIAL_IMAGES = 64
MAX_CODE = 65_535
MAX_CODES = 4096
MAX_RANKED = 256
MAX_CLASSES = 1000


class CandidateFields(Schema):
    n: Count = 1
    candidates: Candidates = None

    @model_validator(mode="after")
    def _enough_candidates(self) -> "CandidateFields":
        if self.candidates is not None and self.candidates < self.n:
            raise PydanticCustomError(
                "too_few_candidates",
                "candidates must be at least n = {n}; got {candidates}",
                {"n": self.n, "candidates": self.candidates, "field": "candidates"},
            )
        return self


class BordersBody(Schema):
    up: int = Field(
        0, ge=0, le=64, description="Rows kept at the top, in cells of 8×8 px of the drawn picture."
    )
    down: int = Field(0, ge=0, le=64, description="Rows kept at the bottom, in cells.")
    left: int = Field(0, ge=0, le=64, description="Columns kept at the left, in cells.")
    right: int = Field(0, ge=0, le=64, description="Columns kept at the right, in cells.")


def _only(given: str, absent: str) -> dict[str, Any]:
    """Schema of an object that has one of two fields; the other may stand there as null."""
    return {"required": [given], "properties": {given: {"not": {"type": "null"}}, absent: {"type": "null"}}}


class ImagePromptBody(Schema):
    """A picture of which a part is kept: say which with `borders` or with `mask`, not both."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [_only("borders", "mask"), _only("mask", "borders")]}
    )

    image: Picture
    borders: BordersBody | None = Field(
        None, description="What is kept of the picture; the rest is drawn anew."
    )
    mask: Picture | None = Field(
        None, description="PNG of the picture's size; cells that hold a pixel with alpha 0 are drawn anew."
    )

    @model_validator(mode="after")
    def _one_way(self) -> "ImagePromptBody":
        if (self.borders is None) == (self.mask is None):
            raise PydanticCustomError("image_prompt", "give borders or mask, one of the two")
        return self


class Text2ImageBody(ImageSamplingFields, CandidateFields):
    """Draw pictures for a text."""

    prompt: Text = Field(
        description="What to draw, in Russian; lower-cased, cut at the model's left text region."
    )
    guidance: float = Field(
        0.0, ge=0, le=1, description="Weight of the unprompted probabilities in the mixture; 0: prompt alone."
    )
    seed: Seed = None
    image_prompt: ImagePromptBody | None = None
    format: PictureFormat = "png"
    rerank: bool = Field(False, description="Score and order the pictures even when candidates = n.")
    return_codes: bool = Field(False, description="Return each picture's image codes too.")
    stream: Stream = False
    partial_images: int = Field(
        0,
        ge=0,
        le=MAX_PARTIAL_IMAGES,
        description="How often to show each picture while it grows: events of the job, finished rows drawn, "
        "the rest grey.",
    )


class Image2TextBody(TextSamplingFields, CandidateFields):
    """Describe a picture."""

    image: Picture
    template: OptionalText = Field("", description="Words that every caption begins with.")
    max_tokens: MaxTokens = None
    seed: Seed = None
    rerank: bool | None = Field(
        None, description="Order captions by score ÷ count; left out: when candidates > n."
    )
    return_tokens: bool = Field(False, description="Return each caption's token ids too.")
    stream: Stream = False


class Text2TextBody(TextSamplingFields, CandidateFields):
    """Continue a text."""

    prompt: Text
    max_tokens: MaxTokens = None
    seed: Seed = None
    stream: Stream = False


class CodesBody(Schema):
    codes: list[Annotated[int, Field(ge=0, le=MAX_CODE)]] = Field(min_length=1, max_length=MAX_CODES)


def _kind_of_picture(value: Any) -> str:
    return "#codes" if isinstance(value, dict | CodesBody) else "#file"


PictureOrCodes = Annotated[
    Annotated[Picture, Tag("#file")] | Annotated[CodesBody, Tag("#codes")], Discriminator(_kind_of_picture)
]
"""A file, or image codes. The tags only choose a branch; `faults` takes them out of the reported path."""


class RankImagesBody(Schema):
    """Order pictures by how well they fit a text."""

    text: Text
    images: list[PictureOrCodes] = Field(
        min_length=1, max_length=MAX_RANKED, description="1–256 pictures, each a file or its image codes."
    )


class RankTextsBody(Schema):
    """Order texts by how well they fit a picture."""

    image: Picture
    texts: list[Text] = Field(min_length=1, max_length=MAX_RANKED, description="1–256 texts.")


class ClassifyBody(Schema):
    """Name what a picture shows, out of given classes, without training."""

    image: Picture
    classes: list[ClassName] = Field(
        min_length=2, max_length=MAX_CLASSES, description="2–1,000 names.", examples=[["кот", "собака"]]
    )
    template: OptionalText = Field(
        "{}",
        description="Right text; `{}` stands for the class.",
        examples=["это {}"],
        json_schema_extra={"pattern": ONE_PLACE_PATTERN},
    )
    left_template: OptionalText = Field(
        "",
        description="Left text; may hold one `{}`. Empty: none.",
        json_schema_extra={"pattern": AT_MOST_ONE_PLACE_PATTERN},
    )

    @field_validator("template")
    @classmethod
    def _one_place(cls, value: str) -> str:
        if value.count("{}") != 1:
            raise PydanticCustomError("template_place", "must hold `{}` exactly once, where the class stands")
        return value

    @field_validator("left_template")
    @classmethod
    def _at_most_one_place(cls, value: str) -> str:
        if value.count("{}") > 1:
            raise PydanticCustomError("template_place", "may hold `{}` at most once, where the class stands")
        return value


class AnswerBody(Schema):
    """Answer a question, about a picture or without one; only fine-tuned checkpoints can."""

    question: Text = Field(examples=["Что на картинке?"])
    image: Picture | None = None
    max_tokens: MaxTokens = None


TaskName = Literal["text2image", "image2text", "text2text", "rank_images", "rank_texts", "classify", "answer"]


class JobBody(Schema):
    """Any task, queued; the answer is collected later."""

    task: TaskName
    input: dict[str, Any] = Field(description="The body of the task's own route.")
    priority: int = Field(0, ge=-10, le=10, description="Lower runs earlier.")
    deadline_s: float | None = Field(
        None, ge=1, le=86_400, description="Seconds after which the job expires, time in the queue included."
    )
