"""classify: choose the class of an image among given names, without training."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, computed_field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.bodies import MultipartForm
from app.example_images import EXAMPLE_IMAGE
from app.fields import (
    AT_MOST_ONE_BRACES_PATTERN,
    ONE_BRACES_PATTERN,
    TEXT_PATTERN,
    ImageFile,
    OptionalText,
    Schema,
    not_blank,
)
from app.tasks.base import Files, Reply, TaskReply, TaskRoute
from jobs.contract.probabilities import class_probabilities
from jobs.contract.requests import ClassifyRequest, Task
from jobs.contract.worker_info import ModelInfo

MAX_CLASSES = 1000
MAX_CLASS_CHARACTERS = 200

ClassName = Annotated[
    str,
    BeforeValidator(not_blank),
    Field(min_length=1, max_length=MAX_CLASS_CHARACTERS, json_schema_extra={"pattern": TEXT_PATTERN}),
]


class ClassifyBody(Schema):
    """Choose the class of an image among given names, without training."""

    image: ImageFile
    classes: list[ClassName] = Field(
        min_length=2, max_length=MAX_CLASSES, description="2–1,000 names.", examples=[["кошка", "собака"]]
    )
    template: OptionalText = Field(
        "{}",
        description="Right text; the class replaces `{}`.",
        examples=["это {}"],
        json_schema_extra={"pattern": ONE_BRACES_PATTERN},
    )
    left_template: OptionalText = Field(
        "",
        description="Left text; may hold one `{}`. Empty: none.",
        json_schema_extra={"pattern": AT_MOST_ONE_BRACES_PATTERN},
    )

    @field_validator("template")
    @classmethod
    def _one_braces(cls, value: str) -> str:
        if value.count("{}") != 1:
            raise PydanticCustomError("template_braces", "must hold `{}` exactly once; the class replaces it")
        return value

    @field_validator("left_template")
    @classmethod
    def _at_most_one_braces(cls, value: str) -> str:
        if value.count("{}") > 1:
            raise PydanticCustomError("template_braces", "may hold `{}` at most once; the class replaces it")
        return value


class ClassScoreReply(Reply):
    class_name: str = Field(serialization_alias="class", description="The name, as in the request.")
    probability: float = Field(
        0.0, description="Higher is better; they add up to 1. softmax(−log ppl_text ÷ temperature)."
    )
    score: float = Field(
        description="softmax(ppl_text ÷ its Euclidean norm), as in the published package; lower is better."
    )
    ppl_text: float = Field(description="Perplexity of the template with this name; lower is better.")


class ClassifyReply(TaskReply):
    label: int = Field(description="The index of the best class in `classes`, from 0.")
    scores: list[ClassScoreReply] = Field(description="Every class, in the order of the request.")

    temperature: float = Field(
        1.0,
        description="Temperature of the probabilities, from the checkpoint. 1: they are not calibrated.",
    )

    @model_validator(mode="after")
    def _add_probabilities(self) -> "ClassifyReply":
        shares = class_probabilities((score.ppl_text for score in self.scores), self.temperature)
        for score, share in zip(self.scores, shares, strict=True):
            score.probability = share
        return self

    @computed_field(alias="class", description="The best class.")
    @property
    def best(self) -> str:
        return self.scores[self.label].class_name


class Classify(TaskRoute[ClassifyBody]):
    task = Task.CLASSIFY
    path = "/v1/classify"
    summary = "Choose the class of an image among given names"
    body = ClassifyBody
    reply = ClassifyReply
    example: ClassVar[dict[str, Any]] = {
        "image": EXAMPLE_IMAGE,
        "classes": ["кошка", "клубника"],
    }
    form = MultipartForm(files={"image": ("image",)}, lists=frozenset({"classes"}))

    def build(self, body: ClassifyBody, images: Files, seed: int, model: ModelInfo) -> ClassifyRequest:
        return ClassifyRequest(
            image=images[0],
            classes=tuple(body.classes),
            template=body.template,
            left_template=body.left_template,
        )

    def cost(self, body: ClassifyBody) -> int:
        return len(body.classes)
