"""`rudolph serve`: starts Redis, workers and the API, and prints a curl command when they are ready."""

import contextlib
import gc
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.console import CliError, errors
from cli.models import choose_served_model
from cli.option_groups import with_option_groups
from cli.shared_options import Serving

if TYPE_CHECKING:
    import uvicorn

    from app.settings import Settings
    from workers.supervisor import Supervisor

READY_POLL_S = 0.1
RIGHTS_TIMEOUT_S = 4.0
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The server asks itself, which no proxy can do for it."""
OBJECTS_PER_COLLECTION = 20_000
"""New objects per garbage collection. With the default of 700, collections took a tenth of the time."""
EXAMPLE = '{"prompt": "кошка на синем фоне"}'
"""A prompt that the demo checkpoint draws well. Every checkpoint accepts it."""


@with_option_groups
def serve(
    serving: Serving,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: RUDOLPH_HOST, else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port; 0: a free one. Default: RUDOLPH_PORT, else 8000."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            envvar="RUDOLPH_WORKERS",
            help="Number of workers; 0: only the API. Default: one per GPU, or one.",
        ),
    ] = None,
    served_model_name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of the model on OpenAI's routes; may be repeated; * accepts any name. "
            "Default: RUDOLPH_SERVED_MODEL_NAME, else the checkpoint's own name."
        ),
    ] = None,
    redis_url: options.RedisUrl = None,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    redis_server: options.RedisServer = None,
) -> None:
    """Run the whole server: HTTP, queue and workers. Ctrl-C and SIGTERM drain it."""
    from telemetry.logging import configure_logging

    chosen = choose_served_model(serving.model) if workers != 0 else None
    settings = _settings(host, port, served_model_name)
    if chosen is not None:
        from cli.settings import read_settings
        from workers.settings import WorkerSettings

        read_settings(WorkerSettings)  # each worker reads it again; a wrong value must end the command here
    configure_logging(json=settings.log_format == "json", level=settings.log_level)
    stop = _StopSignal()
    with _listen(settings.host, settings.port) as listener, _redis(redis_url, data_dir, redis_server) as url:
        settings = settings.model_copy(update={"redis_url": url})
        _check_rights(settings)
        if redis_url is not None:
            _warn_of_redis(settings)
        supervisor = None
        if chosen is not None:
            from cli.fleet import start_workers

            log_format = settings.log_format
            supervisor = start_workers(serving, chosen, workers, redis_url=url, log_format=log_format)
        try:
            _run_api(settings, listener, supervisor, stop)
        finally:
            if supervisor is not None:
                supervisor.stop()
    if supervisor is not None and supervisor.misconfigured:
        raise CliError(f"No worker could start with {chosen}. The log above has the reason.", exit_code=78)


class _StopSignal:
    """SIGTERM and SIGINT as a flag, from before the API listens until everything has stopped."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True


def _settings(host: str | None, port: int | None, served_names: list[str] | None) -> "Settings":
    from app.keys import load_keys
    from app.settings import Settings
    from cli.settings import forget_keys, read_settings

    settings = read_settings(Settings)
    try:
        # The application reads them again; a wrong key must end the command before anything starts.
        load_keys(settings)
    except ValueError as error:
        raise CliError(str(error), exit_code=78) from error
    # Before anything starts: Redis and the workers, which read files of clients, must not inherit the keys.
    forget_keys()
    update: dict[str, object] = {}
    if host is not None:
        update["host"] = host
    if port is not None:
        update["port"] = port
    if served_names:
        update["served_model_name"] = tuple(served_names)
    if "log_format" not in settings.model_fields_set and sys.stderr.isatty():
        update["log_format"] = "console"
    return settings.model_copy(update=update)


@contextlib.contextmanager
def _listen(host: str, port: int) -> Generator[socket.socket]:
    """Yield a listening socket. It is opened first, so a used port is reported before anything starts."""
    host = host.removeprefix("[").removesuffix("]")  # as in a URL
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listener.bind((host, port))
            listener.listen(2048)
        except OSError as error:
            raise CliError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
            ) from error
        yield listener
    finally:
        listener.close()


