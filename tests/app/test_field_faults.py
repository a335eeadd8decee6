"""Each field that is wrong is named, with its rule and its remedy."""

import httpx
import pytest

from tests.app.refusals import GIF, PICTURE, refused

FIELD_FAULTS = [
    ("/v1/text2image", {}, "missing_field", "prompt", "is required"),
    ("/v1/text2image", {"prompt": "к", "top_p": 1.5}, "invalid_value", "top_p", "between 0 and 1; got 1.5"),
    ("/v1/text2image", {"prompt": "к", "min_p": 1.5}, "invalid_value", "min_p", "between 0 and 1; got 1.5"),
    ("/v1/text2image", {"prompt": "к", "top_k": -1}, "invalid_value", "top_k", "between 0 and 65536"),
    ("/v1/text2image", {"prompt": "к", "temperature": 0}, "invalid_value", "temperature", "0.01"),
    ("/v1/text2image", {"prompt": "к", "n": 17}, "invalid_value", "n", "between 1 and 16; got 17"),
    ("/v1/text2image", {"prompt": "к", "n": 0}, "invalid_value", "n", "got 0"),
    ("/v1/text2image", {"prompt": "к", "n": 1.5}, "invalid_value", "n", "an integer; got 1.5"),
    ("/v1/text2image", {"prompt": "к", "n": True}, "invalid_value", "n", "an integer; got true"),
    ("/v1/text2image", {"prompt": "к", "n": "2"}, "invalid_value", "n", 'an integer; got "2"'),
    ("/v1/text2image", {"prompt": "к", "n": None}, "invalid_value", "n", "an integer; got null"),
    (
        "/v1/text2image",
        {"prompt": "к", "n": 4, "candidates": 3},
        "too_few_candidates",
        "candidates",
        "at least n = 4",
    ),
    ("/v1/text2image", {"prompt": "к", "candidates": 257}, "invalid_value", "candidates", "256"),
    ("/v1/text2image", {"prompt": "к", "seed": 2**63}, "invalid_value", "seed", "9223372036854775807"),
    ("/v1/text2image", {"prompt": "к", "seed": -1}, "invalid_value", "seed", "between 0"),
    ("/v1/text2image", {"prompt": "к", "guidance": 1.1}, "invalid_value", "guidance", "between 0"),
    ("/v1/text2image", {"prompt": "к", "format": "gif"}, "invalid_value", "format", "'png'"),
    ("/v1/text2image", {"prompt": "к", "размер": 1}, "unknown_field", "размер", "Known fields: candidates"),
    ("/v1/text2image", {"prompt": ""}, "invalid_value", "prompt", "at least one character"),
    ("/v1/text2image", {"prompt": " \n"}, "invalid_value", "prompt", "at least one character"),
    (
        "/v1/text2image",
        {"prompt": "я" * 2001},
        "invalid_value",
        "prompt",
        "at most 2000 characters",
    ),
    ("/v1/text2image", {"prompt": "a\u0000b"}, "invalid_value", "prompt", "U+0000 at character 1"),
    ("/v1/text2image", {"prompt": "a\u001bb"}, "invalid_value", "prompt", "U+001B"),
    ("/v1/text2image", {"prompt": ["кот"]}, "invalid_value", "prompt", "must be a string; got a list"),
    ("/v1/text2image", [], "invalid_value", None, "must be an object"),
    ("/v1/text2image", "кот", "invalid_value", None, "must be an object"),
    (
        "/v1/text2image",
        {"prompt": "к", "image_prompt": {"image": PICTURE}},
        "invalid_image_prompt",
        "image_prompt",
        "give one of borders, mask and keep_share",
    ),
    (
        "/v1/text2image",
        {"prompt": "к", "image_prompt": {"image": PICTURE, "borders": {"up": 4}}},
        "invalid_borders",
        "image_prompt.borders.up",
        "leave some to be drawn",
    ),
    (
        "/v1/text2image",
        {"prompt": "к", "image_prompt": {"image": GIF, "borders": {"up": 1}}},
        "unsupported_picture_format",
        "image_prompt.image",
        "PNG, JPEG or WebP",
    ),
    ("/v1/image2text", {"image": 5}, "invalid_value", "image", "base64"),
    ("/v1/image2text", {"image": "http://a/b.png"}, "picture_url_refused", "image", "never fetched"),
    ("/v1/image2text", {"image": "file:///etc/passwd"}, "picture_url_refused", "image", "never fetched"),
    ("/v1/image2text", {"image": "не base64"}, "invalid_picture", "image", "not valid base64"),
    ("/v1/image2text", {"image": "data:image/png,abc"}, "invalid_picture", "image", "data:image/png;base64"),
    ("/v1/image2text", {"image": ""}, "unsupported_picture_format", "image", "PNG"),
    ("/v1/image2text", {"image": PICTURE[:80]}, "invalid_picture", "image", "damaged"),
    (
        "/v1/image2text",
        {"image": PICTURE, "max_tokens": 17},
        "invalid_max_tokens",
        "max_tokens",
        "at most 16",
    ),
    ("/v1/text2text", {"prompt": "к", "max_tokens": 0}, "invalid_value", "max_tokens", "got 0"),
    ("/v1/rank/images", {"text": "к", "images": []}, "invalid_value", "images", "at least 1 items"),
    (
        "/v1/rank/images",
        {"text": "к", "images": [PICTURE] * 257},
        "invalid_value",
        "images",
        "at most 256 items",
    ),
    (
        "/v1/rank/images",
        {"text": "к", "images": [PICTURE, GIF]},
        "unsupported_picture_format",
        "images[1]",
        "PNG",
    ),
    (
        "/v1/rank/images",
        {"text": "к", "images": [{"codes": [1, 2]}]},
        "invalid_codes",
        "images[0].codes",
        "16 codes",
    ),
    (
        "/v1/rank/images",
        {"text": "к", "images": [PICTURE, {"codes": [64] * 16}]},
        "invalid_codes",
        "images[1].codes",
        "between 0 and 63",
    ),
    ("/v1/rank/texts", {"image": PICTURE, "texts": ["a", ""]}, "invalid_value", "texts[1]", "is empty"),
    ("/v1/classify", {"image": PICTURE, "classes": ["один"]}, "invalid_value", "classes", "at least 2 items"),
    ("/v1/classify", {"image": PICTURE, "classes": ["a"] * 1001}, "invalid_value", "classes", "1000"),
    (
        "/v1/classify",
        {"image": PICTURE, "classes": ["a", "b"], "template": "{} и {}"},
        "invalid_value",
        "template",
        "exactly once",
    ),
    ("/v1/jobs", {"task": "text2image"}, "missing_field", "input", "is required"),
    ("/v1/jobs", {"task": "рисуй", "input": {}}, "invalid_value", "task", "must be one of"),
    ("/v1/jobs", {"task": "text2image", "input": {"n": 1}}, "missing_field", "input.prompt", "is required"),
    (
        "/v1/jobs",
        {"task": "image2text", "input": {"image": GIF}},
        "unsupported_picture_format",
        "input.image",
        "PNG",
    ),
    (
        "/v1/jobs",
        {"task": "text2image", "input": {"prompt": "к"}, "priority": 11},
        "invalid_value",
        "priority",
        "between -10 and 10",
    ),
]


@pytest.mark.parametrize(("path", "body", "code", "param", "words"), FIELD_FAULTS)
def test_a_wrong_field_is_named_with_its_remedy(
    http: httpx.Client, path: str, body: object, code: str, param: str | None, words: str
) -> None:
    error = refused(http.post(path, json=body), 422, code, param, words)
    assert error["type"] == "invalid_request_error"
