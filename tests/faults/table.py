"""The fault table: every row with its short size, for `make test-all`, and its full one, for `make chaos`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults import (
    api_faults,
    failover_faults,
    http_faults,
    model_faults,
    release_faults,
    server_faults,
    topology_faults,
    worker_faults,
)
from tests.faults.hosts import why_no_hosts
from tests.faults.report import OnProgress, Report, Scale

Fault = Callable[[Scale, OnProgress], Awaitable[Report]]


@dataclass(frozen=True)
class Row:
    fault: Fault
    short: Scale
    full: Scale
    on_every_server: bool = False
    """In `make test-all` on each program that is found: what it survives is its own doing."""
    nightly: bool = False
    """The short form is part of `make test-all` only."""
    why_not: Callable[[], str | None] = lambda: None
    """Returns why the row cannot run on this machine; None if it can."""

    @property
    def name(self) -> str:
        return self.fault.__name__.replace("_", " ")

    @property
    def description(self) -> str:
        return (self.fault.__doc__ or "").strip()


def _on_hosts(fault: Fault, faults: int, *, on_every_server: bool = False, nightly: bool = False) -> Row:
    """A row of three hosts: one fault in its short form.

    The lease is longer than the time in which a result that a client has seen is restored, as by default.
    """
    short, full = Scale(jobs=0, faults=1, lease_s=5.0), Scale(jobs=0, faults=faults, lease_s=5.0)
    return Row(fault, short, full, on_every_server, nightly, why_not=why_no_hosts)


ROWS = (
    Row(worker_faults.killed_workers, Scale(jobs=500, faults=0), Scale(jobs=10_000, faults=0)),
    Row(
        worker_faults.frozen_workers,
        Scale(jobs=60, faults=10, lease_s=0.4),
        Scale(jobs=60, faults=200, lease_s=0.5),
    ),
    Row(worker_faults.poison_jobs, Scale(jobs=200, faults=0), Scale(jobs=5_000, faults=0)),
    Row(worker_faults.hung_steps, Scale(jobs=20, faults=1), Scale(jobs=200, faults=20)),
    Row(worker_faults.rolling_restart, Scale(jobs=60, faults=4), Scale(jobs=60, faults=60)),
    Row(worker_faults.wrong_clocks, Scale(jobs=150, faults=0), Scale(jobs=2_000, faults=0)),
    Row(
        server_faults.killed_server,
        Scale(jobs=150, faults=3),
        Scale(jobs=5_000, faults=50),
        on_every_server=True,
    ),
    Row(server_faults.emptied_server, Scale(jobs=100, faults=1), Scale(jobs=1_000, faults=1)),
    Row(
        server_faults.full_server,
        Scale(jobs=100, faults=1),
        Scale(jobs=2_000, faults=1),
        on_every_server=True,
    ),
    Row(server_faults.bad_network, Scale(jobs=150, faults=1), Scale(jobs=3_000, faults=1)),
    Row(api_faults.killed_api, Scale(jobs=0, faults=1), Scale(jobs=0, faults=20)),
    Row(topology_faults.failover, Scale(jobs=200, faults=1), Scale(jobs=3_000, faults=5)),
    Row(topology_faults.cut_link, Scale(jobs=150, faults=1), Scale(jobs=3_000, faults=5)),
    _on_hosts(failover_faults.planned_failover, 20, on_every_server=True),
    _on_hosts(failover_faults.planned_failover_with_one_replica, 20, nightly=True),
    _on_hosts(failover_faults.switchover_with_paused_writes, 5, nightly=True),
    _on_hosts(failover_faults.failover_during_commits, 10, nightly=True),
    _on_hosts(failover_faults.killed_primary_with_one_replica, 3, on_every_server=True, nightly=True),
    _on_hosts(failover_faults.lost_host, 3),
    Row(
        release_faults.rolling_upgrade,
        Scale(jobs=0, faults=2, lease_s=5.0),
        Scale(jobs=0, faults=10, lease_s=5.0),
        nightly=True,
        why_not=release_faults.why_no_release,
    ),
    Row(topology_faults.over_a_cluster, Scale(jobs=100, faults=0), Scale(jobs=2_000, faults=0)),
    Row(http_faults.flood, Scale(jobs=0, faults=5, slack=5.0), Scale(jobs=0, faults=60)),
    Row(http_faults.slow_clients, Scale(jobs=0, faults=30, slack=5.0), Scale(jobs=0, faults=1_000)),
    Row(model_faults.scripts_against_the_model, Scale(jobs=20, faults=0), Scale(jobs=2_000, faults=0)),
)
