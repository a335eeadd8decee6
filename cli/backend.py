"""The two ways in which a command gets its answer: a running server, or a model loaded here.

Both take the queue's request types and give its result types, so that a command does not know which it uses.
"""

import base64
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from cli.console import CliError, OnProgress
from jobs.job import Job, Task, task_of
from jobs.requests import ClassifyRequest, Image2TextRequest, Request, Sampling, Text2ImageRequest
from jobs.results import (
    ClassifyResult,
    ClassScore,
    GeneratedImage,
    GeneratedText,
    ImagesResult,
    Result,
    TextsResult,
)

POLL_S = 0.15
TIMEOUT_S = 30.0


class Backend(Protocol):
    def run(self, request: Request, on_progress: OnProgress) -> Result:
        """Raises CliError with what went wrong."""
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
) -> Backend:
    """The backend that the options of a command ask for."""
    if local:
        from cli.local import LocalBackend

        return LocalBackend(model, preset=preset, device=device, dtype=dtype)
    return ServerBackend(server, api_key)


@dataclass(frozen=True)
class ServerBackend:
    """Submits a job over HTTP and follows it until it ends."""

    url: str
    api_key: str | None = None

    def run(self, request: Request, on_progress: OnProgress) -> Result:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        # A retry after a broken connection must not pay twice.
        headers["Idempotency-Key"] = uuid.uuid4().hex
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S) as client:
                body = {"task": task_of(request).value, "input": input_of(request)}
                accepted = _answer(client.post("/v1/jobs", json=body))
                return self._follow(client, accepted["id"], task_of(request), on_progress)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CliError(
                f"no answer from {self.url} ({error}); start one with `rudolph serve`, or use --local"
            ) from error

    def _follow(self, client: httpx.Client, job_id: str, task: Task, on_progress: OnProgress) -> Result:
        try:
            while True:
                job = _answer(client.get(f"/v1/jobs/{job_id}"))
                if job["state"] == "succeeded":
                    return result_of(task, job["result"])
                if job["state"] not in ("queued", "running"):
                    error = job.get("error") or {}
                    raise CliError(f"the job has {job['state']}: {error.get('message', 'no reason given')}")
                if job["state"] == "queued":
                    on_progress(f"waiting, {job.get('position') or 0} ahead", 0, 0)
                elif progress := job.get("progress"):
                    on_progress(progress["phase"], progress["done"], progress["total"])
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            client.delete(f"/v1/jobs/{job_id}")
            raise


def _answer(reply: httpx.Response) -> dict[str, Any]:
    if reply.is_success:
        return reply.json()
    try:
        message = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {reply.status_code}; is this a RuDOLPH server?"
    raise CliError(message)


def input_of(request: Request) -> dict[str, Any]:
    """The request as the HTTP routes take it."""
    match request:
        case Text2ImageRequest():
            return {
                "prompt": request.prompt,
                "n": request.n,
                "candidates": request.candidates,
                "guidance": request.guidance,
                "seed": request.seed,
                "format": request.format,
                **_sampling(request.sampling),
            }
        case Image2TextRequest():
            return {
                "image": base64.b64encode(request.image).decode(),
                "n": request.n,
                "candidates": request.candidates,
                "template": request.template,
                "seed": request.seed,
                **_sampling(request.sampling),
            }
        case ClassifyRequest():
            return {
                "image": base64.b64encode(request.image).decode(),
                "classes": list(request.classes),
                "template": request.template,
            }
        case _:
            raise CliError(f"no command sends a {type(request).__name__}")


def result_of(task: Task, body: dict[str, Any]) -> Result:
    """The body of a reply as the queue's result type."""
    match task:
        case Task.TEXT2IMAGE:
            images = (
                GeneratedImage(base64.b64decode(image["b64_json"]), image["seed"], image.get("score"))
                for image in body["images"]
            )
            return ImagesResult(tuple(images))
        case Task.IMAGE2TEXT:
            texts = (GeneratedText(text["text"], text["count"], text.get("score")) for text in body["texts"])
            return TextsResult(tuple(texts))
        case Task.CLASSIFY:
            scores = (
                ClassScore(score["class"], score["score"], score["ppl_text"]) for score in body["scores"]
            )
            return ClassifyResult(body["label"], tuple(scores))
        case _:
            raise CliError(f"no command asks for {task}")


def _sampling(sampling: Sampling) -> dict[str, Any]:
    return {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}


def local_job(request: Request) -> Job:
    """The job that a request is, outside of any queue."""
    return Job(id=uuid.uuid4().hex, task=task_of(request), request=request)
