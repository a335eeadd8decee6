"""A real redis-server, a real uvicorn on a real socket, and a small worker; one of each a test module."""

import io
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import structlog
import uvicorn

from app.main import create_app
from app.server import server_config
from app.services import Services
from app.settings import Settings
from jobs.contract.worker_info import ModelInfo
from jobs.redis.embedded import EmbeddedRedis
from telemetry.logging import configure_logging
from tests.app.worker import MODEL, EchoWorker


@dataclass
class Running:
    """An API on a port of its own, with its server, services and worker."""

    url: str
    settings: Settings
    services: Services
    server: uvicorn.Server
    worker: EchoWorker | None
    headers: dict[str, str] = field(default_factory=dict)

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, **options)  # type: ignore[arg-type]

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), timeout=10)


@pytest.fixture(scope="session", autouse=True)
def log() -> Iterator[io.StringIO]:
    """What the servers log while the tests run."""
    root = logging.getLogger()
    handlers, level, before = root.handlers, root.level, structlog.get_config()
    sink = io.StringIO()
    configure_logging(json=True, stream=sink)
    yield sink
    root.handlers, root.level = handlers, level
    structlog.configure(**before)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis()
    url = server.start(tmp_path_factory.mktemp("redis"))
    yield url
    server.stop()


@contextmanager
def running_api(
    redis_url: str, *, worker: bool = True, model: ModelInfo = MODEL, **changes: object
) -> Iterator[Running]:
    queue = f"test-{uuid.uuid4().hex[:8]}"
    options = {"redis_url": redis_url, "queue_name": queue, "port": 0} | changes
    settings = Settings(_env_file=None, **options)  # type: ignore[call-arg, arg-type]
    application = create_app(settings)
    server = uvicorn.Server(server_config(application, settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    echo = EchoWorker(redis_url, settings.queue_name, model=model) if worker else None
    api = Running(f"http://127.0.0.1:{port}", settings, application.state.services, server, echo)
    try:
        yield api
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
        if echo:
            echo.close()


@pytest.fixture(scope="session")
def start_api(redis_url: str) -> Callable[..., object]:
    return lambda **changes: running_api(redis_url, **changes)


@pytest.fixture(scope="module")
def api(redis_url: str) -> Iterator[Running]:
    with running_api(redis_url) as running:
        yield running


@pytest.fixture
def http(api: Running) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


@pytest.fixture(scope="session")
def red_square() -> Path:
    return Path(__file__).parent.parent / "fixtures" / "tiny-v1" / "picture0.png"
