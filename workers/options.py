"""Timing of leases, drain and watchdog, in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerOptions:
    """The values of workers.settings that the parts of a worker need."""

    renew_every_s: float = 0.5
    """Time between renewals. A renewal also returns the cancelled jobs, so it is far shorter than a lease: a
    client that disconnects must free its slots within a second."""
    emit_grace_s: float = 12.0
    """Without a successful renewal for this long, sending stops. Less than a lease."""
    drain_s: float = 30.0
    """Time to finish running jobs after a request to stop."""
    watchdog_s: float = 60.0
    """An engine step that takes longer counts as hung."""
