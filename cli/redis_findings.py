"""Checks the Redis of a queue for `rudolph doctor` and `rudolph serve`. Leaves nothing in it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli.console import CliError
from cli.device_findings import Finding

if TYPE_CHECKING:
    from jobs.redis.retry import NumReplicas
    from jobs.redis.server_info import Finding as ServerFinding


def redis_findings(url: str | None, queue: str, data: Path, program: str | None) -> Iterator[Finding]:
    """Yield what is right and wrong with the Redis at `url`, or with the program of the embedded one."""
    from jobs.contract.errors import DataLost, QueueError, QueueUnavailable
    from jobs.redis.address import parse_url, without_credentials
    from jobs.redis.data_version import writers_of
    from jobs.redis.server_binary import find_server

    if url is None:
        try:
            server = find_server(chosen=program, writers=writers_of(data), data=data)
        except QueueUnavailable as error:
            yield Finding("Redis", "missing", str(error), "install redis-server, or use --redis-url")
        else:
            yield Finding("Redis", "ok", f"`rudolph serve` starts {server}")
        return
    try:
        has_queue = _has_queue(url, queue)
        faults = server_findings(url, queue, _wait_replicas())
    except DataLost as error:
        yield Finding("Redis", "missing", str(error), "see docs/operations.md")
        return
    except QueueUnavailable as error:
        yield Finding("Redis", "missing", error.reason, f"check Redis at {without_credentials(url)}")
        return
    except (QueueError, ValueError) as error:
        yield Finding("Redis", "missing", str(error), "check the URL and that Redis is running")
        return
    holds = "has the data of the queue" if has_queue else "has no queue of this name yet (the API makes it)"
    detail = f"answers, {holds}, and lets its user run every command of the queue"
    if parse_url(url).checks_certificates:
        yield Finding("Redis", "ok", detail)
    else:
        unchecked = f"{detail}; its certificate is not checked"
        yield Finding("Redis", "note", unchecked, "name ssl_ca_certs in the URL")
    for fault in faults:
        yield Finding("Redis", "missing" if fault.breaks else "note", fault.cause, fault.remedy)


def server_findings(url: str, queue: str, wait_replicas: "NumReplicas") -> "list[ServerFinding]":
    """Return the settings of a Redis server that put jobs at risk. Raises QueueError, ValueError."""
    from jobs.client.client import JobClient
    from jobs.contract.limits import QueueLimits

    async def find() -> "list[ServerFinding]":
        client = JobClient(url, queue, QueueLimits(wait_replicas=wait_replicas))
        try:
            return await client.server_findings()
        finally:
            await client.close()

    return asyncio.run(find())


def _has_queue(url: str, queue: str) -> bool:
    """Return whether Redis has the queue, after every right was tried. Raises QueueError, ValueError."""
    from jobs.client.client import JobClient
    from jobs.contract.limits import QueueLimits

    async def inspect() -> bool:
        client = JobClient(url, queue, QueueLimits(wait_replicas=_wait_replicas()))
        try:
            return await client.inspect()
        finally:
            await client.close()

    return asyncio.run(inspect())


def _wait_replicas() -> "NumReplicas":
    """Return the setting; 0 if any setting is wrong, because the start of the API reports that."""
    from app.settings import Settings
    from cli.settings import read_settings

    try:
        return read_settings(Settings).wait_replicas
    except CliError:
        return 0
