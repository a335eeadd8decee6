"""Instructor, which needs structured output. A description cannot be forced into a schema."""

from importlib.metadata import version

import instructor
from harness import BASE, PICTURE_URI, refused, run
from openai import OpenAI
from pydantic import BaseModel

openai_client = OpenAI(base_url=BASE, api_key="none", max_retries=0)


class ImageDescription(BaseModel):
    objects: list[str]
    scene: str


def extract(mode: instructor.Mode) -> str:
    client = instructor.from_openai(openai_client, mode=mode)
    content = [
        {"type": "text", "text": "What is in this image?"},
        {"type": "image_url", "image_url": {"url": PICTURE_URI}},
    ]
    return refused(
        lambda: client.chat.completions.create(
            model="rudolph",
            response_model=ImageDescription,
            messages=[{"role": "user", "content": content}],
            max_retries=0,
        ),
        "unsupported_parameter",
    )


run(
    f"instructor {version('instructor')}",
    {
        "response_model with tools": lambda: extract(instructor.Mode.TOOLS),
        "response_model with JSON": lambda: extract(instructor.Mode.JSON),
        "response_model with a JSON schema": lambda: extract(instructor.Mode.JSON_SCHEMA),
    },
)
