"""From the HTTP names to the queue's: each task's body becomes its request, with what the loaded model
bounds.

Pictures are handed over separately, as bytes that have been checked. No tokenizer lives on this side, so
lengths in tokens are the worker's to cut.
"""

from collections.abc import Sequence
from typing import Any

from app.errors import invalid
from app.pictures import Upload
from app.schemas.fields import ImageSamplingFields, TextSamplingFields
from app.schemas.requests import (
    AnswerBody,
    ClassifyBody,
    CodesBody,
    Image2TextBody,
    RankImagesBody,
    RankTextsBody,
    Text2ImageBody,
    Text2TextBody,
)
from jobs.announcements import ModelInfo
from jobs.requests import (
    AnswerRequest,
    Borders,
    ClassifyRequest,
    Codes,
    Image2TextRequest,
    ImagePrompt,
    Picture,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    Sampling,
    Text2ImageRequest,
    Text2TextRequest,
)

DEFAULT_CAPTION_CANDIDATES = 8
"""One caption drawn at temperature 0.9 is often a poor one; the best of eight costs one batch."""


def rows_of(request: Request) -> int:
    """Sequences that the request occupies."""
    match request:
        case Text2ImageRequest():
            return request.candidates * (2 if request.guidance else 1)
        case Image2TextRequest() | Text2TextRequest():
            return request.candidates
        case RankImagesRequest():
            return len(request.images)
        case RankTextsRequest():
            return len(request.texts)
        case ClassifyRequest():
            return len(request.classes)
        case AnswerRequest():
            return 1


def _sampling(body: ImageSamplingFields | TextSamplingFields) -> Sampling:
    return Sampling(temperature=body.temperature, top_k=body.top_k, top_p=body.top_p)


def no_uploads(_: Any) -> list[Upload]:
    return []


def own_image(body: Image2TextBody | RankTextsBody | ClassifyBody) -> list[Upload]:
    return [Upload(body.image, "image")]


def no_check(_: Any, __: ModelInfo) -> None:
    return


def text2image_uploads(body: Text2ImageBody) -> list[Upload]:
    prompt = body.image_prompt
    if prompt is None:
        return []
    uploads = [Upload(prompt.image, "image_prompt.image")]
    return (
        uploads
        if prompt.mask is None
        else [*uploads, Upload(prompt.mask, "image_prompt.mask", needs_alpha=True)]
    )


def build_text2image(body: Text2ImageBody, pictures: Sequence[bytes], seed: int) -> Text2ImageRequest:
    prompt: ImagePrompt | None = None
    if body.image_prompt:
        borders = body.image_prompt.borders
        prompt = (
            ImagePrompt(image=pictures[0], mask=pictures[1])
            if borders is None
            else ImagePrompt(
                image=pictures[0],
                borders=Borders(up=borders.up, down=borders.down, left=borders.left, right=borders.right),
            )
        )
    return Text2ImageRequest(
        prompt=body.prompt,
        seed=seed,
        n=body.n,
        candidates=body.candidates or body.n,
        sampling=_sampling(body),
        guidance=body.guidance,
        image_prompt=prompt,
        format=body.format,
        return_codes=body.return_codes,
        rerank=body.rerank,
        partial_images=body.partial_images,
    )


def check_text2image(body: Text2ImageBody, model: ModelInfo) -> None:
    if body.image_prompt is None or body.image_prompt.borders is None:
        return
    borders, width = body.image_prompt.borders, model.image_width
    for first, second in (("up", "down"), ("left", "right")):
        kept = getattr(borders, first) + getattr(borders, second)
        if kept > width or (kept == width and kept == borders.up + borders.down):
            message = (
                f"image_prompt.borders.{first} + {second} keep {kept} of the picture's {width} cells; "
                "leave some to be drawn."
            )
            raise invalid(message, param=f"image_prompt.borders.{first}", code="invalid_borders")


def caption_candidates(body: Image2TextBody) -> int:
    return body.candidates or max(body.n, DEFAULT_CAPTION_CANDIDATES)


def build_image2text(body: Image2TextBody, pictures: Sequence[bytes], seed: int) -> Image2TextRequest:
    candidates = caption_candidates(body)
    return Image2TextRequest(
        image=pictures[0],
        seed=seed,
        n=body.n,
        candidates=candidates,
        template=body.template,
        max_tokens=body.max_tokens,
        sampling=_sampling(body),
        rerank=candidates > body.n if body.rerank is None else body.rerank,
        return_tokens=body.return_tokens,
    )


def check_right_text(body: Image2TextBody | AnswerBody, model: ModelInfo) -> None:
    _check_max_tokens(body.max_tokens, model.right_text_length, "right")


def check_left_text(body: Text2TextBody, model: ModelInfo) -> None:
    _check_max_tokens(body.max_tokens, model.left_text_length, "left")


def _check_max_tokens(max_tokens: int | None, length: int, side: str) -> None:
    if max_tokens is not None and max_tokens > length:
        message = f"max_tokens must be at most {length}, the model's {side} text region; got {max_tokens}."
        raise invalid(message, param="max_tokens", code="invalid_max_tokens")


def build_text2text(body: Text2TextBody, _: Sequence[bytes], seed: int) -> Text2TextRequest:
    return Text2TextRequest(
        prompt=body.prompt,
        seed=seed,
        n=body.n,
        candidates=body.candidates or body.n,
        max_tokens=body.max_tokens,
        sampling=_sampling(body),
    )


def ranked_uploads(body: RankImagesBody) -> list[Upload]:
    return [
        Upload(image, f"images[{place}]")
        for place, image in enumerate(body.images)
        if not isinstance(image, CodesBody)
    ]


def build_rank_images(body: RankImagesBody, pictures: Sequence[bytes], _: int) -> RankImagesRequest:
    files = iter(pictures)
    images: list[Picture] = [
        Codes(tuple(image.codes)) if isinstance(image, CodesBody) else next(files) for image in body.images
    ]
    return RankImagesRequest(text=body.text, images=tuple(images))


def check_codes(body: RankImagesBody, model: ModelInfo) -> None:
    wanted = model.image_width**2
    for place, image in enumerate(body.images):
        if not isinstance(image, CodesBody):
            continue
        param = f"images[{place}].codes"
        if len(image.codes) != wanted:
            message = f"{param} must have {wanted} codes, row by row; got {len(image.codes)}."
            raise invalid(message, param=param, code="invalid_codes")
        if max(image.codes) >= model.image_codebook_size:
            message = (
                f"{param} must lie between 0 and {model.image_codebook_size - 1}; got {max(image.codes)}."
            )
            raise invalid(message, param=param, code="invalid_codes")


def build_rank_texts(body: RankTextsBody, pictures: Sequence[bytes], _: int) -> RankTextsRequest:
    return RankTextsRequest(image=pictures[0], texts=tuple(body.texts))


def build_classify(body: ClassifyBody, pictures: Sequence[bytes], _: int) -> ClassifyRequest:
    return ClassifyRequest(
        image=pictures[0],
        classes=tuple(body.classes),
        template=body.template,
        left_template=body.left_template,
    )


def answer_uploads(body: AnswerBody) -> list[Upload]:
    return [] if body.image is None else [Upload(body.image, "image")]


def build_answer(body: AnswerBody, pictures: Sequence[bytes], seed: int) -> AnswerRequest:
    return AnswerRequest(
        question=body.question, seed=seed, image=pictures[0] if pictures else None, max_tokens=body.max_tokens
    )
