"""Examples of replies for the OpenAPI document: the answers of a server with the demo checkpoint."""

import json
import time
from typing import Any

import httpx

from scripts.pictures.server import ROOT

REPLIES = ROOT / "app" / "reply_examples.json"
MAX_CHARACTERS = 120
SHOWN_CHARACTERS = 60
MAX_ITEMS = 3
TIMEOUT_S = 120.0


def write_replies(url: str) -> None:
    text = json.dumps(collect_replies(url), ensure_ascii=False, indent=1)
    REPLIES.write_text(f"{text}\n", encoding="utf-8")


def collect_replies(url: str) -> dict[str, dict[str, Any]]:
    """Return {operation id: {status: reply}} of every route that replies with JSON."""
    found: dict[str, dict[str, Any]] = {}
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        document = client.get("/openapi.json").json()
        job = _finished_job(client)
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                reply = _call(client, method, path.replace("{id}", job), operation)
                if reply is not None:
                    found[operation["operationId"]] = {str(reply.status_code): shortened(reply.json())}
    return found


def shortened(value: Any) -> Any:
    """Return the reply with its long texts, such as images, cut."""
    if isinstance(value, str) and len(value) > MAX_CHARACTERS:
        return f"{value[:SHOWN_CHARACTERS]}…"
    if isinstance(value, list):
        return [shortened(item) for item in value[:MAX_ITEMS]]
    return {name: shortened(item) for name, item in value.items()} if isinstance(value, dict) else value


def _call(client: httpx.Client, method: str, path: str, operation: dict[str, Any]) -> httpx.Response | None:
    """Return the reply to the route's example; None without JSON, or for a task that the demo cannot do."""
    if method not in ("get", "post", "delete") or "{" in path or path.endswith("/events"):
        return None
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("example")
    if method == "post" and body is None:
        return None
    reply = client.request(method, path, json=body)
    is_json = reply.headers.get("content-type", "").startswith("application/json")
    return reply if reply.is_success and is_json else None


def _finished_job(client: httpx.Client) -> str:
    body = {"task": "text2text", "input": {"prompt": "морда"}}
    job: str = client.post("/v1/jobs", json=body).json()["id"]
    deadline_s = time.monotonic() + TIMEOUT_S
    while client.get(f"/v1/jobs/{job}").json()["state"] != "succeeded":
        if time.monotonic() > deadline_s:
            raise RuntimeError("The job of the example did not end.")
        time.sleep(0.1)
    return job
