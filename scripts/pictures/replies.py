"""Examples of replies for the OpenAPI document: the answers of a server with the demo checkpoint."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx

from scripts.pictures.server import ROOT

REPLIES = ROOT / "app" / "reply_examples.json"
MAX_CHARACTERS = 120
SHOWN_CHARACTERS = 60
MAX_ITEMS = 6
MAX_EVENTS = 5
MAX_LINES = 12
TIMEOUT_S = 120.0


def write_replies(url: str) -> None:
    text = json.dumps(collect_replies(url), ensure_ascii=False, indent=1)
    REPLIES.write_text(f"{text}\n", encoding="utf-8")


def collect_replies(url: str) -> dict[str, dict[str, Any]]:
    """Return {operation id: {status: {media type: reply}}} of every route that replies with text.

    A task that the demo checkpoint cannot do has its refusal.
    """
    found: dict[str, dict[str, Any]] = {}
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        document = client.get("/openapi.json").json()
        ids = {
            "/v1/jobs/": _finished(client, "/v1/jobs", _JOB, "state", "succeeded"),
            "/v1/responses/": _finished(client, "/v1/responses", _RESPONSE, "status", "completed"),
            "/v1/models/": client.get("/v1/models").json()["data"][0]["id"],
        }
        for path, methods in document["paths"].items():
            id_ = next((id_ for start, id_ in ids.items() if path.startswith(start)), "")
            for method, operation in methods.items():
                replies = _replies(client, method, path.replace("{id}", id_), operation)
                if replies:
                    found[operation["operationId"]] = replies
    return found


def shortened(value: Any) -> Any:
    """Return the reply with its images cut: long texts without a blank."""
    if isinstance(value, str) and len(value) > MAX_CHARACTERS and " " not in value:
        return f"{value[:SHOWN_CHARACTERS]}…"
    if isinstance(value, list):
        return [shortened(item) for item in value[:MAX_ITEMS]]
    return {name: shortened(item) for name, item in value.items()} if isinstance(value, dict) else value


def shortened_text(text: str) -> str:
    """Return the first lines of a text."""
    lines = text.splitlines()
    return "\n".join([*lines[:MAX_LINES], "…"] if len(lines) > MAX_LINES else lines)


def shortened_stream(text: str) -> str:
    """Return the first events of a stream and the last two, with their images cut."""
    events = [event for event in re.split(r"\n\n", text.strip()) if "data: " in event]
    left_out = len(events) - MAX_EVENTS
    if left_out > 0:
        events[MAX_EVENTS - 2 : -2] = [f": {left_out} more events"]
    return re.sub(r"(?m)^data: (\{.*\})$", _short_data, "\n\n".join(events))


def _short_data(line: re.Match[str]) -> str:
    return f"data: {json.dumps(shortened(json.loads(line[1])), ensure_ascii=False)}"


def _replies(
    client: httpx.Client, method: str, path: str, operation: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return {status: {media type: reply}} to the route's example, and to the same example as a stream."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    streams = "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
    bodies = [body, {**body, "stream": True}] if body and streams else [body]
    found: dict[str, dict[str, Any]] = {}
    for sent in bodies:
        reply = client.request(method, path, json=sent)
        kind = reply.headers.get("content-type", "").partition(";")[0]
        if kind in _SHORTENED and (reply.is_success or reply.json()["error"]["code"] == "unsupported_task"):
            found.setdefault(str(reply.status_code), {})[kind] = _SHORTENED[kind](reply)
    return found


_SHORTENED: dict[str, Callable[[httpx.Response], Any]] = {
    "application/json": lambda reply: shortened(reply.json()),
    "text/event-stream": lambda reply: shortened_stream(reply.text),
    "text/plain": lambda reply: shortened_text(reply.text),
}
_JOB = {"task": "text2text", "input": {"prompt": "морда"}}
_RESPONSE = {"input": "сова на зелёном фоне", "tools": [{"type": "image_generation"}], "background": True}


def _finished(client: httpx.Client, path: str, body: dict[str, Any], field: str, end: str) -> str:
    """Submit a job or a response, and return its id when it has ended."""
    id_: str = client.post(path, json=body).raise_for_status().json()["id"]
    deadline_s = time.monotonic() + TIMEOUT_S
    while client.get(f"{path}/{id_}").json()[field] != end:
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"The example of {path} did not end.")
        time.sleep(0.1)
    return id_
