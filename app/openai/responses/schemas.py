"""The body of `/v1/responses`, its items and its tool."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from app.fields import CANDIDATES, EXAMPLE_IMAGE, IMAGE, Candidates, FirstFault, ImageFile, Seed
from app.openai.fields import (
    AnyMaxTokens,
    EditMask,
    OutputCompression,
    OutputFormat,
    PartialImages,
    Size,
    Streamed,
    Template,
)
from app.openai.messages import MAX_MESSAGE_CHARACTERS, MAX_MESSAGES, MAX_PARTS
from app.openai.schemas import OpenAIBody, SamplingFields

MAX_TOOLS = 128
RESPONSES_EXAMPLE: dict[str, Any] = {
    "input": [{"role": "user", "content": [{"type": "input_image", "image_url": EXAMPLE_IMAGE}]}]
}


class InputPart(BaseModel):
    """A text or an image of a message."""

    type: Literal["input_text", "input_image", "output_text", "text", "refusal"] = Field(
        description="`input_image`: the part has `image_url`. The others are texts."
    )
    text: str | None = Field(None, description="The text, of all types but `input_image` and `refusal`.")
    image_url: ImageFile | None = Field(None, description=IMAGE)
    refusal: str | None = Field(None, description="The text of the type `refusal`.")


class InputMessage(BaseModel):
    """A message. Its other fields, such as `id` and `status`, have no effect."""

    type: Literal["message"] = Field(default="message", description="May be omitted.")
    role: Literal["user", "assistant", "system", "developer"] = Field(
        description="Who speaks. Only texts of `user` are drawn, or are a question."
    )
    content: str | Annotated[list[InputPart], Field(max_length=MAX_PARTS)] = Field(
        description="A text, or up to 64 parts."
    )


class DrawnImage(BaseModel):
    """An image of an earlier response, to redraw it."""

    type: Literal["image_generation_call"] = Field(description="The type of the item in that response.")
    result: ImageFile


def _as_sent(value: Any) -> Any:
    """Return the value. `mapping` validates items and tools; the document shows their models."""
    return value


def _kind_of_input(value: Any) -> str:
    return "#text" if isinstance(value, str) else "#items"


_Text = Annotated[str, Field(max_length=MAX_MESSAGE_CHARACTERS)]
_Items = Annotated[
    list[
        Annotated[dict[str, Any], BeforeValidator(_as_sent, json_schema_input_type=InputMessage | DrawnImage)]
    ],
    Field(min_length=1, max_length=MAX_MESSAGES),
]
# Validated by `mapping.image_tool`, together with the tools.
_ToolChoice = Annotated[
    Any,
    Field(
        description="`none`: describe, although the tool is there. `required`, or an object of the type "
        "`image_generation`: the tool must be there. Omitted: `auto`, which draws if it is there."
    ),
    WithJsonSchema({"anyOf": [{"enum": ["auto", "none", "required"]}, {"type": "object"}]}),
]


class ImageTool(FirstFault):
    """The tool that draws. Hints such as `quality` have no effect; `warnings` names them."""

    # Hints and other fields are kept for `app.openai.parameters`.
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)

    type: Literal["image_generation"] = Field(description="The only tool, which the server runs itself.")
    action: Literal["generate", "edit", "auto"] | None = Field(
        None,
        description="`edit`: redraw the last image of `input`, which must have one. `generate`: use none. "
        "Omitted or `auto`: redraw if there is an image.",
    )
    model: str | None = Field(None, description="No effect, because the loaded model draws; see `warnings`.")
    size: Size = None
    output_format: OutputFormat = None
    output_compression: OutputCompression = None
    partial_images: PartialImages = None
    input_image_mask: EditMask = None


_Tools = Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS)]
_OneTool = Annotated[list[ImageTool], Field(max_length=1)]


class ResponsesBody(SamplingFields, OpenAIBody):
    """Describe an image, or draw one with the tool `image_generation`."""

    input: Annotated[
        Annotated[_Text, Tag("#text")] | Annotated[_Items, Tag("#items")],
        Discriminator(_kind_of_input),
        Field(
            description="A text, or up to 64 messages and earlier images. Without the tool, one image.",
            examples=[RESPONSES_EXAMPLE["input"]],
        ),
    ]
    instructions: Annotated[str | None, Field(max_length=MAX_MESSAGE_CHARACTERS)] = Field(
        None,
        description="A text before `input`, of the role `system`. It is ignored, with a warning by default.",
    )
    tools: Annotated[_Tools | None, BeforeValidator(_as_sent, json_schema_input_type=_OneTool | None)] = (
        Field(None, description='One `{"type": "image_generation"}`: an image is drawn. Others are refused.')
    )
    tool_choice: _ToolChoice = None
    max_output_tokens: AnyMaxTokens = None
    stream: Streamed = None
    background: bool | None = Field(
        None,
        description="Reply at once; GET /v1/responses/{id} has the result for a limited time. Refused with "
        "`stream`. Omitted: false.",
    )
    text: dict[str, Any] | None = Field(
        None, description="`format` must be of the type `text`. Other fields have no effect; see `warnings`."
    )
    seed: Seed = None
    candidates: Candidates = Field(
        None, description=f"{CANDIDATES} Omitted: 8 to describe an image, 1 to draw one and in a stream."
    )
    template: Template = None
