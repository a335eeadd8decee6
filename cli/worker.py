"""`rudolph worker`: workers without an API, for a queue on another process or machine."""

from typing import Annotated

import typer

from cli import options
from cli.console import CliError
from cli.models import choose_served_model
from cli.option_groups import with_option_groups
from cli.shared_options import Serving


@with_option_groups
def worker(
    serving: Serving,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            envvar="RUDOLPH_WORKERS",
            help="Number of workers. Default: one per GPU, or one.",
        ),
    ] = None,
    redis_url: options.RedisUrl = None,
) -> None:
    """Run one worker per GPU until SIGTERM. A worker that fails is restarted."""
    if redis_url is None:
        raise CliError("Name the Redis of the queue with --redis-url or RUDOLPH_REDIS_URL.", exit_code=78)
    import signal

    from cli.fleet import start_workers
    from cli.settings import forget_keys, read_settings
    from telemetry.logging import configure_logging
    from workers.settings import WorkerSettings

    forget_keys()
    settings = read_settings(WorkerSettings)
    configure_logging(json=settings.log_format == "json", level=settings.log_level)
    supervisor = start_workers(serving, choose_served_model(serving.model), workers, redis_url=redis_url)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: supervisor.request_stop())
    # Short waits, because a signal handler runs only between two of them.
    while not supervisor.wait(timeout_s=0.5):
        pass
    if supervisor.misconfigured:
        raise CliError("A worker could not start. Its log has the reason.", exit_code=78)
