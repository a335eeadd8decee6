"""answer: answer a question, about an image or without one. Only fine-tuned checkpoints can."""

from typing import Any, ClassVar

from pydantic import Field

from app.example_images import EXAMPLE_IMAGE
from app.fields import ImageFile, MaxTokens, Question, Schema, Stop
from app.reply_fields import Finish, WrittenTokens
from app.tasks.base import IMAGE_FORM, Files, TaskReply, TaskRoute, check_max_tokens
from jobs.contract.requests import AnswerRequest, Task
from jobs.contract.worker_info import ModelInfo


class AnswerBody(Schema):
    """Answer a question, about an image or without one. Only fine-tuned checkpoints can."""

    question: Question
    image: ImageFile | None = Field(
        None, description="The image that the question is about. Omitted: the model answers without one."
    )
    max_tokens: MaxTokens = None
    stop: Stop = Field(default_factory=list)


class AnswerReply(TaskReply):
    answer: str = Field(description="The answer of the model; one text without candidates.")
    finish_reason: Finish
    num_tokens: WrittenTokens


class Answer(TaskRoute[AnswerBody]):
    task = Task.ANSWER
    path = "/v1/answer"
    summary = "Answer a question, about an image or without one"
    body = AnswerBody
    reply = AnswerReply
    example: ClassVar[dict[str, Any]] = {"question": "Что на картинке?", "image": EXAMPLE_IMAGE}
    form = IMAGE_FORM
    unsupported_hint = " Questions need a checkpoint that was fine-tuned for them, such as 2.7B-FBC2."

    def check(self, body: AnswerBody, model: ModelInfo) -> None:
        check_max_tokens(body.max_tokens, model.right_text_length, "right")

    def build(self, body: AnswerBody, images: Files, seed: int, model: ModelInfo) -> AnswerRequest:
        image = images[0] if images else None
        return AnswerRequest(
            question=body.question,
            seed=seed,
            image=image,
            max_tokens=body.max_tokens,
            stop=tuple(body.stop),
        )

    def cost(self, body: AnswerBody) -> int:
        return 1
