"""Bodies of the hub's tasks: `inputs` and `parameters`. Other fields are kept for `app.openai.parameters`."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.fields import (
    EXAMPLE_IMAGE,
    ONE_BRACES_PATTERN,
    STOP,
    Beginning,
    Candidates,
    DrawnText,
    FirstFault,
    Guidance,
    ImageFile,
    OptionalText,
    Question,
    Seed,
    Stop,
)
from app.openai.fields import AnyMaxTokens, Streamed
from app.openai.rendering import MAX_SIDE, MIN_SIDE
from app.openai.sampling import sampling_fields
from app.openai.schemas import MAX_CHOICES, SamplingFields
from app.tasks.classify import MAX_CLASSES, ClassName

_SIDE = (
    "in pixels, 16–4,096. The model draws a square, whose centre is resampled. Omitted: as the other side; "
    "without both, as drawn."
)


class HubPart(FirstFault):
    """Base of the bodies and of their `parameters`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)


class HubBody(HubPart):
    """A body of any task."""

    example: ClassVar[dict[str, Any]]

    inputs: Any


class SampledParameters(HubPart, SamplingFields):
    """Sampling settings as the hub has them; temperature may be 0."""

    do_sample: Annotated[
        bool | None, Field(description="False: the likeliest token always. Omitted: true.")
    ] = None

    def sampling(self) -> dict[str, Any]:
        """Return the native sampling settings."""
        fields = sampling_fields(self)
        if self.do_sample is False:
            fields.pop("temperature", None)
            fields["top_k"] = 1
        return fields


class DrawParameters(SampledParameters):
    """Settings of the drawing. Hints of the hub, such as `guidance_scale`, have no effect: see x-warnings."""

    width: Annotated[int | None, Field(ge=MIN_SIDE, le=MAX_SIDE, description=f"Width {_SIDE}")] = None
    height: Annotated[int | None, Field(ge=MIN_SIDE, le=MAX_SIDE, description=f"Height {_SIDE}")] = None
    seed: Seed = None
    candidates: Candidates = None
    guidance: Guidance[float | None] = None

    @property
    def size(self) -> str | None:
        """The size of the image; a side that is not given is that of the other."""
        width, height = self.width or self.height, self.height or self.width
        return f"{width}x{height}" if width else None


class RedrawParameters(DrawParameters):
    """What to draw, and settings of the drawing."""

    prompt: DrawnText


class TextToImage(HubBody):
    """Generate an image for a text. The reply is the image file."""

    example = {"inputs": "сова на зелёном фоне", "parameters": {"seed": 7}}  # noqa: RUF012 (a ClassVar of the base)

    inputs: DrawnText
    parameters: DrawParameters = Field(default_factory=DrawParameters)


class ImageToImage(HubBody):
    """Draw an image again for a text: half of its cells are kept. The reply is the image file."""

    example = {"inputs": EXAMPLE_IMAGE, "parameters": {"prompt": "клубника"}}  # noqa: RUF012

    inputs: ImageFile
    parameters: RedrawParameters


class GenerationParameters(SampledParameters):
    max_new_tokens: AnyMaxTokens = None


class CaptionParameters(GenerationParameters):
    """Settings of the description."""

    generation_parameters: GenerationParameters = Field(
        default_factory=GenerationParameters,
        description="The same settings, where the hub documents them. Of two values the outer one counts.",
    )


class ImageToText(HubBody):
    """Describe an image. The body may also be the image file itself."""

    example = {"inputs": EXAMPLE_IMAGE}  # noqa: RUF012

    inputs: ImageFile
    parameters: CaptionParameters = Field(default_factory=CaptionParameters)


def _labels(value: Any) -> Any:
    return [label.strip() for label in value.split(",")] if isinstance(value, str) else value


def _image_of(value: Any) -> Any:
    """Return the image of `{"image": …}`, as the client for JavaScript sends it."""
    return value["image"] if isinstance(value, dict) and set(value) == {"image"} else value


