"""image2text: describe an image."""

from typing import Any, ClassVar

from pydantic import Field

from app.example_images import EXAMPLE_IMAGE
from app.fields import (
    CANDIDATES,
    CandidateFields,
    Candidates,
    ImageFile,
    MaxTokens,
    Merge,
    OptionalText,
    SamplingFields,
    Seed,
    Stop,
    Stream,
)
from app.tasks.base import IMAGE_FORM, Files, TaskRoute, check_max_tokens, default_sampling
from app.tasks.text2text import TextsReply
from jobs.contract.requests import Image2TextRequest, Task
from jobs.contract.worker_info import ModelInfo

DEFAULT_CANDIDATES = 8
"""A single caption at temperature 0.9 is often poor; the best of eight costs one batch."""


class Image2TextBody(SamplingFields, CandidateFields):
    """Describe an image."""

    candidates: Candidates = Field(
        None, description=f"{CANDIDATES} Omitted: {DEFAULT_CANDIDATES}, or n if that is more."
    )
    image: ImageFile
    template: OptionalText = Field("", description="Words at the beginning of every caption.")
    max_tokens: MaxTokens = None
    stop: Stop = Field(default_factory=list)
    merge: Merge = True
    seed: Seed = None
    rerank: bool | None = Field(
        None, description="Score the captions, and order them by `score`. Omitted: when candidates > n."
    )
    return_tokens: bool = Field(False, description="Also return the token ids of each caption.")
    stream: Stream = False


class Image2Text(TaskRoute[Image2TextBody]):
    task = Task.IMAGE2TEXT
    path = "/v1/image2text"
    summary = "Describe an image"
    body = Image2TextBody
    reply = TextsReply
    example: ClassVar[dict[str, Any]] = {"image": EXAMPLE_IMAGE, "n": 2}
    form = IMAGE_FORM

    def check(self, body: Image2TextBody, model: ModelInfo) -> None:
        check_max_tokens(body.max_tokens, model.right_text_length, "right")

    def build(self, body: Image2TextBody, images: Files, seed: int, model: ModelInfo) -> Image2TextRequest:
        candidates = self.cost(body)
        return Image2TextRequest(
            image=images[0],
            seed=seed,
            n=body.n,
            candidates=candidates,
            template=body.template,
            max_tokens=body.max_tokens,
            stop=tuple(body.stop),
            merge=body.merge,
            sampling=body.sampling(default_sampling(self.task, model)),
            rerank=candidates > body.n if body.rerank is None else body.rerank,
            return_tokens=body.return_tokens,
        )

    def cost(self, body: Image2TextBody) -> int:
        return body.candidates or max(body.n, DEFAULT_CANDIDATES)
