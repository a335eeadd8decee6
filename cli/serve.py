"""`rudolph serve`: Redis, workers and the API in one command, and a curl line once they are ready."""

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
from cli.models import choose_model

if TYPE_CHECKING:
    import uvicorn

    from app.settings import Settings
    from workers.supervisor import Supervisor

READY_POLL_S = 0.1
OBJECTS_A_COLLECTION = 20_000
"""New ones after which the garbage collector runs. After 700, as by itself, it took a tenth of the time."""
EXAMPLE = '{"prompt": "кошка на синем фоне", "temperature": 0.5, "top_k": 64, "top_p": 0.9}'
"""A prompt and settings with which the demo checkpoint draws well; any checkpoint takes them."""


def serve(
    model: options.Model = None,
    preset: options.Preset = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: RUDOLPH_HOST, else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Default: RUDOLPH_PORT, else 8000; 0: a free one.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=0, envvar="RUDOLPH_WORKERS", help="Default: one per GPU, or one; 0: API only."
        ),
    ] = None,
    redis_url: options.RedisUrl = None,
    data_dir: Annotated[
        Path,
        typer.Option("--data-dir", envvar="RUDOLPH_DATA_DIR", help="Where its own Redis keeps the data."),
    ] = Path("var"),
) -> None:
    """Run the whole server: HTTP, queue and workers. Stops cleanly on Ctrl-C or SIGTERM."""
    from telemetry.logging import configure_logging

    chosen = choose_model(model) if workers != 0 else None
    settings = _settings(host, port)
    configure_logging(json=settings.log_format == "json", level=settings.log_level)
    stop = _StopSignal()
    with _listen(settings.host, settings.port) as listener, _redis(redis_url, data_dir) as url:
        settings = settings.model_copy(update={"redis_url": url})
        supervisor = None
        if chosen is not None:
            from cli.fleet import start_workers

            supervisor = start_workers(
                model=chosen,
                preset=preset,
                device=device,
                dtype=dtype,
                num_workers=workers,
                redis_url=url,
                log_format=settings.log_format,
            )
        try:
            _run_api(settings, listener, supervisor, stop)
        finally:
            if supervisor is not None:
                supervisor.stop()
    if supervisor is not None and supervisor.misconfigured:
        raise CliError(f"no worker could start with {chosen}; its log above says why", exit_code=78)


class _StopSignal:
    """SIGTERM and SIGINT as a flag, from before the API listens until everything is down."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True


def _settings(host: str | None, port: int | None) -> "Settings":
    from app.auth import load_keys
    from app.settings import Settings
    from cli.settings import MISCONFIGURED, read_settings

    settings = read_settings(Settings)
    try:
        # Read again by the application; a wrong one should be said before anything starts.
        load_keys(settings)
    except ValueError as error:
        raise CliError(str(error), exit_code=MISCONFIGURED) from error
    update: dict[str, object] = {}
    if host is not None:
        update["host"] = host
    if port is not None:
        update["port"] = port
    if "log_format" not in settings.model_fields_set and sys.stderr.isatty():
        update["log_format"] = "console"
    return settings.model_copy(update=update)


@contextlib.contextmanager
def _listen(host: str, port: int) -> Generator[socket.socket]:
    """A listening socket, taken before anything else starts, so that a taken port is the first thing said."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listener.bind((host, port))
            listener.listen(2048)
        except OSError as error:
            raise CliError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
        yield listener
    finally:
        listener.close()


@contextlib.contextmanager
def _redis(url: str | None, data_dir: Path) -> Generator[str]:
    """The URL given, or that of a Redis started here with its data in `data_dir`."""
    if url is not None:
        yield url
        return
    from jobs.embedded import EmbeddedRedis
    from jobs.errors import QueueError

    server = EmbeddedRedis()
    try:
        started = server.start(data_dir / "redis")
    except (QueueError, OSError, RuntimeError) as error:
        raise CliError(f"cannot start Redis in {data_dir}: {error}") from error
    try:
        yield started
    finally:
        server.stop()


def _run_api(
    settings: "Settings", listener: socket.socket, supervisor: "Supervisor | None", stop: _StopSignal
) -> None:
    import uvicorn

    from app.main import create_app
    from app.server import server_config

    server = uvicorn.Server(server_config(create_app(settings), settings))
    _spare_the_collector()
    address = _address(listener)
    watcher = threading.Thread(
        target=_announce, args=(server, address, supervisor, stop, settings), name="announce", daemon=True
    )
    watcher.start()
    # uvicorn takes the signals while it runs and hands them to our own handlers afterwards.
    server.run(sockets=[listener])


def _spare_the_collector() -> None:
    """What the start has made stays: the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_A_COLLECTION)


def _announce(
    server: "uvicorn.Server",
    address: str,
    supervisor: "Supervisor | None",
    stop: _StopSignal,
    settings: "Settings",
) -> None:
    """Print how to use the server once it is ready; end it when no worker can ever start."""
    route = "live" if supervisor is None else "ready"
    while not _answers(f"{address}/health/{route}"):
        if stop.requested:
            server.should_exit = True
            return
        if supervisor is not None and supervisor.wait(timeout_s=0) and supervisor.misconfigured:
            server.should_exit = True
            return
        time.sleep(READY_POLL_S)
    key = ' -H "Authorization: Bearer $RUDOLPH_API_KEY"' if _has_keys(settings) else ""
    errors.print(f"\nRuDOLPH is ready on {address}  (playground: {address}/, API: {address}/docs). Try:\n")
    line = (
        f"curl {address}/v1/text2image{key} -H 'Content-Type: application/json' -H 'Accept: image/png' "
        f"-d '{EXAMPLE}' -o picture.png"
    )
    errors.print(f"  {line}\n", markup=False)


def _has_keys(settings: "Settings") -> bool:
    return bool(settings.api_keys_file or (settings.api_keys and settings.api_keys.get_secret_value()))


def _address(listener: socket.socket) -> str:
    host, port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False
