"""text2text: continue a text. Also the reply of all tasks that generate texts."""

from typing import Any, ClassVar

from pydantic import Field

from app.fields import Beginning, CandidateFields, MaxTokens, Merge, SamplingFields, Seed, Stop, Stream
from app.reply_fields import Finish, WrittenTokens
from app.tasks.base import (
    Files,
    Reply,
    Scored,
    TaskReply,
    TaskRoute,
    check_max_tokens,
    default_sampling,
)
from jobs.contract.requests import Task, Text2TextRequest
from jobs.contract.worker_info import ModelInfo


class Text2TextBody(SamplingFields, CandidateFields):
    """Continue a text."""

    prompt: Beginning
    max_tokens: MaxTokens = None
    stop: Stop = Field(default_factory=list)
    merge: Merge = True
    seed: Seed = None
    stream: Stream = False


class TextItem(Reply):
    text: str = Field(description="The whole text; of text2text with the prompt, as the tokenizer spells it.")
    continuation: str | None = Field(
        None,
        description="The part after the tokens of the prompt. Absent for a description.",
        exclude_if=lambda text: text is None,
    )
    finish_reason: Finish
    num_tokens: WrittenTokens
    count: int = Field(
        description="How many candidates have this text. Always 1 if `merge` is false and all are returned."
    )
    score: Scored = Field(
        None,
        description="Score of both perplexities, divided by `count`; lower is better. Only for descriptions "
        "that were scored.",
    )
    ppl_text: Scored = Field(
        None,
        description="Perplexity of the text; lower is better. Absent for an empty text, and for a "
        "description that was not scored.",
    )
    ppl_image: Scored = Field(
        None,
        description="Perplexity of the image after the text; lower is better. Only for descriptions that "
        "were scored.",
    )
    tokens: list[int] | None = Field(
        None,
        description="Token ids from bos on, up to the first eos. Absent unless `return_tokens` is true.",
        exclude_if=lambda tokens: tokens is None,
    )


class TextsReply(TaskReply):
    texts: list[TextItem] = Field(description="Best first when scored, else in the order of candidates.")
    seed: int | None = Field(
        None,
        description="The seed that was used. Absent in a stream, and in a job that is read with GET.",
        exclude_if=lambda seed: seed is None,
    )


class Text2Text(TaskRoute[Text2TextBody]):
    task = Task.TEXT2TEXT
    path = "/v1/text2text"
    summary = "Continue a text"
    body = Text2TextBody
    reply = TextsReply
    example: ClassVar[dict[str, Any]] = {"prompt": "морда", "n": 2}

    def check(self, body: Text2TextBody, model: ModelInfo) -> None:
        check_max_tokens(body.max_tokens, model.left_text_length, "left")

    def build(self, body: Text2TextBody, images: Files, seed: int, model: ModelInfo) -> Text2TextRequest:
        return Text2TextRequest(
            prompt=body.prompt,
            seed=seed,
            n=body.n,
            candidates=self.cost(body),
            max_tokens=body.max_tokens,
            stop=tuple(body.stop),
            merge=body.merge,
            sampling=body.sampling(default_sampling(self.task, model)),
        )

    def cost(self, body: Text2TextBody) -> int:
        return body.candidates or body.n
