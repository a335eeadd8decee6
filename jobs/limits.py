"""What a queue takes, as the API is configured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QueueLimits:
    """What the server accepts at most, and how long it keeps what is done."""

    max_depth: int = 1000
    """Jobs waiting. The last tenth is kept for tenants who have less than a tenth waiting."""
    max_bytes: int = 1 << 30
    """Input of all queued and running jobs."""
    tenant_max_jobs: int = 1000
    """Queued and running jobs of one tenant."""
    tenant_max_bytes: int = 1 << 30
    job_ttl_s: int = 3600
    """How long the record and result of an asynchronous job are kept."""
    synchronous_ttl_s: int = 300
    """The same for a job whose client waits on its connection; long enough for its retries."""
    wait_replicas: int = 0
    """Replicas that must have a job before it is accepted."""
    wait_timeout_ms: int = 1000
    lease_s: float = 15.0
    """Lease of the workers; the API, too, takes jobs back whose worker is gone."""


DEFAULT_LIMITS = QueueLimits()
