"""Bodies of the OpenAI-compatible routes. Unknown fields are accepted and ignored: clients send many.

Besides OpenAI's own fields some native ones are understood (`seed`, `candidates`, `guidance`, sampling), so
that `extra_body` of the SDK reaches them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.schemas.fields import Candidates, OptionalText, Picture, PictureFormat, Seed, Text, TopP

MAX_OPENAI_IMAGES = 10
MAX_CHOICES = 16
MAX_MESSAGES = 64
MAX_PARTS = 64


class OpenAISchema(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)


def _no_address(value: Any) -> Any:
    if value == "url":
        raise PydanticCustomError(
            "text_url", "cannot be url, since pictures are not hosted here; ask for b64_json"
        )
    return value


Temperature = Annotated[float | None, Field(ge=0, le=10)]


class ImagesBody(OpenAISchema):
    """What both image routes share."""

    prompt: Text
    model: str | None = None
    n: Annotated[int | None, Field(ge=1, le=MAX_OPENAI_IMAGES)] = None
    size: str | None = Field(None, max_length=32)
    response_format: Annotated[Literal["b64_json"] | None, BeforeValidator(_no_address)] = None
    output_format: PictureFormat | None = None
    stream: bool | None = None
    partial_images: Annotated[int | None, Field(ge=0, le=3)] = None
    user: str | None = None
    seed: Seed = None
    candidates: Candidates = None
    guidance: Annotated[float | None, Field(ge=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=0, le=65_536)] = None
    top_p: TopP | None = None
    temperature: Temperature = None


class GenerationsBody(ImagesBody):
    """Draw pictures for a prompt."""


class EditsBody(ImagesBody):
    """Draw parts of a picture anew: where `mask`, or the picture itself, has alpha 0."""

    image: Picture
    mask: Picture | None = None


class ImageAddress(OpenAISchema):
    url: Picture


class MessagePart(OpenAISchema):
    type: Literal["text", "image_url"]
    text: OptionalText | None = None
    image_url: ImageAddress | None = None


def _parts(value: Any) -> Any:
    """A plain string is one text part; null is none."""
    if value is None:
        return []
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class Message(OpenAISchema):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[MessagePart], BeforeValidator(_parts), Field(max_length=MAX_PARTS)]


class TextChoiceFields(OpenAISchema):
    model: str | None = None
    n: Annotated[int | None, Field(ge=1, le=MAX_CHOICES)] = None
    max_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    temperature: Temperature = None
    top_p: TopP | None = None
    top_k: Annotated[int | None, Field(ge=0, le=65_536)] = None
    seed: Seed = None
    candidates: Candidates = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None


class ChatBody(TextChoiceFields):
    """One picture, and a question about it where the checkpoint can answer."""

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    template: OptionalText | None = Field(None, description="Words that a description begins with.")


def _one_prompt(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) != 1:
            raise PydanticCustomError(
                "text_prompts", "must be one text; send several requests for several prompts"
            )
        return value[0]
    return value


class CompletionBody(TextChoiceFields):
    """Continue a text."""

    prompt: Annotated[Text, BeforeValidator(_one_prompt)]
    echo: bool | None = None
