"""What a Redis server says about itself in INFO, and which of it endangers the queue. Changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Self

MIN_VERSION: Final = (6, 2)
_FULL_ABOVE: Final = 0.9
_MAX_CLOCK_DIFFERENCE_S: Final = 5.0
_MAX_LAG_S: Final = 10


@dataclass(frozen=True)
class Finding:
    """A fault of a server. `breaks`: the queue cannot keep its promise now; else it can, but is at risk."""

    breaks: bool
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.cause} {self.remedy}"


@dataclass(frozen=True)
class ServerInfo:
    """The sections server, memory, persistence and replication of INFO."""

    program: Literal["redis", "valkey"]
    version: tuple[int, ...]
    role: str
    appends: bool
    """Every write is appended to a file (`appendonly yes`)."""
    write_error: bool
    """The last write of that file failed."""
    used_bytes: int
    max_bytes: int
    """0: no limit."""
    policy: str
    num_replicas: int
    """Replicas that are connected and have all data."""
    primary_link_up: bool

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Parse the reply of INFO. A section that the server leaves out counts as healthy."""
        lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
        fields = {name: value.strip() for name, colon, value in lines if colon}
        number = fields.get("valkey_version") or fields.get("redis_version", "")
        replicas = (fields[name] for name in fields if name.startswith("slave") and name[5:].isdecimal())
        return cls(
            program="valkey" if "valkey_version" in fields else "redis",
            version=tuple(int(part) for part in number.split(".") if part.isdecimal()),
            role=fields.get("role", "master"),
            appends=fields.get("aof_enabled", "1") == "1",
            write_error=fields.get("aof_last_write_status", "ok") != "ok",
            used_bytes=int(fields.get("used_memory", "0")),
            max_bytes=int(fields.get("maxmemory", "0")),
            policy=fields.get("maxmemory_policy", "noeviction"),
            num_replicas=sum(_is_good(replica) for replica in replicas),
            primary_link_up=fields.get("master_link_status", "up") == "up",
        )

    def findings(
        self, *, wait_replicas: int | Literal["all"], clock_difference_s: float
    ) -> Iterator[Finding]:
        """Yield every fault. `clock_difference_s`: the server's clock minus the one of this machine."""
        yield from self._version_and_role()
        yield from self._persistence()
        yield from self._memory()
        if isinstance(wait_replicas, int) and self.num_replicas < wait_replicas:
            yield Finding(
                True,
                f"Redis has {self.num_replicas} replicas; RUDOLPH_WAIT_REPLICAS is {wait_replicas}.",
                "No job can be accepted. Start the replicas, or lower the setting.",
            )
        if abs(clock_difference_s) > _MAX_CLOCK_DIFFERENCE_S:
            yield Finding(
                False,
                f"The clocks of Redis and of this machine differ by {abs(clock_difference_s):.0f} s.",
                "Times of jobs and of logs do not match. Set both by NTP.",
            )

    def _version_and_role(self) -> Iterator[Finding]:
        if self.version and self.program == "redis" and self.version[:2] < MIN_VERSION:
            yield Finding(
                True,
                f"Redis is version {'.'.join(map(str, self.version))}.",
                "The queue needs Redis 6.2 or newer, or Valkey.",
            )
        if self.role != "master":
            yield Finding(True, "This Redis is a replica.", "Use the URL of the primary or of the Sentinels.")

    def _persistence(self) -> Iterator[Finding]:
        if not self.appends:
            yield Finding(
                False,
                "`appendonly` is off: a restart of Redis loses every job since its last snapshot.",
                "Set `appendonly yes`.",
            )
        if self.write_error:
            yield Finding(
                True,
                "Redis cannot write its append-only file, so it refuses every write.",
                "Look for a full disk, and read the log of Redis.",
            )

    def _memory(self) -> Iterator[Finding]:
        if self.policy != "noeviction":
            yield Finding(
                True,
                f"`maxmemory-policy` is {self.policy}: a full Redis deletes jobs.",
                "Set `maxmemory-policy noeviction`.",
            )
        if not self.max_bytes:
            yield Finding(
                False,
                "`maxmemory` is not set: a full queue can make the system kill Redis.",
                "Set `maxmemory` to about half of the memory of its machine.",
            )
        elif self.used_bytes > _FULL_ABOVE * self.max_bytes:
            yield Finding(
                False,
                f"Redis uses {self.used_bytes / self.max_bytes:.0%} of `maxmemory`. Full, it refuses jobs.",
                "Raise `maxmemory`, or lower RUDOLPH_MAX_QUEUE_BYTES and RUDOLPH_JOB_TTL_S.",
            )


def _is_good(replica: str) -> bool:
    """Whether the line of a replica (`ip=…,state=online,lag=0`) shows one that has the data."""
    parts = (part.partition("=") for part in replica.split(","))
    fields = {name: value for name, _, value in parts}
    return fields.get("state") == "online" and int(fields.get("lag", "0")) <= _MAX_LAG_S
