"""One table: each task's route, its body, where its pictures are, how it becomes a request, what it costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app import translate
from app.bodies import MultipartForm
from app.errors import ApiError
from app.pictures import Upload
from app.schemas.fields import EXAMPLE_PICTURE
from app.schemas.requests import (
    AnswerBody,
    ClassifyBody,
    Image2TextBody,
    RankImagesBody,
    RankTextsBody,
    Text2ImageBody,
    Text2TextBody,
)
from jobs.announcements import ModelInfo
from jobs.job import Task
from jobs.requests import Request


@dataclass(frozen=True)
class TaskRoute:
    """A task at the HTTP edge. `build` gets the body, its pictures in `uploads` order, and the seed."""

    task: Task
    path: str
    body: type[Any]
    summary: str
    uploads: Callable[[Any], list[Upload]]
    build: Callable[[Any, Sequence[bytes], int], Request]
    check: Callable[[Any, ModelInfo], None]
    candidates: Callable[[Any], int]
    """What the task costs of a key's candidates."""
    example: dict[str, Any]
    form: MultipartForm | None = None


def check_task(task: Task, model: ModelInfo) -> None:
    """Raises ApiError 409 when the loaded checkpoint cannot do the task."""
    if task not in model.tasks:
        can = ", ".join(sorted(model.tasks))
        message = f"The loaded checkpoint {model.name} cannot do {task}. It can do: {can}."
        if task is Task.ANSWER:
            message += " Questions need a checkpoint that was fine-tuned for them, such as 2.7B-FBC2."
        raise ApiError(409, "unsupported_task", message)


_IMAGE_FORM = {"image": ("image",)}

TASK_ROUTES: tuple[TaskRoute, ...] = (
    TaskRoute(
        task=Task.TEXT2IMAGE,
        path="/v1/text2image",
        body=Text2ImageBody,
        summary="Draw pictures for a text",
        uploads=translate.text2image_uploads,
        build=translate.build_text2image,
        check=translate.check_text2image,
        candidates=lambda body: body.candidates or body.n,
        example={"prompt": "рыжий кот на синем кресле", "n": 1, "seed": 7},
        form=MultipartForm(
            files={"image": ("image_prompt", "image"), "mask": ("image_prompt", "mask")},
            json_fields={"borders": ("image_prompt", "borders")},
        ),
    ),
    TaskRoute(
        task=Task.IMAGE2TEXT,
        path="/v1/image2text",
        body=Image2TextBody,
        summary="Describe a picture",
        uploads=translate.own_image,
        build=translate.build_image2text,
        check=translate.check_right_text,
        candidates=translate.caption_candidates,
        example={"image": EXAMPLE_PICTURE, "n": 2, "template": "на картинке"},
        form=MultipartForm(files=_IMAGE_FORM),
    ),
    TaskRoute(
        task=Task.TEXT2TEXT,
        path="/v1/text2text",
        body=Text2TextBody,
        summary="Continue a text",
        uploads=translate.no_uploads,
        build=translate.build_text2text,
        check=translate.check_left_text,
        candidates=lambda body: body.candidates or body.n,
        example={"prompt": "однажды зимним вечером", "n": 1, "max_tokens": 32},
    ),
    TaskRoute(
        task=Task.RANK_IMAGES,
        path="/v1/rank/images",
        body=RankImagesBody,
        summary="Order pictures by how well they fit a text",
        uploads=translate.ranked_uploads,
        build=translate.build_rank_images,
        check=translate.check_codes,
        candidates=lambda body: len(body.images),
        example={"text": "красный квадрат", "images": [EXAMPLE_PICTURE, EXAMPLE_PICTURE]},
        form=MultipartForm(files={"images": ("images",), "image": ("images",)}, lists=frozenset({"images"})),
    ),
    TaskRoute(
        task=Task.RANK_TEXTS,
        path="/v1/rank/texts",
        body=RankTextsBody,
        summary="Order texts by how well they fit a picture",
        uploads=translate.own_image,
        build=translate.build_rank_texts,
        check=translate.no_check,
        candidates=lambda body: len(body.texts),
        example={"image": EXAMPLE_PICTURE, "texts": ["красный квадрат", "синий круг"]},
        form=MultipartForm(files=_IMAGE_FORM, lists=frozenset({"texts"})),
    ),
    TaskRoute(
        task=Task.CLASSIFY,
        path="/v1/classify",
        body=ClassifyBody,
        summary="Name what a picture shows, out of given classes",
        uploads=translate.own_image,
        build=translate.build_classify,
        check=translate.no_check,
        candidates=lambda body: len(body.classes),
        example={"image": EXAMPLE_PICTURE, "classes": ["кот", "собака"], "template": "на картинке {}"},
        form=MultipartForm(files=_IMAGE_FORM, lists=frozenset({"classes"})),
    ),
    TaskRoute(
        task=Task.ANSWER,
        path="/v1/answer",
        body=AnswerBody,
        summary="Answer a question, about a picture or without one",
        uploads=translate.answer_uploads,
        build=translate.build_answer,
        check=translate.check_right_text,
        candidates=lambda _: 1,
        example={"question": "Какого цвета кресло?", "image": EXAMPLE_PICTURE},
        form=MultipartForm(files=_IMAGE_FORM),
    ),
)


def route_of(task: Task) -> TaskRoute:
    return next(route for route in TASK_ROUTES if route.task is task)
