"""`rudolph workers`: list the workers of a queue, drain some, pause and resume the queue."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.console import CliError, output, print_json
from cli.option_groups import with_option_groups
from cli.queue_access import QueueAccess

if TYPE_CHECKING:
    from jobs.client.client import JobClient
    from jobs.client.replies import LiveWorker

app = typer.Typer(help="List, drain and pause the workers of a queue.", no_args_is_help=True)

_POLL_S = 0.5


@app.command("list")
@with_option_groups
def list_workers(access: QueueAccess, as_json: options.AsJson = False) -> None:
    """List the live workers."""
    from rich.table import Column, Table

    found = access.query(lambda client: client.fleet())
    if as_json:
        print_json([_fields(worker) for worker in found])
        return
    columns = ("host", "pid", "release", "model", "device", "slots", "jobs", "state")
    table = Table(Column("id", no_wrap=True), *columns, box=None)
    for worker in found:
        table.add_row(*(str(value) for value in _fields(worker).values()))
    output.print(table)


@app.command()
@with_option_groups
def drain(
    access: QueueAccess,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of workers, as `list` shows them.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Drain all workers of this host.")] = None,
    wait_s: Annotated[
        float | None, typer.Option("--wait-s", min=0.0, help="Wait at most this long until they have left.")
    ] = None,
) -> None:
    """Let workers finish what they run for RUDOLPH_DRAIN_S, take nothing new, and end.

    Jobs that they do not finish go back to the queue. Their supervisor does not start them again.
    """
    if bool(ids) == bool(host):
        raise CliError("Name the ids of workers or --host.", exit_code=2)
    asked, left = access.query(lambda client: _drain(client, ids or [], host, wait_s))
    for worker in asked:
        output.print(f"{worker} {'drains' if worker in left else 'has left'}")
    if wait_s is not None and left:
        raise CliError(f"{len(left)} workers have not left within {wait_s:g} s.")


@app.command()
@with_option_groups
def pause(
    access: QueueAccess,
    reason: Annotated[
        str, typer.Option("--reason", help="Shown by /health/ready and `stats`.")
    ] = "maintenance",
) -> None:
    """Pause the queue: workers finish what they run and take nothing new. The API still accepts jobs."""
    is_new = access.query(lambda client: client.pause(reason))
    output.print("paused" if is_new else "The queue was already paused. The reason is replaced.")


@app.command()
@with_option_groups
def resume(access: QueueAccess) -> None:
    """End a pause."""
    was_paused = access.query(lambda client: client.resume())
    output.print("resumed" if was_paused else "The queue was not paused.")


async def _drain(
    client: "JobClient", ids: list[str], host: str | None, wait_s: float | None
) -> tuple[list[str], set[str]]:
    """Return the workers that were asked, and those of them that are still live. Raises CliError."""
    live = {worker.info.id: worker for worker in await client.fleet()}
    asked = ids or [name for name, worker in live.items() if worker.info.host == host]
    unknown = [name for name in asked if name not in live]
    if unknown or not asked:
        raise CliError(f"No live worker is named {unknown[0]}." if unknown else f"No worker is on {host}.")
    for name in asked:
        await client.drain_worker(name)
    left = set(asked)
    loop = asyncio.get_running_loop()
    until_s = loop.time() + (wait_s or 0.0)
    while left and loop.time() < until_s:
        await asyncio.sleep(_POLL_S)
        left &= {worker.info.id for worker in await client.fleet()}
    return asked, left


def _fields(worker: "LiveWorker") -> dict[str, object]:
    info = worker.info
    return {
        "id": info.id,
        "host": info.host,
        "pid": info.pid,
        "release": info.version or "unknown",
        "model": info.model.identity,
        "device": info.model.device,
        "slots": info.slots,
        "jobs": worker.jobs,
        "state": "drains" if worker.drains else "works",
    }
