"""rank_images and rank_texts: order candidates by how well image and text match."""

from typing import Annotated, Any, ClassVar

from pydantic import Discriminator, Field, Tag, model_validator

from app.bodies import MultipartForm
from app.errors import FieldError
from app.example_images import EXAMPLE_IMAGE, OTHER_IMAGE
from app.fields import ImageFile, Schema, Text
from app.tasks.base import Files, Reply, TaskReply, TaskRoute
from app.uploads import Upload
from jobs.contract.probabilities import probabilities
from jobs.contract.requests import Codes, RankedImage, RankImagesRequest, RankTextsRequest, Task
from jobs.contract.worker_info import ModelInfo

MAX_CODE = 65_535
MAX_CODES = 4096
MAX_RANKED = 256


class CodesBody(Schema):
    codes: list[Annotated[int, Field(ge=0, le=MAX_CODE)]] = Field(
        min_length=1, max_length=MAX_CODES, description="One code for each cell, row by row."
    )


def _kind_of_image(value: Any) -> str:
    return "#codes" if isinstance(value, dict | CodesBody) else "#file"


ImageOrCodes = Annotated[
    Annotated[ImageFile, Tag("#file")] | Annotated[CodesBody, Tag("#codes")], Discriminator(_kind_of_image)
]
"""A file, or image codes. The tags choose a branch; `field_errors` removes them from the path."""


class RankImagesBody(Schema):
    """Order images by how well they match a text."""

    text: Text = Field(description="What the images should show, in Russian.")
    images: list[ImageOrCodes] = Field(
        min_length=1, max_length=MAX_RANKED, description="1–256 images, each a file or its image codes."
    )


class RankTextsBody(Schema):
    """Order texts by how well they match an image."""

    image: ImageFile
    texts: list[Text] = Field(min_length=1, max_length=MAX_RANKED, description="1–256 texts.")


class RankedItemReply(Reply):
    index: int = Field(description="Index in the request, from 0.")
    probability: float = Field(
        0.0,
        description="Higher is better; they add up to 1. softmax(−score ÷ temperature).",
    )
    score: float = Field(description="Score of both perplexities; lower is better.")
    ppl_text: float = Field(
        description="Perplexity of the text; lower is better. Where images are ranked, after the image; else "
        "alone."
    )
    ppl_image: float = Field(
        description="Perplexity of the image; lower is better. Where texts are ranked, after the text; else "
        "alone."
    )


class RankingReply(TaskReply):
    ranking: list[RankedItemReply] = Field(description="Every item, best first.")

    temperature: float = Field(
        1.0,
        description="Temperature of the probabilities, from the checkpoint. 1: they are not calibrated.",
    )

    @model_validator(mode="after")
    def _add_probabilities(self) -> "RankingReply":
        shares = probabilities([item.score for item in self.ranking], self.temperature)
        for item, share in zip(self.ranking, shares, strict=True):
            item.probability = share
        return self


class RankImages(TaskRoute[RankImagesBody]):
    task = Task.RANK_IMAGES
    path = "/v1/rank/images"
    summary = "Order images by how well they match a text"
    body = RankImagesBody
    reply = RankingReply
    example: ClassVar[dict[str, Any]] = {"text": "клубника", "images": [OTHER_IMAGE, EXAMPLE_IMAGE]}
    form = MultipartForm(files={"images": ("images",), "image": ("images",)}, lists=frozenset({"images"}))

    def uploads(self, body: RankImagesBody) -> list[Upload]:
        return [
            Upload(image, f"images[{index}]")
            for index, image in enumerate(body.images)
            if not isinstance(image, CodesBody)
        ]

    def check(self, body: RankImagesBody, model: ModelInfo) -> None:
        length, highest = model.image_width**2, model.image_codebook_size - 1
        for index, image in enumerate(body.images):
            if not isinstance(image, CodesBody):
                continue
            param = f"images[{index}].codes"
            if len(image.codes) != length:
                predicate = f"must have {length} codes, row by row; got {len(image.codes)}."
                raise FieldError(param, predicate, code="invalid_codes")
            if max(image.codes) > highest:
                predicate = f"must be between 0 and {highest}; got {max(image.codes)}."
                raise FieldError(param, predicate, code="invalid_codes")

    def build(self, body: RankImagesBody, images: Files, seed: int, model: ModelInfo) -> RankImagesRequest:
        files = iter(images)
        ranked: list[RankedImage] = [
            Codes(tuple(image.codes)) if isinstance(image, CodesBody) else next(files)
            for image in body.images
        ]
        return RankImagesRequest(text=body.text, images=tuple(ranked))

    def cost(self, body: RankImagesBody) -> int:
        return len(body.images)


class RankTexts(TaskRoute[RankTextsBody]):
    task = Task.RANK_TEXTS
    path = "/v1/rank/texts"
    summary = "Order texts by how well they match an image"
    body = RankTextsBody
    reply = RankingReply
    example: ClassVar[dict[str, Any]] = {"image": EXAMPLE_IMAGE, "texts": ["сова", "клубника"]}
    form = MultipartForm(files={"image": ("image",)}, lists=frozenset({"texts"}))

    def build(self, body: RankTextsBody, images: Files, seed: int, model: ModelInfo) -> RankTextsRequest:
        return RankTextsRequest(image=images[0], texts=tuple(body.texts))

    def cost(self, body: RankTextsBody) -> int:
        return len(body.texts)
