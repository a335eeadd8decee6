"""`rudolph jobs cancel|retry|purge`: change one job, or all that pass a filter."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.console import CliError, output, print_json
from cli.option_groups import with_option_groups
from cli.queue_access import Chosen, Confirmed, QueueAccess, confirm
from jobs.contract.job import JobState

if TYPE_CHECKING:
    from jobs.client.client import JobClient
    from jobs.client.replies import JobFilter

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of jobs. Without them, name a filter.")]
All = Annotated[bool, typer.Option("--all", help="Every job, without a filter.")]
States = Annotated[
    list[JobState] | None,
    typer.Option("--state", help="Only jobs in this state: queued or running. Default: both."),
]
_GONE = "gone"
_LIVE = (JobState.QUEUED, JobState.RUNNING)


@with_option_groups
def cancel(
    chosen: Chosen,
    access: QueueAccess,
    ids: Ids = None,
    states: States = None,
    every: All = False,
    confirmed: Confirmed = False,
    as_json: options.AsJson = False,
) -> None:
    """Cancel jobs by id or by filter. A queued job ends at once, a running job at its next step."""
    wrong = [state.value for state in states or () if state not in _LIVE]
    if wrong:
        raise CliError(f"--state must be queued or running; got {wrong[0]}.", exit_code=2)
    if ids and states:
        raise CliError("Name ids or --state, not both.", exit_code=2)
    found = _ids(ids, chosen, states or _LIVE, access, every=every or bool(states))
    if not ids and found:
        confirm(f"{len(found)} jobs will be cancelled. Continue?", confirmed=confirmed)
    done = access.query(lambda client: _each(client.cancel, found))
    _print(
        {job_id: "cancelling" if state == JobState.RUNNING else state for job_id, state in done.items()},
        as_json=as_json,
    )
    _refuse_missing(ids, done)


@with_option_groups
def retry(
    chosen: Chosen,
    access: QueueAccess,
    ids: Ids = None,
    every: All = False,
    confirmed: Confirmed = False,
    as_json: options.AsJson = False,
) -> None:
    """Queue dead letters again, by id or by filter. Each runs alone, and its crashes no longer count."""
    found = _ids(ids, chosen, (JobState.DEAD,), access, every=every)
    if not ids and found:
        confirm(f"{len(found)} dead letters will run again. Continue?", confirmed=confirmed)
    done = access.query(lambda client: _each(client.retry, found))
    _print(done, as_json=as_json)
    _refuse_missing(ids, done)
    for job_id, state in done.items():
        if ids and state != JobState.QUEUED:
            raise CliError(f"Job {job_id} is {state}, not dead. Only dead letters can be queued again.")


@with_option_groups
def purge(
    access: QueueAccess,
    older_than_s: Annotated[
        float, typer.Option("--older-than-s", min=0.0, help="Minimum age in seconds.")
    ] = 0.0,
    confirmed: Confirmed = False,
) -> None:
    """Delete dead letters for good."""
    confirm("Dead letters, their inputs and their reasons will be deleted for good.", confirmed=confirmed)
    purged = access.query(lambda client: client.purge(older_than_s=older_than_s))
    output.print(f"{purged} deleted")


def _ids(
    ids: list[str] | None,
    chosen: Chosen,
    states: Sequence[JobState],
    access: QueueAccess,
    *,
    every: bool,
) -> list[str]:
    """Return the ids that are named, or those of the jobs that pass. Raises CliError for neither and both."""
    wanted = chosen.filter
    if ids:
        if every or not wanted.is_open:
            raise CliError("Name ids or a filter, not both.", exit_code=2)
        return ids
    if wanted.is_open and not every:
        raise CliError(
            "Name the ids of jobs, a filter (--task, --tenant, --older-than-s) or --all.", exit_code=2
        )
    return access.query(lambda client: _find(client, states, wanted))


async def _find(client: "JobClient", states: Sequence[JobState], wanted: "JobFilter") -> list[str]:
    found = [await client.list_jobs(state, wanted, limit=None) for state in states]
    return [job.id for jobs in found for job in jobs]


async def _each(change: Callable[[str], Awaitable[JobState]], ids: list[str]) -> dict[str, str]:
    """Return the state of each job afterwards; `gone` for one that does not exist."""
    from jobs.contract.errors import JobNotFound

    states: dict[str, str] = {}
    for job_id in ids:
        try:
            states[job_id] = (await change(job_id)).value
        except JobNotFound:
            states[job_id] = _GONE
    return states


def _refuse_missing(ids: list[str] | None, done: dict[str, str]) -> None:
    """Raise CliError for a named job that does not exist. One that a filter found may be gone by now."""
    for job_id in ids or ():
        if done[job_id] == _GONE:
            raise CliError(f"There is no job {job_id}.")


def _print(states: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(states)
        return
    if not states:
        output.print("no such job")
    for job_id, state in states.items():
        output.print(f"{job_id} {state}")
