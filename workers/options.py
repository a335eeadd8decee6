"""How a worker keeps the promises of the queue. Times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerOptions:
    """The values of workers.settings that the worker's parts need, apart from where they came from."""

    renew_every_s: float = 0.5
    """How often leases are renewed: many times within a lease, since a renewal also tells which jobs were
    cancelled, and a client that has left must free its slots within a second."""
    emit_grace_s: float = 12.0
    """Without a renewal for this long nothing more is said; less than a lease."""
    drain_s: float = 30.0
    """How long a worker that was told to stop may finish what runs."""
    watchdog_s: float = 60.0
    """An engine step that takes longer is hung."""
