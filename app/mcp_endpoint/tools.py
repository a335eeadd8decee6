"""The tools: their arguments, their native tasks, and their results. Knows no HTTP and no protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.errors import invalid
from app.fields import ImageFile, OptionalText, Schema, Seed, Text
from app.tasks.classify import MAX_CLASSES, ClassName
from jobs.contract.requests import Task
from jobs.contract.results import ClassifyResult, ImagesResult, RankingResult, Result, TextsResult
from jobs.contract.worker_info import ModelInfo

MAX_IMAGES = 4
MAX_TEXTS = 8
MAX_RANKED = 64


class DrawArguments(Schema):
    prompt: Text = Field(description="What to draw, in Russian: an object and its background.")
    n: int = Field(1, ge=1, le=MAX_IMAGES, description="Number of images.")
    size: str | None = Field(None, max_length=32, description="Width x height in pixels, such as 512x512.")
    seed: Seed = None


class DescribeArguments(Schema):
    image: ImageFile
    n: int = Field(1, ge=1, le=MAX_TEXTS, description="Number of descriptions.")
    template: OptionalText | None = Field(None, description="First words of the description.")


class ClassifyArguments(Schema):
    image: ImageFile
    classes: Annotated[list[ClassName], Field(min_length=2, max_length=MAX_CLASSES, description="Names.")]
    template: OptionalText | None = Field(None, description="Text about the image; the class replaces {}.")


class RankArguments(Schema):
    """A text with images, or an image with texts."""

    text: Text | None = None
    images: Annotated[list[ImageFile] | None, Field(min_length=1, max_length=MAX_RANKED)] = None
    image: ImageFile | None = None
    texts: Annotated[list[Text] | None, Field(min_length=1, max_length=MAX_RANKED)] = None

    @model_validator(mode="after")
    def _one_pair(self) -> "RankArguments":
        given = tuple(
            name for name in ("text", "images", "image", "texts") if getattr(self, name) is not None
        )
        if given not in (("text", "images"), ("image", "texts")):
            raise PydanticCustomError("rank_pair", "send text and images, or image and texts")
        return self


class ContinueArguments(Schema):
    prompt: Text = Field(description="The beginning of a text, in Russian.")
    n: int = Field(1, ge=1, le=MAX_TEXTS, description="Number of continuations.")
    max_tokens: int | None = Field(None, ge=1, le=4096, description="Tokens to generate at most.")


@dataclass(frozen=True)
class ToolCall:
    """A native task for the arguments of a tool."""

    task: Task
    fields: dict[str, Any]
    size: str | None = None


@dataclass(frozen=True)
class ModelTool:
    """A tool: its arguments, the call of its task, and what of the result is returned besides images."""

    name: str
    title: str
    description: str
    arguments: type[Schema]
    call: Callable[[Any, ModelInfo], ToolCall]
    content: Callable[[Result], dict[str, Any]]

    @property
    def input_schema(self) -> dict[str, Any]:
        """The schema of the arguments, without patterns, which providers of language models refuse."""
        return _plain(self.arguments.model_json_schema())


def _draw(arguments: DrawArguments, model: ModelInfo) -> ToolCall:
    fields = {"prompt": arguments.prompt, "n": arguments.n}
    if arguments.seed is not None:
        fields["seed"] = arguments.seed
    return ToolCall(Task.TEXT2IMAGE, fields, size=arguments.size)


def _describe(arguments: DescribeArguments, model: ModelInfo) -> ToolCall:
    fields = {"image": arguments.image, "n": arguments.n, **_template(arguments.template)}
    return ToolCall(Task.IMAGE2TEXT, fields)


def _classify(arguments: ClassifyArguments, model: ModelInfo) -> ToolCall:
    fields = {"image": arguments.image, "classes": arguments.classes, **_template(arguments.template)}
    return ToolCall(Task.CLASSIFY, fields)


def _rank(arguments: RankArguments, model: ModelInfo) -> ToolCall:
    if arguments.images is not None:
        return ToolCall(Task.RANK_IMAGES, {"text": arguments.text, "images": arguments.images})
    return ToolCall(Task.RANK_TEXTS, {"image": arguments.image, "texts": arguments.texts})


def _continue(arguments: ContinueArguments, model: ModelInfo) -> ToolCall:
    fields: dict[str, Any] = {"prompt": arguments.prompt, "n": arguments.n}
    if arguments.max_tokens is not None:
        fields["max_tokens"] = min(arguments.max_tokens, model.left_text_length)
    return ToolCall(Task.TEXT2TEXT, fields)


def _seeds(result: Result) -> dict[str, Any]:
    assert isinstance(result, ImagesResult)
    return {"seeds": [image.seed for image in result.images]}


def _texts(result: Result) -> dict[str, Any]:
    assert isinstance(result, TextsResult)
    return {"texts": [text.text for text in result.texts]}


def _probabilities(result: Result) -> dict[str, Any]:
    assert isinstance(result, ClassifyResult)
    scores = [
        {"class": score.class_name, "probability": share}
        for score, share in zip(result.scores, result.probabilities(), strict=True)
    ]
    return {"class": result.scores[result.label].class_name, "scores": scores}


def _ranking(result: Result) -> dict[str, Any]:
    assert isinstance(result, RankingResult)
    ranking = [
        {"index": item.index, "probability": share}
        for item, share in zip(result.ranking, result.probabilities(), strict=True)
    ]
    return {"ranking": ranking}


def _template(template: str | None) -> dict[str, str]:
    return {"template": template} if template else {}


TOOLS: Mapping[str, ModelTool] = {
    tool.name: tool
    for tool in (
        ModelTool(
            "draw",
            "Draw",
            "Draw images for a Russian text. Returns image files, and the seed of each.",
            DrawArguments,
            _draw,
            _seeds,
        ),
        ModelTool(
            "describe",
            "Describe",
            "Describe an image in Russian. The model describes; it answers no question.",
            DescribeArguments,
            _describe,
            _texts,
        ),
        ModelTool(
            "classify",
            "Classify",
            "Choose the class of an image among Russian names, with a probability for each.",
            ClassifyArguments,
            _classify,
            _probabilities,
        ),
        ModelTool(
            "rank",
            "Rank",
            "Order images by how well they match a text, or texts by an image. Best first.",
            RankArguments,
            _rank,
            _ranking,
        ),
        ModelTool(
            "continue",
            "Continue",
            "Continue a Russian text in the style of the model's captions.",
            ContinueArguments,
            _continue,
            _texts,
        ),
    )
}


def find_tool(name: str) -> ModelTool:
    """Return a tool. Raises ApiError for an unknown name."""
    if name not in TOOLS:
        raise invalid(f"There is no tool of this name. Tools: {', '.join(TOOLS)}.", param="name")
    return TOOLS[name]


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = ("pattern", "format", "examples")
    return {
        key: _plain(item)
        for key, item in schema.items()
        if not (key in dropped and not isinstance(item, dict)) and not (key == "default" and item is None)
    }
