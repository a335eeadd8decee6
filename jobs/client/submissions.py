"""Makes the script call that stores a job. Checks the fields of a job that the queue itself depends on."""

import re

from jobs.contract import codec
from jobs.contract.job import Job
from jobs.contract.limits import QueueLimits
from jobs.redis import keys, scripts
from jobs.redis.retry import Confirmation
from jobs.redis.scripts import Call

_MAX_PRIORITY = 10
_JOB_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def submit_call(
    job: Job, body: bytes, limits: QueueLimits, *, accepted_s_ago: float | None = None
) -> Call[list[bytes]]:
    """Return the call that stores `job`. Raises ValueError for a wrong id or priority.

    `accepted_s_ago`: the job was accepted that many seconds ago and is stored again. It is not refused for
    lack of room, and its deadline still counts from its acceptance.
    """
    if not _JOB_ID.fullmatch(job.id) or not -_MAX_PRIORITY <= job.priority <= _MAX_PRIORITY:
        raise ValueError(f"The job id {job.id!r} or the priority {job.priority} is out of range.")
    deadline_s = job.deadline_s
    if deadline_s is not None:
        deadline_s = max(0.0, deadline_s - (accepted_s_ago or 0.0))
    return scripts.submit(
        job_id=job.id,
        idempotency_suffix=idempotency_suffix(job.tenant, job.idempotency_key),
        digest=job.digest or codec.request_digest(job.request),
        body=body,
        tenant=job.tenant,
        task=job.task.value,
        priority=job.priority,
        num_sequences=job.num_sequences,
        deadline_s=deadline_s,
        ttl_s=limits.synchronous_ttl_s if job.synchronous else limits.job_ttl_s,
        synchronous=job.synchronous,
        model_revision=job.model_revision or "",
        max_depth=limits.max_depth,
        max_bytes=limits.max_bytes,
        tenant_max_jobs=limits.tenant_max_jobs,
        tenant_max_bytes=limits.tenant_max_bytes,
        again=accepted_s_ago is not None,
    )


def idempotency_suffix(tenant: str, key: str | None) -> str:
    return keys.idempotency_suffix(tenant, key) if key else ""


def confirmation_of(limits: QueueLimits) -> Confirmation:
    return Confirmation(limits.wait_replicas, limits.wait_timeout_ms)
