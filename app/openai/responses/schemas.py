"""The body of `/v1/responses`, and its tool."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from app.fields import EXAMPLE_IMAGE, Candidates, FirstFault, ImageFormat, Mask, OptionalText, Seed
from app.openai.schemas import MAX_MESSAGE_CHARACTERS, MAX_MESSAGES, OpenAIBody, SamplingFields, address_of

MAX_TOOLS = 128
RESPONSES_EXAMPLE: dict[str, Any] = {
    "input": [{"role": "user", "content": [{"type": "input_image", "image_url": EXAMPLE_IMAGE}]}]
}
_Text = Annotated[str, Field(max_length=MAX_MESSAGE_CHARACTERS)]
_Items = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_MESSAGES)]


def _kind_of_input(value: Any) -> str:
    return "#text" if isinstance(value, str) else "#items"


# Validated by `mapping.image_tool`, together with the tools.
_ToolChoice = Annotated[
    Any,
    Field(description="`none`: describe, although the tool is there."),
    WithJsonSchema({"anyOf": [{"enum": ["auto", "none", "required"]}, {"type": "object"}]}),
]


class ImageTool(FirstFault):
    """The tool that draws. Fields that are not declared are kept for `app.openai.parameters`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)

    type: Literal["image_generation"]
    action: Literal["generate", "edit", "auto"] | None = None
    model: str | None = None
    size: str | None = Field(None, max_length=32)
    output_format: ImageFormat | None = None
    output_compression: Annotated[int | None, Field(ge=0, le=100)] = None
    partial_images: Annotated[int | None, Field(ge=0, le=3)] = None
    input_image_mask: Annotated[Mask | None, BeforeValidator(address_of)] = None


class ResponsesBody(SamplingFields, OpenAIBody):
    """Describe an image, or draw one with the tool `image_generation`."""

    input: Annotated[
        Annotated[_Text, Tag("#text")] | Annotated[_Items, Tag("#items")],
        Discriminator(_kind_of_input),
        Field(
            description="A text, or messages whose content is `input_text` and `input_image` (a data URI).",
            examples=[RESPONSES_EXAMPLE["input"]],
        ),
    ]
    instructions: Annotated[str | None, Field(max_length=MAX_MESSAGE_CHARACTERS)] = None
    tools: Annotated[
        list[dict[str, Any]] | None,
        Field(
            max_length=MAX_TOOLS,
            description='`{"type": "image_generation"}` only: an image is drawn.',
        ),
    ] = None
    tool_choice: _ToolChoice = None
    max_output_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    stream: bool | None = None
    background: bool | None = Field(
        None, description="Reply at once; GET /v1/responses/{id} has the result for a limited time."
    )
    text: dict[str, Any] | None = Field(None, description="The format must be `text`.")
    seed: Seed = None
    candidates: Candidates = None
    template: OptionalText | None = Field(None, description="Words at the beginning of a description.")
