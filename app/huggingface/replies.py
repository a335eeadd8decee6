"""Replies of the hub's tasks."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.reply_fields import AlwaysNull, WrittenTokens


class GenerationDetails(BaseModel):
    finish_reason: Literal["length", "eos_token"] = Field(
        description="`length`: the text was cut. `eos_token`: it ended, also at a stop sequence."
    )
    generated_tokens: WrittenTokens
    seed: Annotated[
        int | None, Field(description="The seed of the request; null if the request has none.")
    ] = None
    prefill: list[int] = Field(default_factory=list[int], description="Always empty.")
    tokens: list[int] = Field(default_factory=list[int], description="Always empty.")


class GeneratedTextReply(BaseModel):
    generated_text: str = Field(
        description="The description, or the continuation; with `return_full_text` the prompt before it."
    )
    details: Annotated[
        GenerationDetails | None,
        Field(
            description="Only if `details` is true in the request.",
            exclude_if=lambda details: details is None,
        ),
    ] = None


class LabelReply(BaseModel):
    label: str = Field(description="A label of the request. The best one is first.")
    score: float = Field(description="Probability among the labels, 0–1; higher is better.")


class HubAnswerReply(BaseModel):
    answer: str = Field(description="The answer of the model; there is one.")
    score: Annotated[float, Field(description="Always 1: the share among one answer.")] = 1.0


class StreamToken(BaseModel):
    """A piece of the text. The workers send no ids and probabilities of tokens."""

    id: AlwaysNull[int] = None
    text: str = Field(description="The next piece of the text; it may have several words.")
    logprob: AlwaysNull[float] = None
    special: Annotated[bool, Field(description="Always false.")] = False


class StreamedText(BaseModel):
    """A piece of a streamed text."""

    index: int = Field(description="Number of the event, from 1.")
    token: StreamToken
    generated_text: Annotated[
        str | None, Field(description="The whole text, in the last event; null in the others.")
    ] = None
    details: Annotated[
        GenerationDetails | None, Field(description="In the last event; null in the others.")
    ] = None
