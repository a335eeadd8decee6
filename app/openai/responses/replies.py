"""The reply of `/v1/responses`, and the events of its streams."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.openai.replies import AlwaysNull, Warnings

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class OutputText(BaseModel):
    type: Literal["output_text"] = "output_text"
    text: str = Field(description="The description or the answer.")
    annotations: list[Any] = Field(default_factory=list[Any], description="Always empty.")
    logprobs: list[Any] = Field(default_factory=list[Any], description="Always empty.")


class OutputMessage(BaseModel):
    type: Literal["message"] = "message"
    id: str
    role: Literal["assistant"] = "assistant"
    status: ItemStatus = Field(description="`incomplete`: the text was cut.")
    content: list[OutputText]


class ImageCall(BaseModel):
    type: Literal["image_generation_call"] = "image_generation_call"
    id: str
    status: ItemStatus
    result: str | None = Field(description="The image file as base64; null until it is drawn.")
    revised_prompt: AlwaysNull[str] = None
    output_format: str | None = Field(None, description="png, jpeg or webp.")
    size: str | None = Field(None, description="The size of the image.")
    background: Literal["opaque"] = "opaque"
    quality: Literal["auto"] = "auto"
    action: Literal["generate", "edit"] | None = Field(None, description="Whether an image was given.")
    seed: int | None = Field(None, description="The seed of the image.")


OutputItem = Annotated[OutputMessage | ImageCall, Field(discriminator="type")]


class CachedTokens(BaseModel):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class ReasoningTokens(BaseModel):
    reasoning_tokens: int = 0


class ResponsesUsage(BaseModel):
    input_tokens: int = Field(description="Tokens that the network read, image codes included.")
    input_tokens_details: CachedTokens = Field(default_factory=CachedTokens)
    output_tokens: int = Field(description="Tokens of the text, or all image codes that were generated.")
    output_tokens_details: ReasoningTokens = Field(default_factory=ReasoningTokens)
    total_tokens: int


class ResponseFault(BaseModel):
    code: str
    message: str


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponsesReply(BaseModel):
    id: str = Field(description="Only a response in the background is stored under it.")
    object: Literal["response"] = "response"
    created_at: int = Field(description="When the request was accepted, in seconds since 1970.")
    completed_at: int | None = Field(None, description="When the result was there.")
    status: ResponseStatus
    background: bool = False
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: AlwaysNull[str] = None
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any], description="As sent.")
    model: str = Field(description="A name that /v1/models/{id} has.")
    output: list[OutputItem] = Field(description="One message; or one image and an empty message.")
    parallel_tool_calls: bool = False
    previous_response_id: AlwaysNull[str] = None
    store: bool = Field(False, description="Whether GET /v1/responses/{id} finds the response.")
    temperature: float | None = None
    text: dict[str, Any] = Field(default_factory=lambda: {"format": {"type": "text"}})
    tool_choice: str | dict[str, Any] = "auto"
    tools: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    top_p: float | None = None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponsesUsage | None = Field(None, description="Null until the response has ended.")
    warnings: Warnings = Field(default_factory=list)


class ResponseEvent(BaseModel):
    """An event of a stream. The other fields depend on `type`."""

    model_config = ConfigDict(extra="allow")

    type: str
    sequence_number: int
