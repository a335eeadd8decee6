"""Finds the job of a path. One of another tenant does not exist for the client."""

import re
from contextlib import suppress
from typing import Annotated

import structlog
from fastapi import Path, Request

from app.auth import principal_of
from app.errors import ApiError
from app.services import services_of
from jobs.contract.errors import JobNotFound
from jobs.contract.status import JobStatus

JOB_ID_PATTERN = "^[A-Za-z0-9_-]{1,64}$"


async def own_job(
    request: Request,
    id: Annotated[
        str,
        Path(description="The `id` of the job's reply.", json_schema_extra={"pattern": JOB_ID_PATTERN}),
    ],
) -> JobStatus:
    """Return the status of the job in the path. Raises ApiError 404."""
    if re.fullmatch(JOB_ID_PATTERN, id):
        structlog.contextvars.bind_contextvars(job=id)
        with suppress(JobNotFound):
            status = await services_of(request).client.status(id)
            if status.tenant == principal_of(request).tenant:
                return status
    # The same message in all three cases, so that it discloses nothing about other tenants.
    message = "There is no such job. Results are kept for a limited time after a job has ended."
    raise ApiError(404, "job_not_found", message, param="id")
