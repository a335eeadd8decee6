"""Replies of the OpenAI-compatible routes, and the events of their streams."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.fields import ImageFormat
from app.reply_fields import (
    FINISH_REASON,
    AlwaysNull,
    AnyQuality,
    Assistant,
    Created,
    Finish,
    ImageSize,
    JobId,
    Kind,
    ModelName,
    Opaque,
    ReadTokens,
    TotalTokens,
)
from app.tasks.base import WarningReply
from jobs.contract.results import FinishReason, Result, Usage


def _is_none(value: object) -> bool:
    return value is None


Warnings = Annotated[
    list[WarningReply],
    Field(
        description="What of the request had no effect. Absent without warnings.",
        exclude_if=lambda warnings: not warnings,
    ),
]


Fingerprint = Annotated[str, Field(description="The revision of the checkpoint.")]
ChoiceIndex = Annotated[int, Field(description="Index in `choices`, from 0.")]


class ImageData(BaseModel):
    b64_json: Annotated[
        str | None,
        Field(description="The image file as base64. Absent if `url` was requested.", exclude_if=_is_none),
    ] = None
    url: Annotated[
        str | None,
        Field(
            description="The image file as a data URI. Absent unless it was requested.", exclude_if=_is_none
        ),
    ] = None
    seed: int = Field(description="The seed of this image alone: send it with n = 1.")


class TokenDetails(BaseModel):
    """The same tokens by kind."""

    image_tokens: int = Field(description="Image codes: of kept cells, or generated ones.")
    text_tokens: int = Field(description="Tokens of words; none are generated.")


class ImagesUsage(BaseModel):
    """Tokens that the request read and generated."""

    input_tokens: int = Field(description="Tokens that the network read: words, and codes of kept cells.")
    input_tokens_details: TokenDetails
    output_tokens: int = Field(description="Image codes that it generated, for discarded candidates too.")
    output_tokens_details: TokenDetails
    total_tokens: TotalTokens


class GeneratedImagesReply(BaseModel):
    created: Created
    data: list[ImageData] = Field(
        description="The images: best first when scored, else in the order of candidates."
    )
    background: Opaque[Literal["opaque"]] = "opaque"
    output_format: ImageFormat = Field(description="Format of the image files.")
    size: ImageSize[str]
    usage: ImagesUsage
    warnings: Warnings = Field(default_factory=list)


class TextUsage(BaseModel):
    """Tokens that the request read and generated."""

    prompt_tokens: ReadTokens
    completion_tokens: int = Field(
        description="Generated tokens of the choices, without discarded candidates."
    )
    total_tokens: TotalTokens


class ChatMessage(BaseModel):
    """The text of the choice."""

    role: Assistant[Literal["assistant"]] = "assistant"
    content: str = Field(description="The description of the image, or the answer to the question.")
    refusal: AlwaysNull[str] = None


class ChatChoice(BaseModel):
    index: ChoiceIndex
    message: ChatMessage
    logprobs: AlwaysNull[dict[str, Any]] = None
    finish_reason: Finish


class CompletionChoice(BaseModel):
    index: ChoiceIndex
    text: str = Field(
        description="The continuation, and with `echo` the prompt before it. In a stream: the next piece."
    )
    logprobs: AlwaysNull[dict[str, Any]] = None
    finish_reason: FinishReason | None = Field(
        description=f"{FINISH_REASON} Null in a stream until the text has ended."
    )


class TextReply(BaseModel):
    id: str = Field(description="The job of the request; of several prompts, that of the first.")
    created: Created
    model: ModelName
    system_fingerprint: Fingerprint
    usage: TextUsage
    warnings: Warnings = Field(default_factory=list)


class ChatReply(TextReply):
    object: Kind[Literal["chat.completion"]] = "chat.completion"
    choices: list[ChatChoice] = Field(description="The n texts: best first when scored.")


class CompletionReply(TextReply):
    object: Kind[Literal["text_completion"]] = "text_completion"
    choices: list[CompletionChoice] = Field(
        description="n texts for each prompt, in the order of the prompts: best first when scored."
    )


class ImageEvent(BaseModel):
    """A partial or completed image; `type` starts with image_generation or image_edit."""

    type: str = Field(
        description="`image_generation` or `image_edit`, with `.partial_image` or `.completed`."
    )
    b64_json: str = Field(
        description="The image file as base64. Of a partial image: finished rows, the rest grey."
    )
    created_at: int = Field(description="When the event was sent, in seconds since 1970.")
    size: ImageSize[str]
    quality: AnyQuality[Literal["auto"]] = "auto"
    background: Opaque[Literal["opaque"]] = "opaque"
    output_format: str = Field(description="Format of the image file: png, jpeg or webp.")


class PartialImageEvent(ImageEvent):
    """An unfinished image."""

    partial_image_index: int = Field(description="Index among the partial images of this image, from 0.")
    image_index: int = Field(
        description="Index of the candidate, from 0. If images are scored, a completed one may have another."
    )


class CompletedImageEvent(ImageEvent):
    """A finished image."""

    usage: ImagesUsage = Field(description="Of all images in the last event; 0 in the others.")
    image_index: int = Field(description="Index of the image, from 0: best first when scored.")
    warnings: Warnings = Field(default_factory=list)


class ChunkChoice(BaseModel):
    """A piece of a text."""

    index: ChoiceIndex
    delta: dict[str, str] = Field(
        description="First `role` with an empty `content`, then pieces as `content`; empty at the end."
    )
    logprobs: AlwaysNull[dict[str, Any]] = None
    finish_reason: FinishReason | None = Field(
        default=None, description=f"{FINISH_REASON} Null until the text has ended."
    )


class TextChunk(BaseModel):
    """Pieces of texts."""

    id: JobId
    created: int = Field(description="When the stream began, in seconds since 1970.")
    model: ModelName
    system_fingerprint: Fingerprint
    object: Literal["chat.completion.chunk", "text_completion"] = Field(
        description="`text_completion` on `/v1/completions`."
    )
    choices: list[ChunkChoice] | list[CompletionChoice] = Field(
        description="One choice; all of them in the first chunk, none in one with `usage`."
    )
    usage: TextUsage | None = Field(
        None,
        description="Only in the last chunk, and only if `stream_options.include_usage` is true.",
        exclude_if=_is_none,
    )
    warnings: Warnings = Field(default_factory=list)


class SamplingReply(BaseModel):
    """Sampling settings of the task for a request that omits them."""

    temperature: float = Field(description="Divides the logits.")
    top_k: int = Field(description="The k likeliest tokens are kept; 0: all.")
    top_p: float = Field(description="The likeliest tokens with this total probability are kept; 1: all.")
    min_p: float = Field(description="Tokens below this share of the largest probability are dropped.")


class GenerationConfigReply(BaseModel):
    """Sampling settings of a request that omits them, by task, and examples for each task."""

    text2image: SamplingReply
    image2text: SamplingReply
    text2text: SamplingReply
    examples: dict[str, list[dict[str, Any]]] = Field(
        description="Request bodies by task that the model serves well; may be empty."
    )


class ModelReply(BaseModel):
    id: str = Field(description="A name of the loaded model, for the field `model` of requests.")
    object: Kind[Literal["model"]] = "model"
    created: int = Field(description="When the checkpoint's newest file was written, in seconds since 1970.")
    owned_by: str = Field(default="rudolph", description="Always `rudolph`.")
    revision: str = Field(description="Digest of the checkpoint's files.")
    tasks: list[str] = Field(
        description="Names of the tasks that it can do; another task is an error 409.",
        examples=[["text2image", "image2text"]],
    )
    size: str = Field(description="Width x height in pixels of the images that it draws.")
    generation_config: GenerationConfigReply


class ModelListReply(BaseModel):
    object: Kind[Literal["list"]] = "list"
    data: list[ModelReply] = Field(
        description="The loaded model, once for each name under which requests may name it."
    )


def images_usage(usage: Usage) -> ImagesUsage:
    words = usage.input_tokens - usage.input_image_tokens
    return ImagesUsage(
        input_tokens=usage.input_tokens,
        input_tokens_details=TokenDetails(image_tokens=usage.input_image_tokens, text_tokens=words),
        output_tokens=usage.output_tokens,
        output_tokens_details=TokenDetails(image_tokens=usage.output_tokens, text_tokens=0),
        total_tokens=usage.input_tokens + usage.output_tokens,
    )


def text_usage(input_tokens: int, output_tokens: int) -> TextUsage:
    return TextUsage(
        prompt_tokens=input_tokens,
        completion_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
    )


def result_warnings(result: Result, name_of: Callable[[str], str]) -> list[WarningReply]:
    """Return the warnings of a result, with the client's names of the fields."""
    return [
        WarningReply(code=warning.code, message=warning.message, param=name_of(warning.param))
        for warning in result.warnings
    ]
