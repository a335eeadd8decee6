"""What the OpenAI-compatible routes answer, for the OpenAPI document. Replies are plain data, see
`app.compatible`.
"""

from typing import Literal

from pydantic import BaseModel, Field


class PictureReply(BaseModel):
    b64_json: str = Field(description="The picture's file as base64.")
    seed: int = Field(description="Draws this picture again.")


class TokenDetails(BaseModel):
    image_tokens: int
    text_tokens: int


class PicturesUsage(BaseModel):
    input_tokens: int = Field(description="Tokens that the network read: words, and codes of kept cells.")
    input_tokens_details: TokenDetails
    output_tokens: int = Field(description="Image codes that it wrote, those of discarded candidates too.")
    output_tokens_details: TokenDetails
    total_tokens: int


class PicturesReply(BaseModel):
    created: int = Field(description="When the request was accepted, in seconds since 1970.")
    data: list[PictureReply]
    background: Literal["opaque"]
    output_format: Literal["png", "jpeg", "webp"]
    size: str = Field(description="What the loaded model draws.", examples=["128x128"])
    usage: PicturesUsage


class TextUsage(BaseModel):
    prompt_tokens: int = Field(description="Tokens that the network read, image codes included.")
    completion_tokens: int
    total_tokens: int


class ChatMessage(BaseModel):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    logprobs: None
    finish_reason: Literal["stop"]


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: None
    finish_reason: Literal["stop"]


class TextReply(BaseModel):
    id: str = Field(description="The job behind the request.")
    created: int
    model: str
    usage: TextUsage


class ChatReply(TextReply):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class CompletionReply(TextReply):
    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class ModelReply(BaseModel):
    id: str
    object: Literal["model"]
    created: int = Field(description="When the checkpoint's newest file was written, in seconds since 1970.")
    owned_by: str
    revision: str = Field(description="Digest of the checkpoint's files.")
    tasks: list[str]
    size: str = Field(description="What it draws, in pixels.")


class ModelListReply(BaseModel):
    object: Literal["list"]
    data: list[ModelReply]
