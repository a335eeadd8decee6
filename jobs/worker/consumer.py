"""The worker's side of the queue: claim, renew, publish, commit, release. Blocking and thread-safe.

Knows nothing of models or tensors. Every script is idempotent, so every call is retried until the server
answers, for `retry_for_s`. After that it raises QueueUnavailable, and the caller may repeat it.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping

import msgspec
from redis.exceptions import RedisError

from jobs.contract import codec
from jobs.contract.errors import CodecError, OtherModel, QueueError
from jobs.contract.events import EventBody, Progress
from jobs.contract.job import JobState
from jobs.contract.results import JobFailure, Outcome
from jobs.contract.worker_info import WorkerInfo
from jobs.redis import connection, keys, scripts
from jobs.redis.scripts import Call, Reply
from jobs.redis.transport import CallObserver, SyncTransport, ignore_call
from jobs.worker.replies import ClaimedJob, CommitReply, RenewReply

DEFAULT_LEASE_S = 15.0
_SOCKET_TIMEOUT_S = 5.0
_MAX_BLOCK_S = 1.0
_REAP_LIMIT = 100
_GONE_TTL_S = 0.01
_STATE_BY_FAILURE = {"cancelled": JobState.CANCELLED, "deadline_exceeded": JobState.EXPIRED}
_log = logging.getLogger(__name__)


class JobConsumer:
    """The queue for one worker process.

    `worker_id` must be new for every process: the queue keeps a process's jobs under its id.
    `retry_for_s`: seconds to retry a call before QueueUnavailable. `observe` gets the time of each command,
    without the waits for work.
    """

    def __init__(
        self,
        url: str,
        *,
        queue: str = "rudolph",
        worker_id: str,
        lease_s: float = DEFAULT_LEASE_S,
        retry_for_s: float = 5.0,
        observe: CallObserver = ignore_call,
    ) -> None:
        self.worker_id = worker_id
        self.lease_s = lease_s
        self._queue = queue
        self._url = url
        self._retry_for_s = retry_for_s
        self._transport = SyncTransport(url, queue, timeout_s=_SOCKET_TIMEOUT_S, observe=observe)
        self._wake_client: connection.SyncClient | None = None
        self._session = uuid.uuid4().hex
        self._num_claims = 0
        self._model = ""
        """The model whose jobs are claimed, after `join`."""
        self._claiming = threading.Lock()

    def claim(self, limit: int) -> list[ClaimedJob]:
        """Claim up to `limit` jobs for this worker. Returns an empty list if nothing is queued.

        After QueueUnavailable the next call repeats the claim under its old number, so that jobs which the
        lost reply named are returned then.
        """
        if limit <= 0:
            return []
        with self._claiming:
            reply = self._run(
                scripts.claim(
                    worker=self.worker_id,
                    session=self._session,
                    number=self._num_claims + 1,
                    limit=limit,
                    lease_s=self.lease_s,
                    model=self._model,
                )
            )
            self._num_claims += 1
        return [claimed for fields in reply for claimed in self._decode(fields)]

    def wait_for_work(self, timeout_s: float) -> None:
        """Return when a job is queued, or after `timeout_s` (at most 1 s), whichever comes first."""
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

    def renew(self, held: Mapping[str, int]) -> RenewReply:
        """Extend the leases of `held` (job id → attempt) to a full lease from now."""
        if not held:
            return RenewReply(frozenset(), frozenset())
        lost, cancelled = self._run(scripts.renew(worker=self.worker_id, lease_s=self.lease_s, held=held))
        return RenewReply(
            frozenset(job_id.decode() for job_id in lost),
            frozenset(job_id.decode() for job_id in cancelled),
        )

    def commit(
        self, job_id: str, attempt: int, outcome: Outcome, *, compute_s: float, model: str
    ) -> CommitReply:
        """Make `outcome` the job's one result.

        A JobFailure makes the job failed, or cancelled or expired by its code (`cancelled`,
        `deadline_exceeded`). Raises CodecError for an outcome that cannot be encoded.
        """
        data = codec.encode_outcome(outcome)
        failure = outcome if isinstance(outcome, JobFailure) else None
        reply = self._run(
            scripts.commit(
                job_id=job_id,
                attempt=attempt,
                digest=codec.digest(data),
                state=_terminal_state(failure),
                outcome=data,
                code=failure.code if failure else "",
                message=failure.message if failure else "",
                worker=self.worker_id,
                model=model,
                compute_s=compute_s,
            )
        )
        return CommitReply(reply.decode())

    def publish(self, job_id: str, attempt: int, body: EventBody) -> bool:
        """Send an event to waiting clients. Returns False if the attempt no longer holds the job.

        Not retried: an event is not worth waiting for. Raises QueueUnavailable when Redis is away.
        """
        call = scripts.publish(
            job_id=job_id,
            attempt=attempt,
            body=codec.encode_event_body(body),
            is_progress=isinstance(body, Progress),
        )
        return bool(self._transport.run(call, retry_for_s=0.0))

    def release(self, held: Mapping[str, int]) -> int:
        """Return jobs to their old position in the queue, uncharged. Returns how many were requeued."""
        return self._run(scripts.release(worker=self.worker_id, held=held)) if held else 0

    def report_crash(
        self, held: Mapping[str, int], *, code: str = "worker_crashed", message: str = ""
    ) -> list[str]:
        """Report that the batch `held` crashed in this process. Returns the ids of new dead letters.

        The jobs are run again, each alone. A job that crashes twice while alone becomes a dead letter.
        """
        return self._crash(self.worker_id, code, message, held) if held else []

    def report_worker_crash(
        self, worker_id: str, *, code: str = "worker_crashed", message: str = ""
    ) -> list[str]:
        """As `report_crash`, for all jobs of a process that died. Called by its supervisor."""
        return self._crash(worker_id, code, message, {})

    def count_end(self, worker_id: str, reason: str) -> None:
        """Count the end of a process that its supervisor did not ask for."""
        self._run(scripts.count_end(worker=worker_id, reason=reason))

    def reap(self) -> int:
        """Requeue jobs whose lease expired, at most 100. Call it every second. Returns how many."""
        self._transport.follow_primary()
        return max(0, self._run(scripts.reap(limit=_REAP_LIMIT, grace_s=self.lease_s)))

    def check_rights(self) -> None:
        """Raise NotPermitted that names each command of the queue which the user of the URL may not run."""
        self._transport.check_rights(retry_for_s=self._retry_for_s)

    def join(self, info: WorkerInfo, ttl_s: float = 10.0) -> None:
        """Announce this worker, and claim only jobs of its model from now on.

        Raises OtherModel while other workers serve the queue with another model.
        """
        others = {self._model_of(data) for _, data in self._run(scripts.workers())} - {
            None,
            info.model.identity,
        }
        if others:
            raise self._other_model(min(filter(None, others)), info)
        self.heartbeat(info, ttl_s)
        self._model = info.model.identity

    def heartbeat(self, info: WorkerInfo, ttl_s: float = 10.0) -> bool:
        """Store this worker's description for `ttl_s`. Returns whether an operator drains this worker.

        Raises OtherModel: the queue has another model.
        """
        holder, drained = self._beat(info, ttl_s, "" if info.draining else info.model.identity)
        if holder:
            raise self._other_model(holder.decode(), info)
        return bool(drained)

    def leave(self, info: WorkerInfo) -> None:
        """Leave the list of workers now, not when the last heartbeat expires."""
        self._beat(msgspec.structs.replace(info, draining=True), _GONE_TTL_S, "")

    def close(self) -> None:
        self._transport.close()
        if self._wake_client is not None:
            connection.close_sync(self._wake_client)

    def _beat(self, info: WorkerInfo, ttl_s: float, model: str) -> tuple[bytes, bytes]:
        data = codec.encode_worker(info)
        return self._run(scripts.heartbeat(worker=self.worker_id, info=data, ttl_s=ttl_s, model=model))

    def _model_of(self, data: bytes) -> str | None:
        """Return the model of a worker that takes jobs; older releases do not hold the queue for it."""
        try:
            info = codec.decode_worker(data)
        except CodecError:
            return None  # a newer release, which holds the queue for its model
        return None if info.draining or info.id == self.worker_id else info.model.identity

    def _other_model(self, holder: str, info: WorkerInfo) -> OtherModel:
        return OtherModel(
            f"The queue {self._queue} is served with the model {holder}, and this worker has "
            f"{info.model.identity}. Stop the other workers first, or give this model a queue of its own "
            "(RUDOLPH_QUEUE_NAME)."
        )

    def _run(self, call: Call[Reply]) -> Reply:
        return self._transport.run(call, retry_for_s=self._retry_for_s)

    def _crash(self, worker: str, code: str, message: str, held: Mapping[str, int]) -> list[str]:
        dead = self._run(scripts.crash(worker=worker, code=code, message=message, held=held))
        return [job_id.decode() for job_id in dead]

    def _decode(self, fields: list[bytes]) -> Iterator[ClaimedJob]:
        job_id, attempt = fields[0].decode(), int(fields[1])
        try:
            job = codec.decode_job(fields[5])
        except CodecError as error:
            _log.error("Job %s cannot be read: %s", job_id, error)
            self._fail(job_id, attempt, JobFailure("unreadable_job", str(error)))
            return
        deadline_left_s = float(fields[4]) if fields[4] else None
        yield ClaimedJob(job, attempt, fields[2] == b"1", float(fields[3]), deadline_left_s)

    def _fail(self, job_id: str, attempt: int, failure: JobFailure) -> None:
        try:
            self.commit(job_id, attempt, failure, compute_s=0.0, model="")
        except QueueError:
            return  # its lease expires, and the next worker finds the same fault


def _terminal_state(failure: JobFailure | None) -> JobState:
    if failure is None:
        return JobState.SUCCEEDED
    return _STATE_BY_FAILURE.get(failure.code, JobState.FAILED)
