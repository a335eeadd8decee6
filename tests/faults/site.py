"""Three hosts with a Sentinel each: a primary, and its replicas with the recommended settings."""

import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.faults.hosts import Host, hosts
from tests.support.redis_servers import RedisServer

SERVICE = "queue"
_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
_DOWN_AFTER_MS = 1000


@dataclass
class Site:
    """`servers[i]` runs on `hosts[i]`."""

    hosts: list[Host]
    servers: list[RedisServer]
    sentinels: list[RedisServer]
    queue: str = field(default_factory=lambda: f"site-{uuid.uuid4().hex}")

    @property
    def url(self) -> str:
        addresses = ",".join(f"{host.address}:{_SENTINEL_PORT}" for host in self.hosts)
        return f"redis+sentinel://{addresses}/{SERVICE}/0"

    def primary(self, asked: int | None = None) -> int:
        """Index of the primary by the Sentinels' majority, or by the Sentinel of the host `asked`."""
        votes: list[int] = []
        for index, sentinel in enumerate(self.sentinels):
            if asked is not None and index != asked:
                continue
            with contextlib.suppress(redis.RedisError), sentinel.client() as client:
                host, _ = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
                votes.append([server.host for server in self.servers].index(host.decode()))
        return max(set(votes), key=votes.count)

    def fail_over(self) -> None:
        """Ask a Sentinel for a planned failover; try again while it refuses."""
        for attempt in range(200):
            with self.sentinels[attempt % len(self.sentinels)].client() as client:
                try:
                    client.execute_command("SENTINEL", "FAILOVER", SERVICE)
                except redis.ResponseError:  # another failover is under way, or no replica is good enough
                    time.sleep(0.1)
                else:
                    return
        raise TimeoutError("the Sentinels refuse a failover")

    def wait_for_another_primary(self, old: int, timeout_s: float = 30.0) -> int:
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            if (new := self.primary()) != old:
                return new
            time.sleep(0.05)
        raise TimeoutError("no other primary was elected")

    def wait_for_replicas(self, number: int, timeout_s: float = 60.0) -> None:
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            with contextlib.suppress(redis.RedisError), self.servers[self.primary()].client() as client:
                info: Any = client.info("replication")
                states = [info.get(f"slave{index}", {}).get("state") for index in range(number)]
                known = all(self._num_replicas_known(sentinel) >= number for sentinel in self.sentinels)
                if info["role"] == "master" and states == ["online"] * number and known:
                    return
            time.sleep(0.05)
        raise TimeoutError("the replicas did not come")

    def _num_replicas_known(self, sentinel: RedisServer) -> int:
        with sentinel.client() as client:
            others = client.execute_command("SENTINEL", "SENTINELS", SERVICE)
            replicas = client.execute_command("SENTINEL", "REPLICAS", SERVICE)
        return len(replicas) if len(others) == len(self.sentinels) - 1 else 0


@contextlib.contextmanager
def site(num_replicas: int, **options: str | int) -> Generator[Site]:
    """Three hosts, each with a Sentinel; a primary and replicas with the recommended settings."""
    with contextlib.ExitStack() as stack:
        three = stack.enter_context(hosts(3))
        servers: list[RedisServer] = []
        for host in three[: 1 + num_replicas]:
            replica_of = {"replicaof": f"{three[0].address} {_REDIS_PORT}"} if servers else {}
            server = RedisServer(
                host=host.address,
                prefix=host.prefix,
                port=_REDIS_PORT,
                **{
                    "protected-mode": "no",
                    "min-replicas-to-write": 1,
                    "min-replicas-max-lag": 10,
                    "repl-diskless-sync-delay": 0,
                    "repl-timeout": 10,
                    **replica_of,
                    **options,
                },
            )
            stack.callback(shutil.rmtree, server.directory, ignore_errors=True)
            stack.callback(server.stop)
            servers.append(server.start())
        sentinels = [_sentinel(host, three[0].address, stack) for host in three]
        running = Site(three, servers, sentinels)
        running.wait_for_replicas(num_replicas)
        yield running


def _sentinel(host: Host, primary: str, stack: contextlib.ExitStack) -> RedisServer:
    directory = Path(tempfile.mkdtemp(prefix="sentinel-"))
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"protected-mode no\n"
        f"sentinel monitor {SERVICE} {primary} {_REDIS_PORT} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {SERVICE} 4000\n"
        f"sentinel parallel-syncs {SERVICE} 1\n",
        encoding="ascii",
    )
    server = RedisServer(
        directory,
        configuration=configuration,
        sentinel=True,
        host=host.address,
        prefix=host.prefix,
        port=_SENTINEL_PORT,
    )
    stack.callback(server.stop)
    return server.start()
