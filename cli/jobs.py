"""`rudolph jobs` and `rudolph dead`: inspect the queue."""

from typing import Annotated

import typer

from cli import job_actions, options
from cli.console import output, print_json
from cli.option_groups import with_option_groups
from cli.queue_access import Chosen, Confirmed, Limit, QueueAccess, clock, confirm
from jobs.contract.job import JobState
from jobs.contract.status import JobStatus

app = typer.Typer(help="Inspect and repair the job queue.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="Job id.")]


@app.command("list")
@with_option_groups
def list_jobs(
    chosen: Chosen,
    access: QueueAccess,
    state: Annotated[JobState, typer.Argument(help="State of the jobs to show.")] = JobState.QUEUED,
    limit: Limit = 20,
    as_json: options.AsJson = False,
) -> None:
    """List the jobs in a state: queued jobs in the order of execution, finished jobs newest first."""
    from rich.table import Column, Table

    found = access.query(lambda client: client.list_jobs(state, chosen.filter, limit=limit))
    if as_json:
        print_json(found)
        return
    table = Table(Column("id", no_wrap=True), "task", "tenant", "tries", "created (UTC)", "worker", box=None)
    for job in found:
        created = clock(job.timings.created_s)
        table.add_row(job.id, job.task.value, job.tenant, str(job.attempt), created, job.worker or "")
    output.print(table)


@app.command()
@with_option_groups
def show(access: QueueAccess, job_id: JobId, as_json: options.AsJson = False) -> None:
    """Show the details of one job, without its images."""
    job = access.query(lambda client: client.status(job_id))
    if as_json:
        print_json(job)
        return
    for name, value in _facts(job):
        if value is not None:
            output.print(f"{name:<10} {value}")


@app.command()
@with_option_groups
def stats(access: QueueAccess, as_json: options.AsJson = False) -> None:
    """Count the waiting, running and finished jobs."""
    now = access.query(lambda client: client.stats())
    if as_json:
        print_json(now)
        return
    output.print(f"waiting {now.waiting}   running {now.running}   parked {now.parked}   dead {now.dead}")
    output.print(f"workers {now.workers_live}   service time {now.mean_service_s:.2f} s")
    output.print(f"input {now.input_bytes / 2**20:.1f} MiB")
    if now.pause is not None:
        output.print(f"paused since {clock(now.pause.since_s)} UTC: {now.pause.reason}")
    for state, count in sorted(now.totals.items()):
        output.print(f"{state:<10} {count} in all")


@app.command("accept-data-loss")
@with_option_groups
def accept_data_loss(access: QueueAccess, confirmed: Confirmed = False) -> None:
    """Start an empty queue after Redis lost its data. Running servers continue with it."""
    question = "All jobs and results that this queue held are lost for good. Continue?"
    confirm(question, confirmed=confirmed)
    access.query(lambda client: client.ping(), accept_loss=True)
    output.print("The queue accepts jobs.")


@with_option_groups
def dead(access: QueueAccess, limit: Limit = 20, as_json: options.AsJson = False) -> None:
    """List the dead letters, newest first: jobs that ran alone and crashed their worker twice."""
    from rich.table import Column, Table

    letters = access.query(lambda client: client.dead(limit))
    if as_json:
        print_json(letters)
        return
    table = Table(Column("id", no_wrap=True), "tenant", "tries", "since (UTC)", "reason", box=None)
    for letter in letters:
        reason = f"{letter.reason}: {letter.message}" if letter.message else letter.reason
        table.add_row(letter.id, letter.tenant, str(letter.attempts), clock(letter.dead_since_s), reason)
    output.print(table)


app.command()(job_actions.cancel)
app.command()(job_actions.retry)
app.command()(job_actions.purge)


def _facts(job: JobStatus) -> list[tuple[str, object]]:
    failure = f"{job.failure.code}: {job.failure.message}" if job.failure else None
    progress = f"{job.progress.phase} {job.progress.done}/{job.progress.total}" if job.progress else None
    return [
        ("id", job.id),
        ("task", job.task.value),
        ("state", job.state.value),
        ("position", job.position),
        ("tenant", job.tenant),
        ("priority", job.priority),
        ("attempt", job.attempt),
        ("created", clock(job.timings.created_s)),
        ("started", clock(job.timings.started_s)),
        ("finished", clock(job.timings.finished_s)),
        ("worker", job.worker),
        ("model", job.model),
        ("progress", progress),
        ("failure", failure),
        ("cancelling", "yes" if job.cancel_requested else None),
    ]
