"""Jobs and results for tests of the queue."""

import uuid
from typing import Any

from jobs.contract.job import Job
from jobs.contract.requests import Task, Text2TextRequest
from jobs.contract.results import GeneratedText, TextsResult
from jobs.contract.worker_info import ModelInfo, WorkerInfo
from jobs.worker.consumer import JobConsumer
from jobs.worker.replies import ClaimedJob, CommitReply


def make_job(prompt: str = "привет", *, seed: int = 1, **fields: Any) -> Job:
    fields.setdefault("id", uuid.uuid4().hex)
    return Job(task=Task.TEXT2TEXT, request=Text2TextRequest(prompt, seed=seed), **fields)


def make_result(text: str = "ответ") -> TextsResult:
    return TextsResult((GeneratedText(text, count=1),))


def commit(consumer: JobConsumer, claimed: ClaimedJob, text: str = "ответ") -> CommitReply:
    return consumer.commit(claimed.job.id, claimed.attempt, make_result(text), compute_s=0.1, model="m")


def make_worker(worker_id: str, *, draining: bool = False) -> WorkerInfo:
    model = ModelInfo(
        name="350M",
        revision="abc",
        generation=1,
        image_width=16,
        input_pixels=128,
        output_pixels=128,
        left_text_length=64,
        right_text_length=64,
        image_codebook_size=8192,
        tasks=(Task.TEXT2IMAGE, Task.TEXT2TEXT),
        device="cpu",
        dtype="float32",
    )
    return WorkerInfo(worker_id, host="here", pid=1, model=model, slots=8, draining=draining)