_Labels = Annotated[list[ClassName], Field(min_length=2, max_length=MAX_CLASSES)]


def _one_braces(schema: dict[str, Any]) -> None:
    """Publish the rule of the template, which the task checks."""
    for option in schema.get("anyOf", ()):
        if option.get("type") == "string":
            option["pattern"] = ONE_BRACES_PATTERN


class LabelParameters(HubPart):
    """The labels, and a text around them."""

    candidate_labels: Annotated[
        _Labels,
        BeforeValidator(_labels, json_schema_input_type=_Labels),
        Field(
            description="2–1,000 labels; also as one text with commas between them.",
            examples=[["кошка", "дом"]],
        ),
    ]
    hypothesis_template: Annotated[
        OptionalText | None,
        Field(
            description="Text about the image; the label replaces `{}`. Omitted: the label alone.",
            examples=["это {}"],
            json_schema_extra=_one_braces,
        ),
    ] = None


class ZeroShotImageClassification(HubBody):
    """Choose the class of an image among given names."""

    example = {"inputs": EXAMPLE_IMAGE, "parameters": {"candidate_labels": ["клубника", "дом"]}}  # noqa: RUF012

    inputs: Annotated[ImageFile, BeforeValidator(_image_of)]
    parameters: LabelParameters


class QuestionParameters(HubPart):
    """Settings of the answer."""

    top_k: Annotated[
        int | None,
        Field(
            ge=1, description="Number of answers. There is one; another number has no effect, see x-warnings."
        ),
    ] = None


class QuestionInputs(HubPart):
    """The image and the question; both may also be fields of the body itself."""

    image: ImageFile
    question: Question


def _together(value: Any) -> Any:
    """Return the body with image and question in `inputs`; the client sends them beside it."""
    if not isinstance(value, dict) or "question" not in value:
        return value
    image = value.get("image", value.get("inputs"))
    rest = {name: item for name, item in value.items() if name not in ("image", "question")}
    return {**rest, "inputs": {"image": image, "question": value["question"]}}


class VisualQuestionAnswering(HubBody):
    """Answer a question about an image. Only fine-tuned checkpoints can."""

    example = {"inputs": {"image": EXAMPLE_IMAGE, "question": "Что на картинке?"}}  # noqa: RUF012

    inputs: QuestionInputs
    parameters: QuestionParameters = Field(default_factory=QuestionParameters)

    _client_fields = model_validator(mode="before")(_together)


class ContinueParameters(GenerationParameters):
    """Settings of the continuation."""

    return_full_text: Annotated[
        bool | None, Field(description="Put the prompt before the continuation. Omitted: false.")
    ] = None
    details: Annotated[
        bool | None,
        Field(description="Add the reason of the end and the number of tokens. Omitted: false."),
    ] = None
    best_of: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_CHOICES,
            description="Number of texts to generate, 1–16; the best one is returned. Omitted: 1. A stream "
            "takes 1 only.",
        ),
    ] = None
    stop: Annotated[Stop | None, Field(description=STOP)] = None
    seed: Seed = None


class TextGeneration(HubBody):
    """Continue a text."""

    example = {"inputs": "морда", "parameters": {"max_new_tokens": 8}}  # noqa: RUF012

    inputs: Beginning
    parameters: ContinueParameters = Field(default_factory=ContinueParameters)
    stream: Streamed = None

    @model_validator(mode="after")
    def _one_streamed_text(self) -> "TextGeneration":
        if self.stream and (self.parameters.best_of or 1) > 1:
            raise PydanticCustomError(
                "text_best_of",
                "must be 1 for a stream; the best text is known only at the end",
                {"field": "parameters.best_of"},
            )
        return self


def parameters_of(body: HubBody) -> HubPart:
    """Return the parameters of a body of a task."""
    return getattr(body, "parameters")  # noqa: B009 (each body has its own type)
