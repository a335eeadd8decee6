"""Limits of a queue, as the API is configured."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class QueueLimits:
    """Limits of the queue, and the time that finished jobs are stored."""

    max_depth: int = 1000
    """Queued jobs. The last tenth is reserved for tenants with fewer queued jobs than that."""
    max_bytes: int = 1 << 30
    """Input bytes of all queued and running jobs."""
    tenant_max_jobs: int = 1000
    """Queued and running jobs of one tenant."""
    tenant_max_bytes: int = 1 << 30
    job_ttl_s: int = 3600
    """Seconds to keep the record and result of an asynchronous job."""
    synchronous_ttl_s: int = 300
    """The same for a synchronous job; long enough for the client's retries."""
    wait_replicas: int | Literal["all"] = 0
    """Replicas that must have a job before it counts as accepted; `all`: those that are connected, if any."""
    wait_timeout_ms: int = 1000
    lease_s: float = 15.0
    """Lease of the workers. The API requeues expired leases too, with a grace of one lease."""


DEFAULT_LIMITS = QueueLimits()
