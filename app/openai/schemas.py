"""Bodies of the OpenAI-compatible routes. `app.openai.parameters` decides about fields that are not here.

Some native fields are accepted too (`seed`, `candidates`, `guidance`, sampling). The SDK's `extra_body` sends
them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.example_images import EXAMPLE_IMAGE, EXAMPLE_MASK
from app.fields import (
    Candidates,
    FirstFault,
    ImageFile,
    ImageFormat,
    Mask,
    OptionalText,
    Seed,
    Stop,
    Text,
    TokenFilters,
)

MAX_IMAGES = 10
MAX_CHOICES = 16
MAX_MESSAGES = 64
MAX_PARTS = 64
MAX_PROMPTS = 64
MAX_EDITED = 16
"""Images of an edit; the first is edited."""
MAX_MESSAGE_CHARACTERS = 100_000
"""Of one text part. A system text may be long; a question has the bound of its task."""


class OpenAIBody(FirstFault):
    """Base of the bodies. Fields that are not declared are kept for `app.openai.parameters`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)

    model: str | None = Field(None, max_length=256, description="A name that `/v1/models` lists.")


class SamplingFields(TokenFilters):
    """Sampling settings as OpenAI has them; temperature may be 0."""

    temperature: Annotated[float | None, Field(ge=0, le=10)] = None


class ImagesBody(SamplingFields, OpenAIBody):
    """Fields of all image routes."""

    n: Annotated[int | None, Field(ge=1, le=MAX_IMAGES)] = None
    size: str | None = Field(
        None, max_length=32, description="`auto`, or width x height such as 1024x1024; the image is fitted."
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="`url`: a data URI, because images are not hosted."
    )
    output_format: ImageFormat | None = None
    output_compression: Annotated[int | None, Field(ge=0, le=100)] = Field(
        None, description="Quality of the encoder for jpeg and webp."
    )
    background: Literal["auto", "opaque", "transparent"] | None = None
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] | None = None
    user: str | None = None
    seed: Seed = None
    candidates: Candidates = None
    guidance: Annotated[float | None, Field(ge=0, le=1)] = None


class PromptedImagesBody(ImagesBody):
    """Fields of the image routes with a prompt."""

    prompt: Text
    stream: bool | None = None
    partial_images: Annotated[int | None, Field(ge=0, le=3)] = None
    complexity: Literal["low", "medium", "high"] | None = None


class GenerationsBody(PromptedImagesBody):
    """Generate images for a prompt."""

    moderation: Literal["auto", "low"] | None = None
    style: Literal["vivid", "natural"] | None = None


def address_of(value: Any) -> Any:
    """Return the data URI of `{"image_url": …}`, which is also accepted as plain text."""
    if not isinstance(value, dict):
        return value
    if "image_url" not in value:
        raise PydanticCustomError(
            "text_file_id", "needs image_url with a data URI; uploaded files are not stored here"
        )
    url = value["image_url"]
    return url.get("url") if isinstance(url, dict) else url


def _addresses(value: Any) -> Any:
    return [address_of(item) for item in value] if isinstance(value, list) else [address_of(value)]


_Images = Annotated[list[ImageFile], Field(min_length=1, max_length=MAX_EDITED)]


class EditsBody(PromptedImagesBody):
    """Redraw the part of an image where `mask`, or the image itself, has alpha 0.

    Without transparency the whole image is a hint: half of its cells are kept.
    """

    image: Annotated[_Images, BeforeValidator(_addresses)] | None = None
    images: Annotated[_Images, BeforeValidator(_addresses)] | None = None
    mask: Annotated[Mask | None, BeforeValidator(address_of)] = None
    input_fidelity: Literal["high", "low"] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "EditsBody":
        if (self.image is None) == (self.images is None):
            raise PydanticCustomError(
                "image_prompt", "send image, or images with one {{image_url}} each", {"field": "image"}
            )
        return self

    @property
    def pictures(self) -> list[Any]:
        return self.image or self.images or []


class VariationsBody(ImagesBody):
    """Draw variations of an image: half of its cells are kept."""

    image: ImageFile


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ImageUrl(_Part):
    url: ImageFile


class MessagePart(_Part):
    type: Literal["text", "image_url"]
    text: str | None = Field(None, max_length=MAX_MESSAGE_CHARACTERS)
    image_url: ImageUrl | None = None


def _parts(value: Any) -> Any:
    """Return a list of parts: a plain string is one text part, null is none."""
    if value is None:
        return []
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class Message(_Part):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[MessagePart], BeforeValidator(_parts), Field(max_length=MAX_PARTS)]


class TextBody(SamplingFields, OpenAIBody):
    """Fields of both text routes."""

    n: Annotated[int | None, Field(ge=1, le=MAX_CHOICES)] = None
    best_of: Annotated[int | None, Field(ge=1, le=256)] = Field(
        None, description="Generate this many and return the best n; `candidates` is the same."
    )
    max_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    seed: Seed = None
    candidates: Candidates = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _enough_candidates(self) -> "TextBody":
        if self.best_of is not None:
            if self.best_of < self.num_choices:
                raise PydanticCustomError(
                    "too_few_candidates",
                    "must be at least n = {n}; got {best_of}",
                    {"n": self.num_choices, "best_of": self.best_of, "field": "best_of"},
                )
            if self.candidates not in (None, self.best_of):
                raise PydanticCustomError(
                    "too_few_candidates",
                    "and candidates are two names of one setting; send one of them",
                    {"field": "best_of"},
                )
        return self

    @property
    def num_choices(self) -> int:
        return self.n or 1

    @property
    def streams_usage(self) -> bool:
        """Whether the last chunk of a stream has the usage."""
        return bool(self.stream_options and self.stream_options.get("include_usage"))


class ChatBody(TextBody):
    """One image, and a question about it where the checkpoint can answer."""

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    template: OptionalText | None = Field(None, description="Words at the beginning of a description.")


def _prompts(value: Any) -> Any:
    prompts = value if isinstance(value, list) else [value]
    if any(isinstance(item, int | list) for item in prompts):
        raise PydanticCustomError("text_tokens", "must be a text or a list of texts, not token ids")
    return prompts


_Prompts = Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)]


class CompletionBody(TextBody):
    """Continue a text, or each of several."""

    prompt: Annotated[_Prompts, BeforeValidator(_prompts, json_schema_input_type=Text | _Prompts)]
    echo: bool | None = None


_EXAMPLE_PART = {"type": "image_url", "image_url": {"url": EXAMPLE_IMAGE}}
EXAMPLES: Mapping[type[OpenAIBody], dict[str, Any]] = {
    GenerationsBody: {"prompt": "сова на зелёном фоне", "n": 1, "size": "auto"},
    EditsBody: {"prompt": "клубника", "image": EXAMPLE_IMAGE, "mask": EXAMPLE_MASK},
    VariationsBody: {"image": EXAMPLE_IMAGE, "n": 1},
    ChatBody: {"messages": [{"role": "user", "content": [_EXAMPLE_PART]}]},
    CompletionBody: {"prompt": "морда", "n": 2},
}
"""A body of each POST route, for the OpenAPI document."""
