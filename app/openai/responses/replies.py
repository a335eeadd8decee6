"""The reply of `/v1/responses`, and the events of its streams."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.openai.replies import Warnings
from app.reply_fields import (
    AlwaysNull,
    AlwaysZero,
    AnyQuality,
    Assistant,
    Created,
    Kind,
    ModelName,
    Opaque,
    ReadTokens,
    TotalTokens,
)

ItemId = Annotated[str, Field(description="Names the item in the events of a stream; it is not stored.")]
_ECHOED = "As sent; the default in a response that is read with GET."
_NOT_STORED = "Null in a response that is read with GET."

ItemStatus = Annotated[
    Literal["in_progress", "completed", "incomplete"],
    Field(
        description="`incomplete`: the text was cut. `in_progress`: only in events of a stream.",
    ),
]
ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class OutputText(BaseModel):
    """The text of a message."""

    type: Kind[Literal["output_text"]] = "output_text"
    text: str = Field(description="The description or the answer; empty beside an image.")
    annotations: list[Any] = Field(default_factory=list[Any], description="Always empty.")
    logprobs: list[Any] = Field(default_factory=list[Any], description="Always empty.")


class OutputMessage(BaseModel):
    """A text."""

    type: Kind[Literal["message"]] = "message"
    id: ItemId
    role: Assistant[Literal["assistant"]] = "assistant"
    status: ItemStatus
    content: list[OutputText] = Field(description="One text; none in the first event of a stream.")


class ImageCall(BaseModel):
    """An image."""

    type: Kind[Literal["image_generation_call"]] = "image_generation_call"
    id: ItemId
    status: ItemStatus
    result: str | None = Field(description="The image file as base64; null until it is drawn.")
    revised_prompt: AlwaysNull[str] = None
    output_format: str | None = Field(None, description="Format of the image file: png, jpeg or webp.")
    size: str | None = Field(
        None, description=f"Width x height of the image in pixels. {_NOT_STORED}", examples=["128x128"]
    )
    background: Opaque[Literal["opaque"]] = "opaque"
    quality: AnyQuality[Literal["auto"]] = "auto"
    action: Literal["generate", "edit"] | None = Field(
        None, description=f"`edit`: an image of the request was redrawn. {_NOT_STORED}"
    )
    seed: int | None = Field(None, description="The seed of this image; null until it is drawn.")


OutputItem = Annotated[OutputMessage | ImageCall, Field(discriminator="type")]


class CachedTokens(BaseModel):
    """Input tokens that a cache had or got: none."""

    cached_tokens: AlwaysZero = 0
    cache_write_tokens: AlwaysZero = 0


class ReasoningTokens(BaseModel):
    """Output tokens that are not of the output: none."""

    reasoning_tokens: AlwaysZero = 0


class ResponsesUsage(BaseModel):
    input_tokens: ReadTokens
    input_tokens_details: CachedTokens = Field(default_factory=CachedTokens)
    output_tokens: int = Field(description="Tokens of the text, or all image codes that were generated.")
    output_tokens_details: ReasoningTokens = Field(default_factory=ReasoningTokens)
    total_tokens: TotalTokens


class ResponseFault(BaseModel):
    code: str = Field(description="Stable, for programs; as in the error of a task's own route.")
    message: str = Field(description="What is wrong and what to do.")


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"] = Field(
        default="max_output_tokens",
        description="Always `max_output_tokens`, also for a text that was cut because its region was full.",
    )


class ResponsesReply(BaseModel):
    id: str = Field(description="Only a response in the background is stored under it.")
    object: Kind[Literal["response"]] = "response"
    created_at: Created
    completed_at: int | None = Field(
        None, description="When the job ended, in seconds since 1970; null without a result."
    )
    status: ResponseStatus = Field(
        description="`incomplete`: the text was cut. `queued` and `cancelled`: only in the background."
    )
    background: bool = Field(False, description="Whether it was requested in the background.")
    error: ResponseFault | None = Field(None, description="Why it failed, else null.")
    incomplete_details: IncompleteDetails | None = Field(
        None, description="Why the text was cut; null unless `status` is `incomplete`."
    )
    instructions: AlwaysNull[str] = None
    metadata: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        description=f"{_ECHOED} Empty if there are more than 16 texts, or one is above 512 characters.",
    )
    model: ModelName
    output: list[OutputItem] = Field(
        description="One message; or one image and an empty message. Empty until there is a result."
    )
    parallel_tool_calls: Literal[False] = Field(False, description="Always false.")
    previous_response_id: AlwaysNull[str] = None
    store: bool = Field(
        False, description="Whether GET /v1/responses/{id} has it; only one in the background is stored."
    )
    temperature: float | None = Field(None, description=_ECHOED)
    text: dict[str, Any] = Field(
        default_factory=lambda: {"format": {"type": "text"}},
        description='Always `{"format": {"type": "text"}}`.',
    )
    tool_choice: str | dict[str, Any] = Field("auto", description=_ECHOED)
    tools: list[dict[str, Any]] = Field(
        default_factory=list[dict[str, Any]], description=f"{_ECHOED} A mask and hints are left out."
    )
    top_p: float | None = Field(None, description=_ECHOED)
    truncation: Literal["disabled"] = Field("disabled", description="Always `disabled`.")
    usage: ResponsesUsage | None = Field(None, description="Null until the response has ended.")
    warnings: Warnings = Field(default_factory=list)


class ResponseEvent(BaseModel):
    """An event of a stream. The other fields depend on `type`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        description="As in OpenAI's API: from `response.created` to `response.completed`, which has the "
        "whole `response`; or `error`."
    )
    sequence_number: int = Field(description="Number of the event in the stream, from 0.")
