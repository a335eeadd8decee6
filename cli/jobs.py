"""`rudolph jobs` and `rudolph dead`: what a person who runs the server sees of the queue, and may do."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli import options
from cli.console import CliError, output
from jobs.job import JobState
from jobs.status import JobStatus

if TYPE_CHECKING:
    from jobs.client import JobClient

app = typer.Typer(help="Look at the queue, and set right what went wrong.", no_args_is_help=True)

Answer = TypeVar("Answer")

Queue = Annotated[str, typer.Option("--queue", envvar="RUDOLPH_QUEUE_NAME", help="Name of the queue.")]
DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="RUDOLPH_DATA_DIR",
        help="Data folder of a `rudolph serve` that runs its own Redis.",
    ),
]
JobId = Annotated[str, typer.Argument(help="Id of a job.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Jobs to show at most.")]
_DATA_DIR = Path("var")


@app.command("list")
def list_jobs(
    state: Annotated[JobState, typer.Argument(help="State of the jobs to show.")] = JobState.QUEUED,
    limit: Limit = 20,
    redis_url: options.RedisUrl = None,
    data_dir: DataDir = _DATA_DIR,
    queue: Queue = "rudolph",
) -> None:
    """Jobs in a state: queued ones in the order they will run, ended ones latest first."""
    from rich.table import Column, Table

    found = _ask(redis_url, data_dir, queue, lambda client: client.list_jobs(state, limit))
    table = Table(Column("id", no_wrap=True), "task", "tenant", "tries", "created (UTC)", box=None)
    for job in found:
        created = _time(job.timings.created_s)
        table.add_row(job.id, job.task.value, job.tenant, str(job.attempt), created)
    output.print(table)


@app.command()
def show(
    job_id: JobId,
    redis_url: options.RedisUrl = None,
    data_dir: DataDir = _DATA_DIR,
    queue: Queue = "rudolph",
) -> None:
    """Everything that the queue knows about one job, short of its pictures."""
    job = _ask(redis_url, data_dir, queue, lambda client: client.status(job_id))
    for name, value in _facts(job):
        if value is not None:
            output.print(f"{name:<10} {value}", markup=False)


@app.command()
def stats(
    redis_url: options.RedisUrl = None, data_dir: DataDir = _DATA_DIR, queue: Queue = "rudolph"
) -> None:
    """How much waits, runs and has ended."""
    now = _ask(redis_url, data_dir, queue, lambda client: client.stats())
    output.print(f"waiting {now.waiting}   running {now.running}   dead {now.dead}")
    output.print(f"workers {now.workers_live}   service time {now.mean_service_s:.2f} s")
    output.print(f"input {now.input_bytes / 2**20:.1f} MiB")
    for state, count in sorted(now.totals.items()):
        output.print(f"{state:<10} {count} in all")


@app.command()
def cancel(
    job_id: JobId,
    redis_url: options.RedisUrl = None,
    data_dir: DataDir = _DATA_DIR,
    queue: Queue = "rudolph",
) -> None:
    """Cancel a job: at once if it is queued, at its next step if it runs."""
    state = _ask(redis_url, data_dir, queue, lambda client: client.cancel(job_id))
    output.print("asked to stop" if state is JobState.RUNNING else state.value)


@app.command("accept-data-loss")
def accept_data_loss(
    confirmed: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    redis_url: options.RedisUrl = None,
    data_dir: DataDir = _DATA_DIR,
    queue: Queue = "rudolph",
) -> None:
    """Begin anew on a Redis that has lost the queue's data; running servers then go on with it."""
    question = "Jobs and results that this queue once held are forgotten for good. Go on?"
    if not confirmed and not typer.confirm(question):
        raise typer.Abort
    _ask(redis_url, data_dir, queue, lambda client: client.ping(), accept_loss=True)
    output.print("the queue serves again")


def dead(
    limit: Limit = 20,
    redis_url: options.RedisUrl = None,
    data_dir: DataDir = _DATA_DIR,
    queue: Queue = "rudolph",
) -> None:
    """Jobs that were given up because they brought two workers down: latest first, each with its reason."""
    from rich.table import Column, Table

    table = Table(Column("id", no_wrap=True), "tenant", "tries", "since (UTC)", "reason", box=None)
    for letter in _ask(redis_url, data_dir, queue, lambda client: client.dead(limit)):
        reason = f"{letter.reason}: {letter.message}" if letter.message else letter.reason
        table.add_row(letter.id, letter.tenant, str(letter.attempts), _time(letter.dead_since_s), reason)
    output.print(table)


@app.command()
def retry(
    job_id: JobId,
    redis_url: options.RedisUrl = None,
    data_dir: DataDir = _DATA_DIR,
    queue: Queue = "rudolph",
) -> None:
    """Queue a dead letter again, alone and with a clean record."""
    state = _ask(redis_url, data_dir, queue, lambda client: client.retry(job_id))
    if state is not JobState.QUEUED:
        raise CliError(f"job {job_id} is {state.value}, not dead")
    output.print("queued again")


@app.command()
def purge(
    older_than_s: Annotated[
        float, typer.Option("--older-than-s", min=0.0, help="Only those older than this, in seconds.")
    ] = 0.0,
    redis_url: options.RedisUrl = None,
    data_dir: DataDir = _DATA_DIR,
    queue: Queue = "rudolph",
) -> None:
    """Remove dead letters for good."""
    purged = _ask(redis_url, data_dir, queue, lambda client: client.purge(older_than_s=older_than_s))
    output.print(f"{purged} removed")


def _ask(
    redis_url: str | None,
    data_dir: Path,
    queue: str,
    question: "Callable[[JobClient], Awaitable[Answer]]",
    *,
    accept_loss: bool = False,
) -> Answer:
    from jobs.client import JobClient
    from jobs.embedded import running_url
    from jobs.errors import QueueError

    url = redis_url or running_url(data_dir / "redis")
    if url is None:
        raise CliError(f"no server runs on {data_dir}; name its Redis with --redis-url or RUDOLPH_REDIS_URL")

    async def ask() -> Answer:
        client = await JobClient.connect(
            url, queue=queue, initialise=accept_loss, accept_data_loss=accept_loss
        )
        try:
            return await question(client)
        finally:
            await client.close()

    try:
        return asyncio.run(ask())
    except (QueueError, ValueError) as error:
        raise CliError(str(error)) from error


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
        ("created", _time(job.timings.created_s)),
        ("started", _time(job.timings.started_s)),
        ("finished", _time(job.timings.finished_s)),
        ("worker", job.worker),
        ("model", job.model),
        ("progress", progress),
        ("failure", failure),
        ("cancelling", "asked to stop" if job.cancel_requested else None),
    ]


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%m-%d %H:%M:%S")
