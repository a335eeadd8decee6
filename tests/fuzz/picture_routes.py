"""Every place of the API that takes a picture, each in every form it takes, with one picture to put there."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.hostile_files import noise, saved

GOOD = saved(noise(32))
GOOD_TEXT = base64.b64encode(GOOD).decode()


@dataclass(frozen=True)
class Place:
    """`body` is the JSON around the picture's text, or `form` the fields beside the picture's file."""

    name: str
    path: str
    param: str
    body: Callable[[str], dict[str, Any]] | None = None
    form: dict[str, Any] | None = None
    file: str = "image"
    others: tuple[tuple[str, bytes], ...] = ()
    """Further pictures of the form."""
    takes_any: bool = True
    """False: the image must meet further conditions, such as transparency."""

    @property
    def refusal(self) -> int:
        return 400 if "/images/" in self.path or "/chat/" in self.path else 422

    def send(
        self,
        http: httpx.Client,
        data: bytes | str,
        *,
        file_name: str = "picture.png",
        kind: str = "image/png",
    ) -> httpx.Response:
        """Post the file; text is sent as it is."""
        if self.body is not None:
            text = data if isinstance(data, str) else base64.b64encode(data).decode()
            return http.post(self.path, json=self.body(text))
        assert isinstance(data, bytes)
        files = [(self.file, (file_name, data, kind)), *((n, ("b.png", d, kind)) for n, d in self.others)]
        return http.post(self.path, data=self.form or {}, files=files)


def _message(url: str) -> dict[str, Any]:
    return {
        "model": "rudolph",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}],
    }


BORDERS = {"up": 2}
PLACES = (
    Place("image2text", "/v1/image2text", "image", lambda p: {"image": p, "candidates": 1}),
    Place("image2text-form", "/v1/image2text", "image", form={"candidates": "1"}),
    Place(
        "text2image",
        "/v1/text2image",
        "image_prompt.image",
        lambda p: {"prompt": "кот", "image_prompt": {"image": p, "borders": BORDERS}},
    ),
    Place(
        "text2image-form",
        "/v1/text2image",
        "image_prompt.image",
        form={"prompt": "кот", "borders": json.dumps(BORDERS)},
    ),
    Place(
        "text2image-mask",
        "/v1/text2image",
        "image_prompt.mask",
        lambda p: {"prompt": "кот", "image_prompt": {"image": GOOD_TEXT, "mask": p}},
        takes_any=False,
    ),
    Place(
        "text2image-mask-form",
        "/v1/text2image",
        "image_prompt.mask",
        form={"prompt": "кот"},
        file="mask",
        others=(("image", GOOD),),
        takes_any=False,
    ),
    Place("rank-texts", "/v1/rank/texts", "image", lambda p: {"image": p, "texts": ["кот", "собака"]}),
    Place("rank-texts-form", "/v1/rank/texts", "image", form={"texts": ["кот", "собака"]}),
    Place("rank-images", "/v1/rank/images", "images[1]", lambda p: {"text": "кот", "images": [GOOD_TEXT, p]}),
    Place("rank-images-form", "/v1/rank/images", "images[0]", form={"text": "кот"}, file="images"),
    Place("classify", "/v1/classify", "image", lambda p: {"image": p, "classes": ["кот", "собака"]}),
    Place("classify-form", "/v1/classify", "image", form={"classes": ["кот", "собака"]}),
    Place("job", "/v1/jobs", "input.image", lambda p: {"task": "image2text", "input": {"image": p}}),
    Place("openai-chat", "/v1/chat/completions", "messages", _message),
    Place("openai-edit", "/v1/images/edits", "image", form={"prompt": "кот"}, takes_any=False),
    Place(
        "openai-edit-mask",
        "/v1/images/edits",
        "mask",
        form={"prompt": "кот"},
        file="mask",
        others=(("image", GOOD),),
        takes_any=False,
    ),
)
