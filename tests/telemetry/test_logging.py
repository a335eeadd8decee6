import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from telemetry.logging import configure_logging, get_logger


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, before = root.handlers, root.level, structlog.get_config()
    sink = io.StringIO()
    configure_logging(json=True, level="INFO", stream=sink)
    yield sink
    root.handlers, root.level = handlers, level
    structlog.configure(**before)


def line(stream: io.StringIO) -> dict[str, object]:
    return json.loads(stream.getvalue().splitlines()[-1])


def test_a_line_is_json_with_level_time_and_request_id(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        get_logger("test").info("answered", status=200)
    written = line(stream)
    assert written["event"] == "answered"
    assert written["request_id"] == "r-1"
    assert written["level"] == "info"
    assert str(written["timestamp"]).endswith("Z")


def test_standard_library_loggers_share_the_format(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("слишком %s", "долго")
    assert line(stream)["event"] == "слишком долго"


def test_keys_and_images_never_reach_a_line(stream: io.StringIO) -> None:
    get_logger("test").info(
        "request",
        authorization="Bearer sk-secret",
        image="aGVsbG8=" * 1000,
        body=b"\x89PNG-secret",
        headers={"Cookie": "session=secret"},
    )
    text = stream.getvalue()
    assert "secret" not in text.replace("[secret]", "")
    assert "aGVsbG8=" not in text
    assert line(stream)["body"] == "[11 bytes]"


def test_long_values_are_shortened(stream: io.StringIO) -> None:
    get_logger("test").info("prompt", prompt="а" * 10_000)
    assert len(stream.getvalue()) < 1500


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_shows_no_local_variables(json_lines: bool, stream: io.StringIO) -> None:
    configure_logging(json=json_lines, stream=stream)
    key = "sk-very-" + "secret"
    try:
        raise ValueError(len(key))
    except ValueError:
        get_logger("test").exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "sk-very-secret" not in stream.getvalue()


def test_an_exception_is_logged_as_data(stream: io.StringIO) -> None:
    try:
        raise ValueError("внутри")
    except ValueError:
        get_logger("test").exception("failed")
    written = line(stream)
    assert written["exception"][0]["exc_type"] == "ValueError"  # type: ignore[index]


def test_debug_lines_are_left_out_at_info(stream: io.StringIO) -> None:
    get_logger("test").debug("hidden")
    assert stream.getvalue() == ""
