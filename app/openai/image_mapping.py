"""Translates the bodies of the image routes to text2image, and its result to their reply. Knows no HTTP."""

from collections.abc import Sequence
from typing import Any

from app.field_errors import FieldNames
from app.openai.rendering import Rendering
from app.openai.replies import GeneratedImagesReply, ImageData, images_usage, result_warnings
from app.openai.sampling import given, sampling_fields
from app.openai.schemas import EditsBody, ImagesBody, PromptedImagesBody, VariationsBody
from app.tasks.base import WarningReply, base64_text
from jobs.contract.results import ImagesResult
from jobs.contract.status import JobStatus

IMAGE_NAMES = FieldNames(aliases={"image_prompt.image": "image", "image_prompt.mask": "mask"})
KEPT_SHARE = 0.5
"""Share of the cells of an image without transparency that an edit without a mask keeps; also a variation."""


def images_fields(body: ImagesBody, rendering: Rendering) -> dict[str, Any]:
    """Return the native body of text2image."""
    fields: dict[str, Any] = {
        "n": body.n or 1,
        "format": rendering.job_format,
        **given(body, "seed", "candidates", "guidance"),
        **sampling_fields(body),
    }
    if isinstance(body, PromptedImagesBody):
        fields["prompt"] = body.prompt
        fields["partial_images"] = (body.partial_images or 0) if body.stream else 0
    if isinstance(body, EditsBody):
        what = {"keep_share": KEPT_SHARE} if body.mask is None else {"mask": body.mask}
        fields["image_prompt"] = {"image": body.pictures[0], **what}
    if isinstance(body, VariationsBody):
        # With full guidance only the unconditional probabilities count, so the words have no effect.
        fields |= {"prompt": "картинка", "guidance": 1.0}
        fields["image_prompt"] = {"image": body.image, "keep_share": KEPT_SHARE}
    return fields


def images_warnings(body: ImagesBody) -> list[WarningReply]:
    if isinstance(body, EditsBody) and len(body.pictures) > 1:
        message = f"The first of {len(body.pictures)} images was edited; the others were ignored."
        return [WarningReply(code="images_ignored", message=message, param="image")]
    return []


def images_reply(
    status: JobStatus,
    result: ImagesResult,
    files: Sequence[bytes],
    rendering: Rendering,
    *,
    as_url: bool,
    warnings: list[WarningReply],
) -> GeneratedImagesReply:
    """Return the reply. `files`: the rendered images of the result."""
    data: list[ImageData] = []
    for image, file in zip(result.images, files, strict=True):
        text = base64_text(file)
        if as_url:
            data.append(ImageData(url=f"data:{rendering.media_type};base64,{text}", seed=image.seed))
        else:
            data.append(ImageData(b64_json=text, seed=image.seed))
    return GeneratedImagesReply(
        created=int(status.timings.created_s),
        data=data,
        output_format=rendering.format,
        size=rendering.size,
        usage=images_usage(result.usage),
        warnings=warnings + result_warnings(result, IMAGE_NAMES.of),
    )
