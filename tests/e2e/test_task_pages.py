"""The pages of docs/tasks: commands run, outputs and images are current, and every listed error is real."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.pages.blocks import outputs
from scripts.pages.comparing import same_image, same_output
from scripts.pages.running import make_clone, run_page
from scripts.pages.tasks import FOLDER, PAGES, images
from tests.support.programs import require
from tests.support.servers import ROOT, Server

IMAGE = ROOT / "docs" / "pictures" / "tasks" / "cat.png"
STALE = "`make readme-pictures` writes it again"
UNPROVOKED = {"queue_full", "deadline_exceeded"}
"""tests/e2e/test_queue_refusals.py and tests/app provoke them."""


def page_text(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def test_every_page_is_listed() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_commands_run_and_outputs_and_images_are_current(demo: Server, tmp_path: Path, name: str) -> None:
    require("curl")
    text = page_text(name)
    new = run_page(text, demo.url, make_clone(tmp_path))
    assert len(new) >= 3
    shown = outputs(text)
    assert shown
    for index, output in shown.items():
        assert same_output(output, new[index]), (
            f"output {index + 1} of {name}.md is stale; {STALE}:\n{new[index]}"
        )
    for path, image in images(text, tmp_path):
        assert same_image(path, image), f"{path.name} is stale; {STALE}"


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "draw": ("/v1/text2image", {"prompt": "кошка"}),
    "redraw": ("/v1/text2image", {"prompt": "кошка", "image": IMAGE, "borders": '{"up": 4}'}),
    "caption": ("/v1/image2text", {"image": IMAGE}),
    "classify": ("/v1/classify", {"image": IMAGE, "classes": ["кошка", "сова"]}),
    "rank": ("/v1/rank/images", {"text": "кошка", "images": IMAGE}),
    "continue": ("/v1/text2text", {"prompt": "морда"}),
    "answer": ("/v1/answer", {"image": IMAGE, "question": "Что?"}),
}
"""A right request for each page, as a form."""
NO_IMAGE = b"no image"
LARGE_IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(10_500_000)
FAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "draw": {
        "missing_field": {"prompt": None},
        "unknown_field": {"promt": "кошка"},
        "invalid_value": {"n": 99},
        "too_few_candidates": {"n": 4, "candidates": 2},
        "invalid_text": {"prompt": "\u200b"},
    },
    "redraw": {
        "invalid_borders": {"borders": '{"up": 8}'},
        "invalid_mask": {"borders": None, "mask": IMAGE},
        "unsupported_picture_format": {"image": NO_IMAGE},
        "picture_too_large": {"image": LARGE_IMAGE},
    },
    "caption": {
        "invalid_max_tokens": {"max_tokens": 4000},
        "unsupported_picture_format": {"image": NO_IMAGE},
        "context_length_exceeded": {"template": "кошка " * 60},
        "picture_too_large": {"image": LARGE_IMAGE},
    },
    "classify": {
        "invalid_value": {"classes": ["кошка"]},
        "invalid_duplicate": {"classes": ["кошка", "КОШКА"]},
        "unsupported_picture_format": {"image": NO_IMAGE},
    },
    "rank": {
        "invalid_codes": {"images": [{"codes": [1, 2]}]},
        "invalid_value": {"text": ""},
        "unsupported_picture_format": {"images": NO_IMAGE},
        "body_too_large": {"images": bytes(17_000_000)},
    },
    "continue": {
        "invalid_max_tokens": {"max_tokens": 4000},
        "context_length_exceeded": {"prompt": "морда " * 60},
        "invalid_text": {"prompt": "\u200b"},
    },
    "answer": {
        "unsupported_task": {},
        "invalid_max_tokens": {"max_tokens": 4000},
        "unsupported_picture_format": {"image": NO_IMAGE},
    },
}
"""What to change in the right request for each error; None: leave the field out."""


def listed_errors() -> list[tuple[str, int, str]]:
    rows = [(name, re.findall(r"^\| (\d{3}) \| `(\w+)`", page_text(name), re.MULTILINE)) for name in PAGES]
    listed = [(name, int(status), code) for name, found in rows for status, code in found]
    return [error for error in listed if error[2] not in UNPROVOKED]


def post(server: Server, route: str, form: dict[str, Any]) -> httpx.Response:
    if isinstance(form.get("images"), list):
        return server.client.post(route, json=form)
    fields = {name: value.read_bytes() if isinstance(value, Path) else value for name, value in form.items()}
    files = {name: (name, value) for name, value in fields.items() if isinstance(value, bytes)}
    texts = {name: value for name, value in fields.items() if not isinstance(value, bytes)}
    if not files:
        return server.client.post(route, json=texts)
    return server.client.post(route, files=files, data=texts)


@pytest.mark.parametrize(("name", "status", "code"), listed_errors())
def test_every_listed_error_is_returned(
    request: pytest.FixtureRequest, name: str, status: int, code: str
) -> None:
    # The demo checkpoint refuses every question; the checks of questions need a model that takes them.
    takes_it = name != "answer" or code == "unsupported_task"
    server: Server = request.getfixturevalue("demo" if takes_it else "server_answers")
    route, form = FORMS[name]
    changed = {field: value for field, value in (form | FAULTS[name][code]).items() if value is not None}
    reply = post(server, route, changed)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text


def test_the_request_of_the_answer_page_has_the_listed_reply(server_answers: Server) -> None:
    """Random weights: the fields are those of the page, the answer itself means nothing."""
    reply = post(server_answers, *FORMS["answer"]).raise_for_status().json()
    listed = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page_text("answer"), re.MULTILINE)
    assert set(reply) == set(listed)
