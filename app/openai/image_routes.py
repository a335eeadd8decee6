"""The image routes: generations, edits and variations."""

from dataclasses import replace

from fastapi import Request
from starlette.responses import Response

from app.bodies import MultipartForm, read_body
from app.field_errors import FieldNames
from app.headers import accepted_image
from app.openai import image_mapping
from app.openai.jobs import open_request, reply, reply_headers, submit, warning_headers
from app.openai.parameters import check_parameters
from app.openai.rendering import Rendering, rendering_of
from app.openai.replies import result_warnings
from app.openai.schemas import EditsBody, GenerationsBody, ImagesBody, PromptedImagesBody, VariationsBody
from app.openai.streams import ImageEvents
from app.services import services_of
from app.tasks import TASKS
from jobs.contract.requests import Task
from jobs.contract.results import ImagesResult
from jobs.contract.worker_info import ModelInfo

EDITS_FORM = MultipartForm(
    files={"image": ("image",), "images": ("images",), "mask": ("mask",)},
    lists=frozenset({"image", "images"}),
)
VARIATIONS_FORM = MultipartForm(files={"image": ("image",)})


async def generate_images(request: Request) -> Response:
    return await _images(request, GenerationsBody, None)


async def edit_image(request: Request) -> Response:
    return await _images(request, EditsBody, EDITS_FORM)


async def vary_image(request: Request) -> Response:
    return await _images(request, VariationsBody, VARIATIONS_FORM)


async def _images(request: Request, schema: type[ImagesBody], form: MultipartForm | None) -> Response:
    services = services_of(request)
    submission = await open_request(request, image_mapping.IMAGE_NAMES)
    with services.bodies.hold(request) as counted:
        body = await read_body(counted, schema, form)
        services.names.check(body.model, submission.model)
        warnings = check_parameters(body) + image_mapping.images_warnings(body)
        streams = isinstance(body, PromptedImagesBody) and bool(body.stream)
        own = (f"image/{body.output_format}",) if body.output_format else TASKS[Task.TEXT2IMAGE].image_types
        raw = None if streams else accepted_image(request, own, body.n or 1)
        rendering = _rendering(body, raw, submission.model, strict=services.settings.strict_size)
        if isinstance(body, EditsBody) and body.images is not None:
            submission = replace(submission, names=_JSON_EDIT_NAMES)
        fields = image_mapping.images_fields(body, rendering)
        job = await submit(request, submission, Task.TEXT2IMAGE, fields, streams=streams)
        as_url = body.response_format == "url"
        del body, fields
    if job.subscription:
        kind = "image_edit" if form else "image_generation"
        events = ImageEvents(kind, rendering, services.renderer)
        return job.stream(request, events, warnings)
    status, result = await job.result(request)
    assert isinstance(result, ImagesResult)
    files = [await services.renderer.render(image.data, rendering) for image in result.images]
    if raw:
        warnings += result_warnings(result, image_mapping.IMAGE_NAMES.of)
        headers = {"x-seed": str(result.images[0].seed), **reply_headers(status), **warning_headers(warnings)}
        return Response(files[0], media_type=rendering.media_type, headers=headers)
    answer = image_mapping.images_reply(status, result, files, rendering, as_url=as_url, warnings=warnings)
    return reply(status, answer)


_JSON_EDIT_NAMES = FieldNames(aliases={"image_prompt.image": "images[0]", "image_prompt.mask": "mask"})


def _rendering(body: ImagesBody, raw: str | None, model: ModelInfo, *, strict: bool) -> Rendering:
    image_format = body.output_format
    if raw and image_format is None:
        image_format = "png" if raw == "image/png" else "jpeg" if raw == "image/jpeg" else "webp"
    return rendering_of(body.size, image_format, body.output_compression, body.n or 1, model, strict=strict)
