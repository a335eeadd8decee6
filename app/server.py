"""uvicorn's options for the application."""

import resource

import uvicorn
from starlette.types import ASGIApp

from app.connections import Connections
from app.http_protocol import GuardedProtocol
from app.proxies import TrustedProxies
from app.settings import Settings

OTHER_FILES = 256
"""Files, pipes and connections to Redis that the process needs besides its clients."""


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Return the options of uvicorn. Run it with `uvicorn.Server(server_config(create_app(s), s)).run()`."""
    return uvicorn.Config(
        TrustedProxies(app, settings.forwarded_allow_ips),
        host=settings.host,
        port=settings.port,
        http=guarded_protocol(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # TrustedProxies reads them
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )


def raise_file_limit(num_connections: int) -> int:
    """Raise this process's limit of open files for N connections. Return how many then fit."""
    wanted = num_connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return num_connections if soft == resource.RLIM_INFINITY else min(num_connections, soft - OTHER_FILES)


def guarded_protocol(settings: Settings) -> type[GuardedProtocol]:
    """Return a protocol class with the limits of the settings. Each connection has one instance."""

    class Guarded(GuardedProtocol):
        limits = settings
        open_connections = Connections(
            settings.max_connections, min(settings.max_idle_connections_per_address, settings.max_connections)
        )

    return Guarded
