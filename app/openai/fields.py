"""Types of fields that several bodies of OpenAI's and the hub's routes share, with what this server does.

A hint that has no effect is validated here. `app.openai.parameters` decides which values `warnings` names.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.fields import MASK, ImageFile, ImageFormat, Mask, OptionalText

T = TypeVar("T")

Temperature = Annotated[
    float | None,
    Field(
        ge=0,
        le=10,
        description="Divides the logits, 0–10. Below 0.01 the likeliest token is always taken. Omitted: the "
        "model's default, see `/v1/models`.",
    ),
]
AnyMaxTokens = Annotated[
    int | None,
    Field(
        ge=1,
        le=1_000_000,
        description="Maximum number of tokens to generate; those of a prompt do not count. Omitted, or more "
        "than the text region has room for: until the region is full.",
    ),
]
Streamed = Annotated[
    bool | None,
    Field(
        description="Reply with server-sent events: partial images, or the text in pieces; then the result. "
        "Omitted: one reply."
    ),
]
Template = Annotated[
    OptionalText | None, Field(description="Words at the beginning of a description. Omitted: none.")
]
User = Annotated[str | None, Field(description="Harmless: a label of the caller, which changes nothing.")]
Size = Annotated[
    str | None,
    Field(
        max_length=32,
        description="`auto`, or width x height such as 1024x1024: sides of 16–4,096 px, at most 8,294,400 "
        "pixels. The model draws squares of one size; another size is the centre of that image, resampled, "
        "or refused by the operator. Omitted: as drawn.",
    ),
]
OutputFormat = Annotated[
    ImageFormat | None,
    Field(description="Format of the image files. Omitted: png, or what `Accept` names on an image route."),
]
OutputCompression = Annotated[
    int | None,
    Field(
        ge=0,
        le=100,
        description="Quality of the encoder for jpeg and webp, 0–100; a png takes 100 only. Omitted: 92 for "
        "jpeg, 90 for webp.",
    ),
]
PartialImages = Annotated[
    int | None,
    Field(
        ge=0,
        le=3,
        description="Number of partial images of each image in a stream: finished rows, the rest grey. "
        "Omitted: 0. It has no effect without `stream`.",
    ),
]
Background = Annotated[
    Literal["auto", "opaque", "transparent"] | None,
    Field(description="Images are opaque, so `transparent` is refused."),
]
Quality = Annotated[
    Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] | None,
    Field(description="No effect; `warnings` names it unless it is `auto` or `standard`."),
]
Hint = Annotated[T | None, Field(description="No effect; `warnings` names it.")]


class StreamOptions(BaseModel):
    """Options of a stream. Others than these have no effect."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool | None = Field(
        None, description="Send the tokens that were read and generated in a last chunk without choices."
    )


class ImageAddress(BaseModel):
    """An image as an object."""

    image_url: ImageFile


def address_of(value: Any) -> Any:
    """Return the data URI of `{"image_url": …}`, which is also accepted as plain text."""
    if not isinstance(value, dict):
        return value
    if "image_url" not in value:
        raise PydanticCustomError(
            "text_file_id", "needs image_url with a data URI; uploaded files are not stored here"
        )
    url = value["image_url"]
    return url.get("url") if isinstance(url, dict) else url


EditMask = Annotated[
    Mask | None,
    BeforeValidator(address_of, json_schema_input_type=Mask | ImageAddress | None),
    Field(
        description=f"{MASK} Omitted: the transparent pixels of the image are the mask; without any, half of "
        "its cells are kept."
    ),
]
