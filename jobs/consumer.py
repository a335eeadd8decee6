"""The worker's side of the queue: claim, renew, commit, give back. Blocking, and safe to use from threads.

Knows nothing of models or tensors. Every call may be repeated by itself until the server answers, because
every script behind it is idempotent; a call that cannot be answered raises QueueUnavailable and may be made
again by the caller.
"""

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import RedisError

from jobs import codec, connection, keys
from jobs.announcements import WorkerInfo
from jobs.errors import CodecError, QueueError
from jobs.events import EventBody
from jobs.job import JobState
from jobs.link import Argument, SyncLink
from jobs.publisher import Publisher
from jobs.replies import ClaimedJob, CommitReply, RenewReply
from jobs.results import JobFailure, Outcome

DEFAULT_LEASE_S = 15.0
_SOCKET_TIMEOUT_S = 5.0
_MAX_BLOCK_S = 1.0
_REAP_LIMIT = 100
_SILENT_AFTER_LEASES = 0.8


class JobConsumer:
    """One worker's hold on the queue.

    `worker_id` must be new for every process: what an earlier process of the same name held would otherwise
    be taken for this one's. `patience_s`: how long a call repeats itself before QueueUnavailable.
    """

    def __init__(
        self,
        url: str,
        *,
        queue: str = "rudolph",
        worker_id: str,
        lease_s: float = DEFAULT_LEASE_S,
        patience_s: float = 5.0,
    ) -> None:
        self.worker_id = worker_id
        self.lease_s = lease_s
        self._queue = queue
        self._url = url
        self._patience_s = patience_s
        self._link = SyncLink(url, queue, timeout_s=_SOCKET_TIMEOUT_S)
        self._wake_client: connection.SyncClient | None = None
        self._session = uuid.uuid4().hex
        self._claims = 0
        self._claiming = threading.Lock()
        self._heard_at = time.monotonic()
        self._publisher = Publisher(self._link)

    def claim(self, limit: int) -> list[ClaimedJob]:
        """Up to `limit` jobs, now held by this worker; empty if nothing is queued.

        A claim that could not be answered is repeated by the next call under its old number, so that jobs
        which it had taken are not forgotten.
        """
        if limit <= 0:
            return []
        with self._claiming:
            reply = self._run("claim", self.worker_id, self._session, self._claims + 1, limit, self.lease_s)
            self._claims += 1
        self._heard_at = time.monotonic()
        return [claimed for fields in reply for claimed in self._decode(fields)]

    def wait_for_work(self, timeout_s: float) -> None:
        """Return when a job was queued, or after `timeout_s` (at most 1 s), whichever comes first."""
        block_s = min(timeout_s, _MAX_BLOCK_S)
        started = time.monotonic()
        try:
            if self._wake_client is None:
                self._wake_client = connection.open_sync(
                    self._url, timeout_s=_SOCKET_TIMEOUT_S, max_connections=1
                )
            self._wake_client.execute_command("BLPOP", keys.wake(self._queue), max(block_s, 0.01))
        except (RedisError, OSError):
            time.sleep(max(0.0, block_s - (time.monotonic() - started)))

    def renew(self, holds: Mapping[str, int]) -> RenewReply:
        """Lengthen the leases of `holds` (job id → attempt) to a full lease from now."""
        if not holds:
            return RenewReply(frozenset(), frozenset())
        lost, cancelled = self._run("renew", self.worker_id, self.lease_s, *_pairs(holds))
        self._heard_at = time.monotonic()
        return RenewReply(
            frozenset(job_id.decode() for job_id in lost),
            frozenset(job_id.decode() for job_id in cancelled),
        )

    def commit(
        self, job_id: str, attempt: int, outcome: Outcome, *, compute_s: float, model: str
    ) -> CommitReply:
        """Make `outcome` the job's one result. A JobFailure makes the job failed (or, by its code
        `cancelled` or `deadline_exceeded`, cancelled or expired)."""
        data = codec.encode_outcome(outcome)
        code, message = (outcome.code, outcome.message) if isinstance(outcome, JobFailure) else ("", "")
        reply = self._run(
            "commit", job_id, attempt, codec.digest(data), _terminal_state(outcome), data, code, message,
            self.worker_id, model, compute_s,
        )  # fmt: skip
        return CommitReply(reply.decode())

    def publish(self, job_id: str, attempt: int, body: EventBody) -> None:
        """Tell waiting clients something, soon and perhaps: events are dropped when the server is away,
        when the attempt no longer holds, and when this worker has not been heard for most of a lease."""
        if time.monotonic() - self._heard_at < _SILENT_AFTER_LEASES * self.lease_s:
            self._publisher.publish(job_id, attempt, body)

    def release(self, holds: Mapping[str, int]) -> int:
        """Give jobs back to their old place in the queue, uncharged. Returns how many went back."""
        return int(self._run("release", self.worker_id, *_pairs(holds))) if holds else 0

    def report_crash(
        self, holds: Mapping[str, int], *, code: str = "worker_crashed", message: str = ""
    ) -> list[str]:
        """The batch `holds` went wrong in this process. Its jobs are re-run alone; a job that was alone for
        the second time becomes a dead letter. Returns the ids of those."""
        if not holds:
            return []
        return self._crashed(self.worker_id, code, message, *_pairs(holds))

    def report_worker_crash(
        self, worker_id: str, *, code: str = "worker_crashed", message: str = ""
    ) -> list[str]:
        """As `report_crash`, by a supervisor, for everything that a dead process held."""
        return self._crashed(worker_id, code, message)

    def reap(self) -> int:
        """Take jobs back whose lease ran out, at most 100; call it every second. Returns how many."""
        return max(0, int(self._run("reap", _REAP_LIMIT, self.lease_s)))

    def heartbeat(self, info: WorkerInfo, ttl_s: float = 10.0) -> None:
        """Say that this worker lives and what it is; forgotten after `ttl_s`."""
        self._run("heartbeat", self.worker_id, codec.encode_worker(info), ttl_s)

    def close(self) -> None:
        self._publisher.close()
        self._link.close()
        if self._wake_client is not None:
            self._wake_client.close()

    def _run(self, name: str, *arguments: Argument) -> Any:
        return self._link.run(name, *arguments, patience_s=self._patience_s)

    def _crashed(self, worker_id: str, code: str, message: str, *holds: Argument) -> list[str]:
        reply = self._run("crash", worker_id, code, message, *holds)
        return [job_id.decode() for job_id in reply]

    def _decode(self, fields: list[bytes]) -> Iterator[ClaimedJob]:
        job_id, attempt = fields[0].decode(), int(fields[1])
        try:
            job = codec.decode_job(fields[5])
        except CodecError as error:
            self._fail(job_id, attempt, JobFailure("unreadable_job", str(error)))
            return
        deadline_left_s = float(fields[4]) if fields[4] else None
        yield ClaimedJob(job, attempt, fields[2] == b"1", float(fields[3]), deadline_left_s)

    def _fail(self, job_id: str, attempt: int, failure: JobFailure) -> None:
        try:
            self.commit(job_id, attempt, failure, compute_s=0.0, model="")
        except QueueError:
            return  # its lease will run out, and the next worker finds the same


def _pairs(holds: Mapping[str, int]) -> Iterator[Argument]:
    for job_id, attempt in holds.items():
        yield job_id
        yield attempt


def _terminal_state(outcome: Outcome) -> JobState:
    if not isinstance(outcome, JobFailure):
        return JobState.SUCCEEDED
    if outcome.code == "cancelled":
        return JobState.CANCELLED
    if outcome.code == "deadline_exceeded":
        return JobState.EXPIRED
    return JobState.FAILED