@contextlib.contextmanager
def _redis(url: str | None, data_dir: Path, program: str | None) -> Generator[str]:
    """Yield the given URL, or that of an embedded Redis with its data in `data_dir`."""
    if url is not None:
        yield url
        return
    from jobs.contract.errors import DataLost, NoServerFits, QueueError
    from jobs.redis.embedded import EmbeddedRedis

    server = EmbeddedRedis(program=program)
    try:
        started = server.start(data_dir / "redis")
    except (DataLost, NoServerFits) as error:
        raise CliError(f"Cannot start Redis in {data_dir}. {error}", exit_code=78) from error
    except (QueueError, OSError, RuntimeError) as error:
        raise CliError(f"Cannot start Redis in {data_dir}. {error}") from error
    try:
        yield started
    finally:
        server.stop()


def _check_rights(settings: "Settings") -> None:
    """End the command if Redis refuses the user or a command of the queue. It may still be unreachable."""
    from jobs.contract.errors import NotPermitted, QueueError
    from jobs.redis.transport import SyncTransport

    assert settings.redis_url is not None
    transport = SyncTransport(settings.redis_url, settings.queue_name, timeout_s=RIGHTS_TIMEOUT_S)
    try:
        transport.check_rights(retry_for_s=0.0, replicas=settings.wait_replicas)
    except NotPermitted as error:
        raise CliError(f"Cannot use Redis. {error}", exit_code=78) from error
    except QueueError:
        return  # the API logs the cause, and connects when Redis can be used
    finally:
        transport.close()


def _warn_of_redis(settings: "Settings") -> None:
    """Log the settings of a given Redis that put accepted jobs at risk. It may still be unreachable."""
    from cli.redis_findings import server_findings
    from jobs.contract.errors import QueueError
    from telemetry.logging import get_logger

    assert settings.redis_url is not None
    logger = get_logger("cli.serve")
    try:
        faults = server_findings(settings.redis_url, settings.queue_name, settings.wait_replicas)
    except QueueError:
        return  # the API logs the cause
    for fault in faults:
        (logger.error if fault.breaks else logger.warning)("redis_setting", message=str(fault))


def _run_api(
    settings: "Settings", listener: socket.socket, supervisor: "Supervisor | None", stop: _StopSignal
) -> None:
    import uvicorn

    from app.connections import HEALTH_CONNECTIONS
    from app.main import create_app
    from app.server import raise_file_limit, server_config

    # Without a free file descriptor, not even a health check could be accepted.
    connections = max(raise_file_limit(settings.max_connections + HEALTH_CONNECTIONS) - HEALTH_CONNECTIONS, 1)
    settings = settings.model_copy(update={"max_connections": connections})
    server = uvicorn.Server(server_config(create_app(settings), settings))
    _freeze_startup_objects()
    address = _address(listener)
    watcher = threading.Thread(
        target=_announce, args=(server, address, supervisor, stop, settings), name="announce", daemon=True
    )
    watcher.start()
    # uvicorn handles the signals while it runs, and passes them to our handlers afterwards.
    server.run(sockets=[listener])


def _freeze_startup_objects() -> None:
    """Exclude the objects that exist now from garbage collection; they live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)


def _announce(
    server: "uvicorn.Server",
    address: str,
    supervisor: "Supervisor | None",
    stop: _StopSignal,
    settings: "Settings",
) -> None:
    """Print how to use the server when it is ready. End the server if no worker can start."""
    route = "live" if supervisor is None else "ready"
    while not _answers(f"{address}/health/{route}"):
        if stop.requested:
            server.should_exit = True
            return
        if supervisor is not None and supervisor.wait(timeout_s=0) and supervisor.misconfigured:
            server.should_exit = True
            return
        time.sleep(READY_POLL_S)
    has_keys = settings.api_keys is not None or settings.api_keys_file is not None
    key = ' -H "Authorization: Bearer $RUDOLPH_API_KEY"' if has_keys else ""
    errors.print(f"\nRuDOLPH is ready on {address}  (playground: {address}/, API: {address}/docs). Try:\n")
    line = (
        f"curl {address}/v1/text2image{key} -H 'Content-Type: application/json' -H 'Accept: image/png' "
        f"-d '{EXAMPLE}' -o picture.png"
    )
    errors.print(f"  {line}\n")


def _address(listener: socket.socket) -> str:
    host, port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _answers(url: str) -> bool:
    try:
        with _NO_PROXY.open(url, timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False
