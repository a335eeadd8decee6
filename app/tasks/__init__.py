"""The tasks of the API, one file each. Everything that lists tasks is derived from `TASKS`."""

from collections.abc import Mapping
from typing import Any

from app.tasks.answer import Answer
from app.tasks.base import TaskRoute
from app.tasks.classify import Classify
from app.tasks.image2text import Image2Text
from app.tasks.ranking import RankImages, RankTexts
from app.tasks.text2image import Text2Image
from app.tasks.text2text import Text2Text
from jobs.contract.requests import Task

_ROUTES: tuple[TaskRoute[Any], ...] = (
    Text2Image(),
    Image2Text(),
    Text2Text(),
    RankImages(),
    RankTexts(),
    Classify(),
    Answer(),
)
TASKS: Mapping[Task, TaskRoute[Any]] = {route.task: route for route in _ROUTES}
