"""`rudolph worker`: workers alone, for a queue that other processes fill."""

from typing import Annotated

import typer

from cli import options
from cli.console import CliError
from cli.models import choose_model


def worker(
    model: options.Model = None,
    preset: options.Preset = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, envvar="RUDOLPH_WORKERS", help="Default: one per GPU, or one."),
    ] = None,
    redis_url: options.RedisUrl = None,
) -> None:
    """Run one worker per GPU, restarted when it fails, until SIGTERM."""
    if redis_url is None:
        raise CliError("name the queue's Redis with --redis-url or RUDOLPH_REDIS_URL")
    import signal

    from cli.fleet import start_workers

    supervisor = start_workers(
        model=choose_model(model),
        preset=preset,
        device=device,
        dtype=dtype,
        num_workers=workers,
        redis_url=redis_url,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: supervisor.request_stop())
    # In short turns: a signal handler runs only between two of them.
    while not supervisor.wait(timeout_s=0.5):
        pass
    if supervisor.misconfigured:
        raise CliError("a worker could not start; its log says why", exit_code=78)
