"""Replies of the OpenAI-compatible routes, and the events of their streams."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field

from app.fields import ImageFormat, SamplingReply
from app.tasks.base import WarningReply
from jobs.contract.results import FinishReason, Result, Usage


def _is_none(value: object) -> bool:
    return value is None


T = TypeVar("T")
AlwaysNull = Annotated[T | None, Field(description="Always null.")]


Warnings = Annotated[
    list[WarningReply],
    Field(description="Absent without warnings.", exclude_if=lambda warnings: not warnings),
]


class ImageData(BaseModel):
    b64_json: Annotated[str | None, Field(description="The image file as base64.", exclude_if=_is_none)] = (
        None
    )
    url: Annotated[str | None, Field(description="The image file as a data URI.", exclude_if=_is_none)] = None
    seed: int = Field(description="The seed of this image alone.")


class TokenDetails(BaseModel):
    image_tokens: int
    text_tokens: int


class ImagesUsage(BaseModel):
    input_tokens: int = Field(description="Tokens that the network read: words, and codes of kept cells.")
    input_tokens_details: TokenDetails
    output_tokens: int = Field(description="Image codes that it generated, for discarded candidates too.")
    output_tokens_details: TokenDetails
    total_tokens: int


class GeneratedImagesReply(BaseModel):
    created: int = Field(description="When the request was accepted, in seconds since 1970.")
    data: list[ImageData]
    background: Literal["opaque"] = "opaque"
    output_format: ImageFormat
    size: str = Field(description="The size of the images.", examples=["128x128"])
    usage: ImagesUsage
    warnings: Warnings = Field(default_factory=list)


class TextUsage(BaseModel):
    prompt_tokens: int = Field(description="Tokens that the network read, image codes included.")
    completion_tokens: int = Field(
        description="Generated tokens of the choices, without discarded candidates."
    )
    total_tokens: int


class ChatMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: AlwaysNull[str] = None


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    logprobs: AlwaysNull[dict[str, Any]] = None
    finish_reason: FinishReason


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: AlwaysNull[dict[str, Any]] = None
    finish_reason: FinishReason | None = Field(description="Null in a stream until the text has ended.")


class TextReply(BaseModel):
    id: str = Field(description="The job of the request.")
    created: int
    model: str = Field(description="A name that /v1/models/{id} has.")
    system_fingerprint: str = Field(description="The revision of the checkpoint.")
    usage: TextUsage
    warnings: Warnings = Field(default_factory=list)


class ChatReply(TextReply):
    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]


class CompletionReply(TextReply):
    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]


class ImageEvent(BaseModel):
    """A partial or completed image; `type` starts with image_generation or image_edit."""

    type: str
    b64_json: str
    created_at: int
    size: str
    quality: Literal["auto"] = "auto"
    background: Literal["opaque"] = "opaque"
    output_format: str


class PartialImageEvent(ImageEvent):
    partial_image_index: int
    image_index: int


class CompletedImageEvent(ImageEvent):
    usage: ImagesUsage
    image_index: int
    warnings: Warnings = Field(default_factory=list)


class ChunkChoice(BaseModel):
    index: int
    delta: dict[str, str]
    logprobs: AlwaysNull[dict[str, Any]] = None
    finish_reason: FinishReason | None = None


class TextChunk(BaseModel):
    id: str
    created: int
    model: str
    system_fingerprint: str
    object: Literal["chat.completion.chunk", "text_completion"]
    choices: list[ChunkChoice] | list[CompletionChoice]
    usage: TextUsage | None = Field(None, exclude_if=_is_none)
    warnings: Warnings = Field(default_factory=list)


class GenerationConfigReply(BaseModel):
    """Sampling settings of a request that omits them, by task, and examples for each task."""

    text2image: SamplingReply
    image2text: SamplingReply
    text2text: SamplingReply
    examples: dict[str, list[dict[str, Any]]] = Field(
        description="Request bodies by task that the model serves well; may be empty."
    )


class ModelReply(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When the checkpoint's newest file was written, in seconds since 1970.")
    owned_by: str = "rudolph"
    revision: str = Field(description="Digest of the checkpoint's files.")
    tasks: list[str]
    size: str = Field(description="The size that it draws, in pixels.")
    generation_config: GenerationConfigReply


class ModelListReply(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelReply]


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
