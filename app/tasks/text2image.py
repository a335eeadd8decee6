"""text2image: generate images for a text, or redraw a part of a given image."""

from typing import Any, ClassVar

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.bodies import MultipartForm
from app.errors import FieldError
from app.fields import (
    MASK,
    CandidateFields,
    DrawnText,
    Guidance,
    ImageFile,
    ImageFormat,
    Mask,
    SamplingFields,
    Schema,
    Seed,
    Stream,
)
from app.tasks.base import (
    Base64,
    Files,
    Reply,
    Scored,
    TaskReply,
    TaskRoute,
    default_sampling,
)
from app.uploads import Upload
from jobs.contract.requests import Borders, ImagePrompt, Task, Text2ImageRequest
from jobs.contract.worker_info import ModelInfo

MAX_PARTIAL_IMAGES = 64


class BordersBody(Schema):
    up: int = Field(0, ge=0, le=64, description="Rows kept at the top, in cells of 8×8 px of the output.")
    down: int = Field(0, ge=0, le=64, description="Rows kept at the bottom, in cells.")
    left: int = Field(0, ge=0, le=64, description="Columns kept at the left, in cells.")
    right: int = Field(0, ge=0, le=64, description="Columns kept at the right, in cells.")


_KEEPING = ("borders", "mask", "keep_share")


class ImagePromptBody(Schema):
    """An image of which a part is kept. Give one of `borders`, `mask` and `keep_share`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in _KEEPING]})

    image: ImageFile
    borders: BordersBody | None = Field(None, description="The part that is kept; the rest is redrawn.")
    mask: Mask | None = Field(None, description=MASK)
    keep_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the cells that is kept, spread evenly. If the image has transparent pixels, "
        "these are the mask instead.",
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> "ImagePromptBody":
        if sum(getattr(self, name) is not None for name in _KEEPING) != 1:
            raise PydanticCustomError("image_prompt", "give one of borders, mask and keep_share")
        return self


class Text2ImageBody(SamplingFields, CandidateFields):
    """Generate images for a text."""

    prompt: DrawnText
    guidance: Guidance[float] = 0.0
    seed: Seed = None
    image_prompt: ImagePromptBody | None = Field(
        None, description="An image of which a part is kept; the rest is drawn. Omitted: all is drawn."
    )
    format: ImageFormat = Field("png", description="Format of the image files in the reply.")
    rerank: bool = Field(False, description="Score and order the images even when candidates = n.")
    return_codes: bool = Field(False, description="Also return the image codes of each image.")
    stream: Stream = False
    partial_images: int = Field(
        0,
        ge=0,
        le=MAX_PARTIAL_IMAGES,
        description="Number of partial images of each image, sent as events of the job: the finished rows, "
        "the rest grey.",
    )


_IF_SCORED = "Absent unless candidates > n, or `rerank` is true."


class ImageItem(Reply):
    b64_json: Base64 = Field(validation_alias="data", description="The image file, in `format`, as base64.")
    seed: int = Field(description="The seed of this image alone: send it with n = 1.")
    score: Scored = Field(None, description=f"Score of both perplexities; lower is better. {_IF_SCORED}")
    ppl_text: Scored = Field(
        None, description=f"Perplexity of the prompt after the image; lower is better. {_IF_SCORED}"
    )
    ppl_image: Scored = Field(
        None, description=f"Perplexity of the image alone; lower is better. {_IF_SCORED}"
    )
    codes: list[int] | None = Field(
        None,
        description="Image codes, row by row. Absent unless `return_codes` is true.",
        exclude_if=lambda codes: codes is None,
    )


class ImagesReply(TaskReply):
    images: list[ImageItem] = Field(description="Best first when scored, else in the order of candidates.")


class Text2Image(TaskRoute[Text2ImageBody]):
    task = Task.TEXT2IMAGE
    path = "/v1/text2image"
    summary = "Generate images for a text"
    body = Text2ImageBody
    reply = ImagesReply
    example: ClassVar[dict[str, Any]] = {"prompt": "сова на зелёном фоне", "n": 1, "seed": 7}
    form = MultipartForm(
        files={"image": ("image_prompt", "image"), "mask": ("image_prompt", "mask")},
        json_fields={"borders": ("image_prompt", "borders")},
    )
    image_types = ("image/png", "image/jpeg", "image/webp")

    def uploads(self, body: Text2ImageBody) -> list[Upload]:
        prompt = body.image_prompt
        if prompt is None:
            return []
        uploads = [Upload(prompt.image, "image_prompt.image")]
        if prompt.mask is not None:
            uploads.append(Upload(prompt.mask, "image_prompt.mask", needs_alpha=True))
        return uploads

    def check(self, body: Text2ImageBody, model: ModelInfo) -> None:
        if body.image_prompt is None or body.image_prompt.borders is None:
            return
        borders, width = body.image_prompt.borders, model.image_width
        for first, second in (("up", "down"), ("left", "right")):
            kept = getattr(borders, first) + getattr(borders, second)
            if kept > width or (kept == width and kept == borders.up + borders.down):
                predicate = f"+ {second} keep {kept} of the image's {width} cells; leave some to be drawn."
                raise FieldError(f"image_prompt.borders.{first}", predicate, code="invalid_borders")

    def build(self, body: Text2ImageBody, images: Files, seed: int, model: ModelInfo) -> Text2ImageRequest:
        return Text2ImageRequest(
            prompt=body.prompt,
            seed=seed,
            n=body.n,
            candidates=self.cost(body),
            sampling=body.sampling(default_sampling(self.task, model)),
            guidance=body.guidance,
            image_prompt=_image_prompt(body.image_prompt, images),
            format=body.format,
            return_codes=body.return_codes,
            rerank=body.rerank,
            partial_images=body.partial_images,
        )

    def cost(self, body: Text2ImageBody) -> int:
        return body.candidates or body.n

    def rows(self, body: Text2ImageBody) -> int:
        return self.cost(body) * (2 if body.guidance else 1)  # each has an unconditional sequence


def media_type(image: bytes) -> str:
    """Return the media type of an image that a worker encoded."""
    if image.startswith(b"\x89PNG"):
        return "image/png"
    return "image/jpeg" if image.startswith(b"\xff\xd8") else "image/webp"


def _image_prompt(body: ImagePromptBody | None, images: Files) -> ImagePrompt | None:
    if body is None:
        return None
    if body.keep_share is not None:
        return ImagePrompt(image=images[0], keep_share=body.keep_share)
    if body.borders is None:
        return ImagePrompt(image=images[0], mask=images[1])
    return ImagePrompt(image=images[0], borders=Borders(**body.borders.model_dump()))
