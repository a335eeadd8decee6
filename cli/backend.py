"""Runs a task on a server, or on a model in this process.

Both backends take a task and the body of its HTTP route, with images as bytes, and return a result type of
the queue.
"""

import base64
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import httpx

from cli.console import CliError, OnProgress, print_warnings
from cli.surroundings import Interrupted, interruptions, is_loopback
from jobs.contract.requests import Task
from jobs.contract.results import (
    AnswerResult,
    ClassifyResult,
    ClassScore,
    GeneratedImage,
    GeneratedText,
    ImagesResult,
    RankedItem,
    RankingResult,
    Result,
    ResultWarning,
    TextsResult,
)

POLL_S = 0.15
TIMEOUT_S = 30.0


class Backend(Protocol):
    def run(self, task: Task, body: dict[str, Any], on_progress: OnProgress) -> Result:
        """Return the result of the task. Raises CliError if it fails."""
        ...


def open_backend(
    *,
    local: bool,
    server: str,
    api_key: str | None,
    model: Path | None,
    preset: str | None,
    device: str,
    dtype: str,
    normalize: str,
) -> Backend:
    """Return the backend that the options of a command select."""
    if local:
        from cli.local import LocalBackend

        return LocalBackend(model, preset=preset, device=device, dtype=dtype, normalize=normalize)
    return ServerBackend(server, api_key)


@dataclass(frozen=True)
class ServerBackend:
    """Submits a job over HTTP and polls it until it ends."""

    url: str
    api_key: str | None = None

    def run(self, task: Task, body: dict[str, Any], on_progress: OnProgress) -> Result:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        # A retry after a broken connection must not run the job twice.
        headers["Idempotency-Key"] = uuid.uuid4().hex
        job = {"task": task.value, "input": {name: _as_json(value) for name, value in body.items()}}
        try:
            with self._open(headers) as client, interruptions():
                try:
                    accepted = _answer(client.post("/v1/jobs", json=job))
                    result = self._follow(client, accepted["id"], task, on_progress)
                    print_warnings(result.warnings)
                    return result
                except (KeyboardInterrupt, Interrupted):
                    _cancel(client, job)
                    raise
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CliError(
                f"No answer from {self.url} ({error}). Start a server with `rudolph serve`, or use --local."
            ) from error

    def _open(self, headers: dict[str, str]) -> httpx.Client:
        url = httpx.URL(self.url)
        uses_proxies = not is_loopback(url.host)
        try:
            return httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=uses_proxies)
        except (ImportError, ValueError) as error:
            raise CliError(
                f"The proxy of the environment cannot be used: {error} Correct HTTP_PROXY, HTTPS_PROXY or "
                f"ALL_PROXY, or add {url.host} to NO_PROXY."
            ) from error

    def _follow(self, client: httpx.Client, job_id: str, task: Task, on_progress: OnProgress) -> Result:
        while True:
            job = _answer(client.get(f"/v1/jobs/{job_id}"))
            if job["state"] == "succeeded":
                return result_of(task, job["result"])
            if job["state"] not in ("queued", "running"):
                error = job.get("error") or {}
                raise CliError(f"The job is {job['state']}. {error.get('message', '')}".rstrip())
            if job["state"] == "queued":
                on_progress(f"waiting, {job.get('position') or 0} jobs first", 0, 0)
            elif progress := job.get("progress"):
                on_progress(progress["phase"], progress["done"], progress["total"])
            time.sleep(POLL_S)


def _cancel(client: httpx.Client, job: dict[str, Any]) -> None:
    """Cancel the job of a command that ends early."""
    with suppress(httpx.HTTPError, CliError):
        # The same idempotency key finds the job, even if the reply to its submission was not read.
        accepted = _answer(client.post("/v1/jobs", json=job))
        client.delete(f"/v1/jobs/{accepted['id']}")


def _answer(reply: httpx.Response) -> dict[str, Any]:
    if reply.is_success:
        return reply.json()
    if reply.status_code == 401:
        raise CliError("The server requires a valid API key. Pass it with --api-key or RUDOLPH_API_KEY.")
    try:
        message = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"{reply.url} answered with status {reply.status_code} and no error of a RuDOLPH server."
    raise CliError(message)


def _as_json(value: Any) -> Any:
    """Return the value of a field for JSON: images become base64."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [_as_json(item) for item in cast(list[Any], value)]
        case dict():
            return {name: _as_json(item) for name, item in cast(dict[str, Any], value).items()}
        case _:
            return value


def result_of(task: Task, body: dict[str, Any]) -> Result:
    """Convert the body of a reply into the result type of the queue."""
    warnings = tuple(
        ResultWarning(warning["code"], warning["message"], warning["param"])
        for warning in body.get("warnings", ())
    )
    match task:
        case Task.TEXT2IMAGE:
            images = (
                GeneratedImage(base64.b64decode(image["b64_json"]), image["seed"], image.get("score"))
                for image in body["images"]
            )
            return ImagesResult(tuple(images), warnings=warnings)
        case Task.IMAGE2TEXT | Task.TEXT2TEXT:
            texts = (GeneratedText(text["text"], text["count"], text.get("score")) for text in body["texts"])
            return TextsResult(tuple(texts), warnings=warnings)
        case Task.CLASSIFY:
            scores = (
                ClassScore(score["class"], score["score"], score["ppl_text"]) for score in body["scores"]
            )
            return ClassifyResult(
                body["label"], tuple(scores), warnings=warnings, temperature=body.get("temperature", 1.0)
            )
        case Task.RANK_IMAGES | Task.RANK_TEXTS:
            ranking = tuple(
                RankedItem(item["index"], item["score"], item["ppl_text"], item["ppl_image"])
                for item in body["ranking"]
            )
            return RankingResult(ranking, warnings=warnings, temperature=body.get("temperature", 1.0))
        case Task.ANSWER:
            return AnswerResult(body["answer"], warnings=warnings)
