"""Ten thousand small jobs of every kind in one session: memory, slots and step time over the run.

The model is small and has random weights, because leaks and slowdowns do not depend on its size.
"""

import gc
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench import results, weights
from jobs.contract.job import Job
from jobs.contract.requests import (
    Borders,
    ClassifyRequest,
    Codes,
    Image2TextRequest,
    ImagePrompt,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    Task,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import JobFailure
from model.backends.precision import choose_dtype
from model.config import ModelConfig, VqganConfig
from workers.engine.settings import EngineSettings
from workers.engine.statistics import StepStatistics
from workers.session import Finished, Session

SHAPE = ModelConfig(2, 32, 2, 16, 4, 24, 3, 5, 800, 64, text_special_tokens=8, image_special_tokens=8)
VQGAN = VqganConfig(64, 16, 16, 32, 16, (1, 1, 1, 2), 1, (4,), num_groups=8)
SLOTS = 8
AT_ONCE = 12
"""Jobs in the session at a time; more than the slots, so that some wait."""
WINDOWS = 10
CANCELLED_SHARE = 0.02
WORDS = ("кот", "красный круг", "синий квадрат на белом", "зима", "большой зелёный дом у реки")


@dataclass
class Window:
    """Measurements of a tenth of the run."""

    jobs: int = 0
    step_s: list[float] = field(default_factory=list[float])
    """Steps that only decode, so that windows can be compared."""
    resident_bytes: int = 0


def run(num_jobs: int, dtype: str = "float32") -> dict[str, Any]:
    """Return the run as a result document. Raises RuntimeError if a slot or a job is not released."""
    content = results.document(shape="small", dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary_file = weights.vocabulary(SHAPE.bpe_vocab_size, Path(folder))
        transformer = weights.transformer(SHAPE, choose_dtype(torch.device("cpu"), dtype))
        rudolph = weights.bundle(transformer, VQGAN, vocabulary_file)
    session = Session(rudolph, EngineSettings(num_slots=SLOTS))
    driver = _Driver(session, num_jobs)
    start = time.perf_counter()
    windows = [driver.window(num_jobs // WINDOWS) for _ in range(WINDOWS)]
    spent = time.perf_counter() - start
    left = driver.drain()
    session.close()
    if left.slots_used or session.job_ids or driver.inside:
        raise RuntimeError(f"{left.slots_used} slots and {len(driver.inside)} jobs were not released.")
    first, last = windows[1], windows[-1]
    drift = statistics.median(last.step_s) / statistics.median(first.step_s) - 1
    content["windows"] = [
        {
            "jobs": window.jobs,
            "step_s": results.quantiles(window.step_s),
            "resident_bytes": window.resident_bytes,
        }
        for window in windows
    ]
    content["outcomes"] = dict(driver.outcomes)
    content["rows"] = [
        _figure("jobs done", sum(driver.outcomes.values()), ""),
        _figure("of these cancelled", driver.outcomes["cancelled"], ""),
        _figure("of these refused, as they should be", driver.outcomes["refused"], ""),
        _figure("time", spent, "s"),
        _figure("resident memory after the second tenth", first.resident_bytes / 1e6, "MB"),
        _figure("resident memory after the last", last.resident_bytes / 1e6, "MB"),
        _figure("median step, second tenth", statistics.median(first.step_s) * 1e3, "ms"),
        _figure("median step, last tenth", statistics.median(last.step_s) * 1e3, "ms"),
        _figure("drift of the step", drift * 100, "%"),
        _figure("slots held at the end", left.slots_used, ""),
        _figure("threads at the end", threading.active_count(), ""),
    ]
    return content


def _figure(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit}


class _Driver:
    """Keeps the session full of random requests and counts their results."""

    def __init__(self, session: Session, num_jobs: int) -> None:
        self._session = session
        self._random = random.Random(1)
        self._waiting = num_jobs
        self._number = 0
        self._image = weights.image(32, 0)[1]
        self.inside: set[str] = set()
        self.outcomes: Counter[str] = Counter()

    def window(self, num_jobs: int) -> Window:
        """Run until this number of jobs has ended."""
        window = Window()
        while window.jobs < num_jobs:
            while self._waiting and len(self.inside) < AT_ONCE:
                self._submit()
            if not self.inside:
                break
            start = time.perf_counter()
            step = self._session.step()
            spent = time.perf_counter() - start
            if set(step.statistics.seconds) <= {"schedule", "decode", "pictures"}:
                window.step_s.append(spent)
            for event in step.events:
                if isinstance(event, Finished):
                    refused = isinstance(event.outcome, JobFailure)
                    self._end(event.job_id, "refused" if refused else "succeeded")
                    window.jobs += 1
            if self.inside and self._random.random() < CANCELLED_SHARE:
                job_id = self._random.choice(sorted(self.inside))
                self._session.cancel(job_id)
                self._end(job_id, "cancelled")
                window.jobs += 1
        gc.collect()
        window.resident_bytes = results.resident_bytes()
        return window

    def drain(self) -> StepStatistics:
        """Run the remaining jobs; return the statistics of an idle step."""
        while self.inside:
            self.window(1)
        return self._session.step().statistics

    def _submit(self) -> None:
        self._waiting -= 1
        self._number += 1
        job_id = f"job-{self._number}"
        task, request = self._request()
        self.inside.add(job_id)
        self._session.submit(Job(job_id, task, request, priority=self._random.randint(-1, 1)))

    def _end(self, job_id: str, how: str) -> None:
        self.inside.remove(job_id)
        self.outcomes[how] += 1

    def _request(self) -> tuple[Task, Request]:
        draw = self._random
        seed, text = draw.getrandbits(62), draw.choice(WORDS)
        kind = draw.randrange(11)
        if kind == 0:
            return Task.TEXT2IMAGE, Text2ImageRequest(text, seed, n=1, candidates=3)
        if kind == 1:
            return Task.TEXT2IMAGE, Text2ImageRequest(text, seed, guidance=0.5, partial_images=2)
        if kind == 2:
            kept = ImagePrompt(self._image, Borders(up=draw.randint(0, 3)))
            return Task.TEXT2IMAGE, Text2ImageRequest(text, seed, n=2, candidates=2, image_prompt=kept)
        if kind == 3:
            return Task.IMAGE2TEXT, Image2TextRequest(self._image, seed, n=2, candidates=4, rerank=True)
        if kind == 4:
            return Task.IMAGE2TEXT, Image2TextRequest(self._image, seed, max_tokens=draw.randint(4, 16))
        if kind == 5:
            return Task.TEXT2TEXT, Text2TextRequest(text, seed, n=2, candidates=3)
        if kind == 6:
            return Task.CLASSIFY, ClassifyRequest(self._image, WORDS, template="это {}")
        if kind == 7:
            return Task.RANK_TEXTS, RankTextsRequest(self._image, WORDS[:3])
        if kind == 8:
            codes = [Codes(tuple(draw.randrange(64) for _ in range(16))) for _ in range(3)]
            return Task.RANK_IMAGES, RankImagesRequest(text, (*codes, self._image))
        if kind == 9:
            return Task.IMAGE2TEXT, Image2TextRequest(b"not an image", seed)
        return Task.TEXT2IMAGE, Text2ImageRequest(text, seed)
