"""The queue that `rudolph jobs`, `rudolph workers` and `rudolph dead` work on, and what they share."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli import options
from cli.console import CliError
from jobs.contract.requests import Task

if TYPE_CHECKING:
    from jobs.client.client import JobClient
    from jobs.client.replies import JobFilter

Reply = TypeVar("Reply")

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="RUDOLPH_DATA_DIR",
        help="Data folder of a `rudolph serve` with an embedded Redis.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Maximum number of jobs to show.")]
Confirmed = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@dataclass(frozen=True)
class QueueAccess:
    """A queue by its Redis, or by the data folder of a running server."""

    redis_url: options.RedisUrl = None
    data_dir: DataDir = Path("var")
    queue: options.Queue = "rudolph"

    def query(self, query: "Callable[[JobClient], Awaitable[Reply]]", *, accept_loss: bool = False) -> Reply:
        """Return what `query` returns for a connected client. Raises CliError."""
        from jobs.client.client import JobClient
        from jobs.contract.errors import QueueError
        from jobs.redis.embedded import running_url

        url = self.redis_url or running_url(self.data_dir / "redis")
        if url is None:
            raise CliError(
                f"No server runs on {self.data_dir}. Name its Redis with --redis-url or RUDOLPH_REDIS_URL."
            )

        async def run() -> Reply:
            client = await JobClient.connect(
                url, queue=self.queue, initialise=accept_loss, accept_data_loss=accept_loss
            )
            try:
                return await query(client)
            finally:
                await client.close()

        try:
            return asyncio.run(run())
        except (QueueError, ValueError) as error:
            raise CliError(str(error)) from error


@dataclass(frozen=True)
class Chosen:
    """Filters of jobs."""

    task: Annotated[Task | None, typer.Option("--task", help="Only jobs of this task.")] = None
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only jobs of this tenant.")] = None
    older_than_s: Annotated[
        float | None,
        typer.Option("--older-than-s", min=0.0, help="Only jobs accepted at least this many seconds ago."),
    ] = None

    @property
    def filter(self) -> "JobFilter":
        from jobs.client.replies import JobFilter

        return JobFilter(self.task, self.tenant, self.older_than_s)


def confirm(question: str, *, confirmed: bool) -> None:
    """Ask on the terminal. Raises Abort for a no, and CliError without a terminal."""
    if confirmed:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{question} Add --yes to confirm it without a terminal.", exit_code=2)
    if not typer.confirm(question, err=True):
        raise typer.Abort


def clock(seconds: float | None) -> str | None:
    """Return a time as text, in UTC; None if there is none."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
