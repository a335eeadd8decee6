"""Groups of real servers: a master with replicas under three Sentinels, and a Cluster of three."""

import contextlib
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.faults.proxy import Proxy
from tests.support.redis_servers import RedisServer, free_port

SERVICE = "queue"
_QUORUM = 2


@dataclass
class Node:
    """A server, and the door by which all others reach it; who is cut off with it has its own port."""

    server: RedisServer
    door: Proxy


@dataclass
class SentinelGroup:
    """`nodes[0]` is the first master."""

    nodes: list[Node]
    sentinels: list[RedisServer]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def master(self) -> Node:
        """Whom the Sentinels call the master now."""
        with self.sentinels[0].client() as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(node for node in self.nodes if node.door.port == int(port))

    def wait_for_replicas(self, timeout_s: float = 20.0) -> None:
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            with contextlib.suppress(redis.RedisError), self.master().server.client() as client:
                info: Any = client.info("replication")
                replicas = [info.get(f"slave{index}") for index in range(2)]
                if all(replica and replica["state"] == "online" for replica in replicas):
                    return
            time.sleep(0.05)
        raise TimeoutError("the replicas did not come")


@contextlib.contextmanager
def sentinel_group(down_after_ms: int = 1000) -> Generator[SentinelGroup]:
    """Three nodes of which two must have a write, and three Sentinels."""
    nodes: list[Node] = []
    sentinels: list[RedisServer] = []
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            nodes.append(_start_node(nodes[0] if nodes else None, stack))
        for _ in range(3):
            sentinels.append(_start_sentinel(nodes[0].door.port, down_after_ms))
            stack.callback(sentinels[-1].stop)
        group = SentinelGroup(nodes, sentinels)
        group.wait_for_replicas()
        _wait_until_acquainted(sentinels)
        yield group


def _start_node(master: Node | None, stack: contextlib.ExitStack) -> Node:
    port = free_port()
    door = stack.enter_context(Proxy(port))
    options: dict[str, str | int] = {
        "min-replicas-to-write": 1,
        "min-replicas-max-lag": 2,
        "repl-diskless-sync-delay": 0,
        "repl-ping-replica-period": 1,
        "repl-timeout": 5,
        "replica-announce-ip": "127.0.0.1",
        "replica-announce-port": door.port,
    }
    if master is not None:
        options["replicaof"] = f"127.0.0.1 {master.door.port}"
    server = RedisServer(port=port, **options).start()
    stack.callback(server.stop)
    return Node(server, door)


@contextlib.contextmanager
def cluster() -> Generator[str]:
    """Three masters that share the slots. Gives the URL."""
    nodes = [
        RedisServer(cluster_enabled="yes", cluster_node_timeout=2000, cluster_port=free_port()).start()
        for _ in range(3)
    ]
    try:
        bounds = (0, 5461, 10923, 16384)
        for index, node in enumerate(nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in nodes:
            with node.client() as client:
                for other in nodes:
                    if other is not node:
                        bus = int(other.options["cluster-port"])
                        client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        for node in nodes:
            _wait_for_cluster(node)
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    finally:
        for node in nodes:
            node.stop()


def _start_sentinel(master_port: int, down_after_ms: int) -> RedisServer:
    directory = Path(tempfile.mkdtemp(prefix="sentinel-"))
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} {_QUORUM}\n"
        f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}\n"
        f"sentinel failover-timeout {SERVICE} 4000\n"
        f"sentinel parallel-syncs {SERVICE} 2\n",
        encoding="ascii",
    )
    return RedisServer(directory, configuration=configuration, sentinel=True).start()


def _wait_until_acquainted(sentinels: list[RedisServer], timeout_s: float = 20.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    for sentinel in sentinels:
        with sentinel.client() as client:
            while time.monotonic() < give_up_at:
                others = client.execute_command("SENTINEL", "SENTINELS", SERVICE)
                replicas = client.execute_command("SENTINEL", "REPLICAS", SERVICE)
                if len(others) == len(sentinels) - 1 and len(replicas) == 2:
                    break
                time.sleep(0.05)
            else:
                raise TimeoutError("the Sentinels did not find one another")


def _wait_for_cluster(node: RedisServer, timeout_s: float = 20.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    with node.client() as client:
        while time.monotonic() < give_up_at:
            info = client.execute_command("CLUSTER", "INFO")
            text = info.decode() if isinstance(info, bytes) else str(info)
            if "cluster_state:ok" in text or "'cluster_state': 'ok'" in text:
                return
            time.sleep(0.05)
    raise TimeoutError("the Cluster did not form")
