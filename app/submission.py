"""Turns an HTTP request into a job in the queue. Headers and model are read once."""

import hashlib
import secrets
from dataclasses import dataclass

import structlog
from starlette.requests import Request
from starlette.responses import Response

from app.auth import Principal, principal_of
from app.errors import FieldError, json_response
from app.field_errors import OWN_NAMES, FieldNames
from app.follow import EventSubscription, Submitted
from app.headers import announced_bytes, idempotency_key, sdk_retry_count
from app.proxies import prefix_of
from app.replies import job_reply
from app.services import Services, services_of
from app.tasks.base import TaskInput
from app.uploads import Upload
from jobs.contract.job import Job
from jobs.contract.job_ids import new_job_id
from jobs.contract.worker_info import ModelInfo

MAX_RANDOM_SEED = 2**53
"""JavaScript represents seeds below it exactly, so that a browser can send one back."""


@dataclass(frozen=True)
class Submission:
    """Everything about a job but its task and body."""

    services: Services
    principal: Principal
    model: ModelInfo
    idempotency_key: str | None
    grace_s: float
    """Seconds that the job continues without a waiting client."""
    synchronous: bool
    """The client waits for the job on this connection."""
    deadline_s: float | None
    priority: int
    names: FieldNames
    trace: str | None
    request_id: str

    async def submit(self, item: TaskInput, subscription: EventSubscription | None = None) -> Submitted:
        """Check the body against the model, decode its images, and put the job into the queue.

        Raises ApiError, QueueError. A job that is not created is not charged.
        """
        services, quota = self.services, self.principal.quota
        uploads = self._checked(item)
        seed = self._seed(item.seed)
        cost = item.route.rows(item.body)
        await services.quotas.charge(quota, "candidates", cost)
        created = False
        try:
            images = await services.images.check(uploads)
            job = self._job(item, images, seed)
            if subscription:
                subscription.subscribe(job.id)
            accepted = await services.client.submit(job)
            created = accepted.created
            structlog.contextvars.bind_contextvars(job=accepted.id)
            if created:
                services.metrics.count_job(
                    job.task.value, job.tenant, sequences=job.num_sequences, images=images
                )
        finally:
            if not created:
                await services.quotas.refund(quota, "candidates", cost)
        settings = services.settings
        return Submitted(
            id=accepted.id,
            created=created,
            grace_s=self.grace_s,
            deadline_s=self.deadline_s or settings.request_timeout_s,
            seed=seed,
            names=self.names,
        )

    def _checked(self, item: TaskInput) -> list[Upload]:
        try:
            item.route.check(item.body, self.model)
        except FieldError as error:
            raise error.named(self.names.of) from None
        return [
            Upload(upload.source, self.names.of(upload.param), upload.needs_alpha)
            for upload in item.route.uploads(item.body)
        ]

    def _seed(self, given: int | None) -> int:
        """Return the given seed; else one that follows from the idempotency key; else a random one.

        A retry with the same key must be the same request, so it must not get another seed.
        """
        if given is not None:
            return given
        if self.idempotency_key is None:
            return secrets.randbelow(MAX_RANDOM_SEED)
        digest = hashlib.sha256(f"{self.principal.tenant}\0{self.idempotency_key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % MAX_RANDOM_SEED

    def _job(self, item: TaskInput, images: list[bytes], seed: int) -> Job:
        return Job(
            id=new_job_id(),
            task=item.route.task,
            request=item.route.build(item.body, images, seed, self.model),
            tenant=self.principal.tenant,
            priority=self.priority,
            deadline_s=self.deadline_s,
            idempotency_key=self.idempotency_key,
            synchronous=self.synchronous,
            num_sequences=item.route.rows(item.body),
            model_revision=self.model.identity,
            digest=item.digest if self.idempotency_key else None,
            trace=self.trace,
            request_id=self.request_id,
        )


async def open_submission(
    request: Request,
    *,
    synchronous: bool = True,
    deadline_s: float | None = None,
    names: FieldNames = OWN_NAMES,
) -> Submission:
    """Read the headers, and refuse before the body is read: no model is known, or the queue is full."""
    services, principal = services_of(request), principal_of(request)
    model = await services.models.current()
    key = idempotency_key(request)
    # A retry of the SDK may find a job that is already in the queue; `submit` decides that.
    if key or not sdk_retry_count(request):
        await services.client.check_capacity(principal.tenant, announced_bytes(request), key=key)
    return Submission(
        services=services,
        principal=principal,
        model=model,
        idempotency_key=key,
        grace_s=services.settings.disconnect_grace_s if key else 0.0,
        synchronous=synchronous,
        deadline_s=deadline_s,
        priority=0,
        names=names,
        trace=request.scope["traceparent"],
        request_id=request.scope["request_id"],
    )


async def accepted(request: Request, submitted: Submitted) -> Response:
    """Return 202 with the job's URL and state."""
    status = await services_of(request).client.status(submitted.id)
    location = f"{prefix_of(request)}/v1/jobs/{submitted.id}"
    headers = {"Location": location, "Preference-Applied": "respond-async"}
    return json_response(job_reply(status, None), status=202, headers=headers)
