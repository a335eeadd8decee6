"""Bodies of the OpenAI-compatible routes. `app.openai.parameters` decides about fields that are not here.

Some native fields are accepted too (`seed`, `candidates`, `guidance`, sampling). The SDK's `extra_body` sends
them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.example_images import EXAMPLE_IMAGE, EXAMPLE_MASK
from app.fields import (
    CANDIDATES,
    STOP,
    Candidates,
    DrawnText,
    FirstFault,
    Guidance,
    ImageFile,
    Seed,
    Stop,
    Text,
    TokenFilters,
)
from app.openai.fields import (
    AnyMaxTokens,
    Background,
    EditMask,
    Hint,
    ImageAddress,
    OutputCompression,
    OutputFormat,
    PartialImages,
    Quality,
    Size,
    Streamed,
    StreamOptions,
    Temperature,
    Template,
    User,
    address_of,
)
from app.openai.messages import MAX_MESSAGES, Message

MAX_IMAGES = 10
MAX_CHOICES = 16
MAX_PROMPTS = 64
MAX_EDITED = 16
"""Images of an edit; the first is edited."""


class OpenAIBody(FirstFault):
    """Base of the bodies. Fields that are not declared are kept for `app.openai.parameters`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)

    model: str | None = Field(
        None,
        max_length=256,
        description="A name that `/v1/models` lists, or `rudolph`; another one is 404. Omitted: the loaded "
        "model.",
    )


class SamplingFields(TokenFilters):
    """Sampling settings as OpenAI has them; temperature may be 0."""

    temperature: Temperature = None


class ImagesBody(SamplingFields, OpenAIBody):
    """Fields of all image routes."""

    n: Annotated[int | None, Field(ge=1, le=MAX_IMAGES)] = Field(
        None, description="Number of images, 1–10. Omitted: 1."
    )
    size: Size = None
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="`url`: a data URI, because images are not hosted. Omitted: `b64_json`."
    )
    output_format: OutputFormat = None
    output_compression: OutputCompression = None
    background: Background = None
    quality: Quality = None
    user: User = None
    seed: Seed = None
    candidates: Candidates = None
    guidance: Guidance[float | None] = None


class PromptedImagesBody(ImagesBody):
    """Fields of the image routes with a prompt."""

    prompt: DrawnText
    stream: Streamed = None
    partial_images: PartialImages = None
    complexity: Hint[Literal["low", "medium", "high"]] = None


class GenerationsBody(PromptedImagesBody):
    """Generate images for a prompt."""

    moderation: Literal["auto", "low"] | None = Field(
        None, description="No effect: the server checks neither texts nor images for their content."
    )
    style: Hint[Literal["vivid", "natural"]] = None


def _addresses(value: Any) -> Any:
    if value is None:
        return None
    return [address_of(item) for item in value] if isinstance(value, list) else [address_of(value)]


_Image = ImageFile | ImageAddress
_Images = Annotated[list[ImageFile], Field(min_length=1, max_length=MAX_EDITED)]
_SentImages = Annotated[list[_Image], Field(min_length=1, max_length=MAX_EDITED)]
EditedImages = Annotated[
    _Images | None, BeforeValidator(_addresses, json_schema_input_type=_Image | _SentImages | None)
]


class EditsBody(PromptedImagesBody):
    """Redraw the part of an image where `mask`, or the image itself, has alpha 0.

    Without transparency the whole image is a hint: half of its cells are kept.
    """

    image: EditedImages = Field(
        None,
        description="One image or up to 16. The first is redrawn; `warnings` names the others. Send this or "
        "`images`.",
    )
    images: EditedImages = Field(
        None, description='The same as `image`. OpenAI\'s JSON has it, as `[{"image_url": "data:…"}]`.'
    )
    mask: EditMask = None
    input_fidelity: Literal["high", "low"] | None = Field(
        None, description="No effect; `warnings` names it unless it is `low`."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> "EditsBody":
        if (self.image is None) == (self.images is None):
            raise PydanticCustomError(
                "image_prompt", "send image, or images with one {image_url} each", {"field": "image"}
            )
        return self

    @property
    def pictures(self) -> list[Any]:
        return self.image or self.images or []


class VariationsBody(ImagesBody):
    """Draw variations of an image: half of its cells are kept."""

    guidance: Guidance[float | None] = Field(None, description="No effect: a variation has no prompt.")
    image: ImageFile


class TextBody(SamplingFields, OpenAIBody):
    """Fields of both text routes."""

    n: Annotated[int | None, Field(ge=1, le=MAX_CHOICES)] = Field(
        None,
        description="Number of choices for each prompt, 1–16, equal texts included. Omitted: 1. A question "
        "has one answer.",
    )
    best_of: Annotated[int | None, Field(ge=1, le=256)] = Field(
        None, description="The same as `candidates`, by OpenAI's name, n–256."
    )
    max_tokens: AnyMaxTokens = None
    seed: Seed = None
    candidates: Candidates = None
    stop: Annotated[Stop | None, Field(description=STOP)] = None
    stream: Streamed = None
    stream_options: StreamOptions | None = Field(
        None, description="Options of a stream; no effect without `stream`."
    )
    user: User = None

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
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatBody(TextBody):
    """One image, and a question about it where the checkpoint can answer.

    Sampling settings, `seed`, `candidates` and `template` have no effect on an answer; `warnings` names them.
    """

    messages: list[Message] = Field(
        min_length=1,
        max_length=MAX_MESSAGES,
        description="1–64 messages with one image together. Only a checkpoint that was fine-tuned for "
        "questions answers their texts. Others describe the image, and by default `warnings` says so.",
    )
    max_completion_tokens: AnyMaxTokens = Field(
        None, description="The newer name of `max_tokens`; of two values this one counts."
    )
    candidates: Candidates = Field(
        None,
        description=f"{CANDIDATES} Omitted: 8 to describe an image; n if that is more, and in a stream.",
    )
    template: Template = None


def _prompts(value: Any) -> Any:
    prompts = value if isinstance(value, list) else [value]
    if any(isinstance(item, int | list) for item in prompts):
        raise PydanticCustomError("text_tokens", "must be a text or a list of texts, not token ids")
    return prompts


_Prompts = Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)]


class CompletionBody(TextBody):
    """Continue a text, or each of several."""

    prompt: Annotated[_Prompts, BeforeValidator(_prompts, json_schema_input_type=Text | _Prompts)] = Field(
        description="The beginning of a text, in Russian, or a list of up to 64. Each is continued by a job "
        "of its own. A stream has one."
    )
    echo: bool | None = Field(None, description="Put the prompt before each continuation. Omitted: false.")


_EXAMPLE_PART = {"type": "image_url", "image_url": {"url": EXAMPLE_IMAGE}}
EXAMPLES: Mapping[type[OpenAIBody], dict[str, Any]] = {
    GenerationsBody: {"prompt": "сова на зелёном фоне", "n": 1, "size": "auto"},
    EditsBody: {"prompt": "клубника", "image": EXAMPLE_IMAGE, "mask": EXAMPLE_MASK},
    VariationsBody: {"image": EXAMPLE_IMAGE, "n": 1},
    ChatBody: {"messages": [{"role": "user", "content": [_EXAMPLE_PART]}]},
    CompletionBody: {"prompt": "морда", "n": 2},
}
"""A body of each POST route, for the OpenAPI document."""
