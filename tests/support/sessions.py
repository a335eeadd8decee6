"""Sessions over small checkpoints, and functions that run them to the end."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch

from jobs.contract.job import Job
from jobs.contract.requests import Request, Sampling, Text2ImageRequest, task_of
from jobs.contract.results import JobFailure, Outcome, Result
from model.config import ModelConfig, VqganConfig
from model.files.checkpoint import load_rudolph
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from model.rudolph import Rudolph
from model.text_tokenizer import TextTokenizer
from workers.session import Finished, Notice, Session

MAX_STEPS = 20_000
IMAGES = Sampling(1.0, 32, 0.99)
SMALL_VQGAN = {
    "embed_dim": 32,
    "z_channels": 32,
    "resolution": 32,
    "channels": 32,
    "channel_multipliers": (1, 1, 1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
}
"""The smallest VQGAN with cells of 8 pixels."""


def small_rudolph(folder: Path, *, tasks: frozenset[str] = frozenset()) -> Rudolph:
    """Load a small checkpoint in float32, with further tasks if a test needs them."""
    loaded = load_rudolph(folder, dtype="float32")
    return bundle(loaded.transformer, loaded.image_tokenizer, loaded.text_tokenizer, tasks or loaded.tasks)


def bundle(
    transformer: Transformer,
    image_tokenizer: ImageTokenizer,
    text_tokenizer: TextTokenizer,
    tasks: frozenset[str] = frozenset(),
) -> Rudolph:
    """Return a loaded model of these parts, on the CPU in float32."""
    return Rudolph(
        config=transformer.config,
        transformer=transformer,
        text_tokenizer=text_tokenizer,
        image_tokenizer=image_tokenizer,
        device=torch.device("cpu"),
        dtype=torch.float32,
        name="small",
        revision="0",
        tasks=tasks,
    )


def vqgan_config(config: ModelConfig) -> VqganConfig:
    return VqganConfig(codebook_size=config.image_codebook_size, **SMALL_VQGAN)


def drawing(**options: object) -> Text2ImageRequest:
    return Text2ImageRequest("старый кот", 7, sampling=IMAGES, **options)  # type: ignore[arg-type]


def job(request: Request, job_id: str = "job", priority: int = 0, num_sequences: int = 1) -> Job:
    return Job(job_id, task_of(request), request, priority=priority, num_sequences=num_sequences)


def drive(session: Session) -> tuple[dict[str, Outcome], list[Notice]]:
    """Step until no job is left; return outcomes by job, and the events before them."""
    outcomes: dict[str, Outcome] = {}
    notices: list[Notice] = []
    for _ in range(MAX_STEPS):
        if not session.has_work:
            return outcomes, notices
        for event in session.step().events:
            if isinstance(event, Finished):
                assert event.job_id not in outcomes
                outcomes[event.job_id] = event.outcome
            else:
                assert event.job_id not in outcomes, "nothing may be told after the end"
                notices.append(event)
    raise AssertionError(f"not finished after {MAX_STEPS} steps: {session.job_ids}")


def outcomes_of(session: Session, requests: Mapping[str, Request]) -> dict[str, Outcome]:
    """Run requests together in one engine; return their outcomes."""
    for job_id, request in requests.items():
        session.submit(job(request, job_id))
    return drive(session)[0]


def outcome_of(session: Session, request: Request) -> Outcome:
    return outcomes_of(session, {"job": request})["job"]


def result_of(session: Session, request: Request) -> Result:
    """Run a request alone; return its result, or fail the test."""
    outcome = outcome_of(session, request)
    assert not isinstance(outcome, JobFailure), outcome
    return outcome


def is_rising(values: list[float]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(values))
