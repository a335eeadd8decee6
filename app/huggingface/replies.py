"""Replies of the hub's tasks."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class GenerationDetails(BaseModel):
    finish_reason: Literal["length", "eos_token", "stop_sequence"] = Field(description="Why the text ended.")
    generated_tokens: int = Field(description="Generated tokens of the text.")
    seed: Annotated[int | None, Field(description="The seed of the request.")] = None
    prefill: list[int] = Field(default_factory=list[int], description="Always empty.")
    tokens: list[int] = Field(default_factory=list[int], description="Always empty.")


class GeneratedTextReply(BaseModel):
    generated_text: str
    details: Annotated[
        GenerationDetails | None,
        Field(description="If `details` is true.", exclude_if=lambda details: details is None),
    ] = None


class LabelReply(BaseModel):
    label: str
    score: float = Field(description="Probability among the labels; higher is better.")


class HubAnswerReply(BaseModel):
    answer: str
    score: Annotated[
        float, Field(description="Share among the answers of the reply, of which there is one.")
    ] = 1.0


class StreamToken(BaseModel):
    """A piece of a streamed text. The workers send no ids and probabilities of tokens."""

    id: int | None = None
    text: str
    logprob: float | None = None
    special: bool = False


class StreamedText(BaseModel):
    index: int
    token: StreamToken
    generated_text: str | None = None
    details: GenerationDetails | None = None
