"""A worker small enough for the HTTP tests: the real queue, and answers that follow from the request alone.

Some words in a prompt control it. "жди" holds the job until it is cancelled, "медленно" delays it. "сбой"
fails it, "неверно" refuses it, "большой" gives it large partial images.
"""

import io
import random
import threading
import time

from PIL import Image

from jobs.contract.events import PartialImage, PartialText, Progress
from jobs.contract.requests import (
    AnswerRequest,
    ClassifyRequest,
    Image2TextRequest,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    Task,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import (
    AnswerResult,
    ClassifyResult,
    ClassScore,
    GeneratedImage,
    GeneratedText,
    ImagesResult,
    JobFailure,
    Outcome,
    RankedItem,
    RankingResult,
    TextsResult,
    Usage,
)
from jobs.contract.worker_info import ModelInfo, WorkerInfo
from jobs.worker.consumer import JobConsumer
from jobs.worker.replies import ClaimedJob

MODEL = ModelInfo(
    name="tiny",
    revision="r1",
    generation=1,
    image_width=4,
    input_pixels=32,
    output_pixels=32,
    left_text_length=16,
    right_text_length=16,
    image_codebook_size=64,
    tasks=tuple(task for task in Task if task is not Task.ANSWER),
    device="cpu",
    dtype="float32",
    created_s=1_700_000_000.5,
)
ROWS = 4


def picture(red: int, kind: str = "png", side: int = 32) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (side, side), (red % 256, 40, 80)).save(sink, kind)
    return sink.getvalue()


def transparent(side: int = 32) -> bytes:
    sink = io.BytesIO()
    Image.new("RGBA", (side, side), (255, 255, 255, 0)).save(sink, "PNG")
    return sink.getvalue()


def answer(request: object) -> Outcome:
    """What a job comes to; a function of its request, as with the real model."""
    usage = Usage(input_tokens=8, output_tokens=16, input_image_tokens=3)
    match request:
        case Text2ImageRequest():
            scored = request.rerank or request.candidates > request.n
            images = tuple(
                GeneratedImage(
                    data=picture(request.seed + place, request.format),
                    seed=(request.seed + place) % 2**63,
                    score=place / 2 if scored else None,
                    ppl_text=2.0 + place if scored else None,
                    ppl_image=3.0 + place if scored else None,
                    codes=tuple(range(16)) if request.return_codes else None,
                )
                for place in range(request.n)
            )
            return ImagesResult(images, usage)
        case Image2TextRequest() | Text2TextRequest():
            captioning = isinstance(request, Image2TextRequest)
            texts = tuple(
                GeneratedText(
                    text=f"текст {place} {request.seed}",
                    continuation=None if captioning else f" {place} {request.seed}",
                    num_tokens=3,
                    finish_reason="length" if request.max_tokens == 3 else "stop",
                    count=request.candidates if place == 0 else 1,
                    ppl_text=1.5 + place,
                    score=0.5 if captioning and request.rerank else None,
                    tokens=(2, 7, 3) if captioning and request.return_tokens else None,
                )
                for place in range(request.n)
            )
            return TextsResult(texts, usage)
        case RankImagesRequest() | RankTextsRequest():
            count = len(request.images if isinstance(request, RankImagesRequest) else request.texts)
            items = tuple(
                RankedItem(place, float(count - place), 2.0, 3.0) for place in reversed(range(count))
            )
            return RankingResult(items, usage)
        case ClassifyRequest():
            scores = tuple(
                ClassScore(name, 1.0 / (place + 1), 2.0) for place, name in enumerate(request.classes)
            )
            return ClassifyResult(len(scores) - 1, scores, usage)
        case AnswerRequest():
            return AnswerResult("да", usage, num_tokens=2, finish_reason="length")
    raise AssertionError(request)


class EchoWorker:
    """Claims, publishes, renews and commits in one thread until closed."""

    def __init__(self, url: str, queue: str, *, worker_id: str = "w1", model: ModelInfo = MODEL) -> None:
        self.consumer = JobConsumer(url, queue=queue, worker_id=worker_id, lease_s=5.0)
        self.info = WorkerInfo(
            id=worker_id,
            host="test",
            pid=1,
            model=model,
            slots=8,
            draining=False,
            metrics=b"# TYPE rudolph_images_total counter\nrudolph_images_total 5.0\n",
        )
        self.cancelled: list[str] = []
        self.done: list[str] = []
        self.requests: list[Request] = []
        """What it has worked on, the newest last."""
        self._held: dict[str, ClaimedJob] = {}
        self._stop = threading.Event()
        self.consumer.heartbeat(self.info)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave; a second call does nothing."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        self.consumer.heartbeat(self.info, ttl_s=0.001)
        self.consumer.close()

    def _run(self) -> None:
        beat_at = 0.0
        while not self._stop.is_set():
            if time.monotonic() > beat_at:
                self.consumer.heartbeat(self.info)
                beat_at = time.monotonic() + 1
            for claimed in self.consumer.claim(8):
                self._work(claimed)
            self._renew()
            self.consumer.wait_for_work(0.05)

    def _renew(self) -> None:
        reply = self.consumer.renew({job_id: held.attempt for job_id, held in self._held.items()})
        for job_id in reply.cancelled | reply.lost:
            del self._held[job_id]
            self.cancelled.append(job_id)

    def _work(self, claimed: ClaimedJob) -> None:
        job, attempt = claimed.job, claimed.attempt
        self.requests.append(job.request)
        words = getattr(job.request, "prompt", "")
        if "жди" in words:
            self._held[job.id] = claimed
            return
        outcome: Outcome = answer(job.request)
        if "сбой" in words:
            outcome = JobFailure("internal_error", "the step failed")
        elif "неверно" in words:
            outcome = JobFailure("invalid_text", "the prompt has no known token", "prompt")
        else:
            self._tell(job.id, attempt, job.request)
        self.done.append(job.id)  # first: with the commit the client has its answer
        self.consumer.commit(job.id, attempt, outcome, compute_s=0.01, model=self.info.model.name)

    def _tell(self, job_id: str, attempt: int, request: object) -> None:
        for row in range(1, ROWS + 1):
            self.consumer.publish(job_id, attempt, Progress("draw", row, ROWS))
        side = 256 if "большой" in str(getattr(request, "prompt", "")) else 32
        for partial in range(getattr(request, "partial_images", 0)):
            data = random.Random(partial).randbytes(side * side * 3) if side > 32 else picture(partial)
            self.consumer.publish(job_id, attempt, PartialImage(0, partial, data))
        if isinstance(request, Image2TextRequest | Text2TextRequest):
            for place in range(request.n):
                self.consumer.publish(job_id, attempt, PartialText(place, f"текст {place} 1", f" {place} 1"))
        time.sleep(0.2 if getattr(request, "partial_images", 0) or "медленно" in str(request) else 0.01)
