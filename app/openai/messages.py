"""The messages of a chat: texts and images."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.fields import ImageFile

MAX_MESSAGES = 64
MAX_PARTS = 64
MAX_MESSAGE_CHARACTERS = 100_000
"""Of one text part. A system text may be long; a question has the bound of its task."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ImageUrl(_Part):
    url: ImageFile


class MessagePart(_Part):
    """A text or an image of a message."""

    type: Literal["text", "image_url"] = Field(description="Which of the two other fields the part has.")
    text: str | None = Field(
        None, max_length=MAX_MESSAGE_CHARACTERS, description="The text of a part of the type `text`."
    )
    image_url: ImageUrl | None = Field(None, description="The image of a part of the type `image_url`.")


def _parts(value: Any) -> Any:
    """Return a list of parts: a plain string is one text part, null is none."""
    if value is None:
        return []
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


_Parts = Annotated[list[MessagePart], Field(max_length=MAX_PARTS)]


class Message(_Part):
    """A message of a chat. Other fields, such as `name`, have no effect."""

    role: Literal["system", "developer", "user", "assistant"] = Field(
        description="Who speaks. A question is the texts of `user`. Texts of others, and images of "
        "`assistant`, are ignored with a warning."
    )
    content: Annotated[_Parts, BeforeValidator(_parts, json_schema_input_type=str | _Parts | None)] = Field(
        description="A text, or parts; null: nothing."
    )
