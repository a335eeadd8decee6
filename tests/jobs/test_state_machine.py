"""The Lua scripts on a real server against the model, call by call: one terminal state, set once."""

import hashlib
import uuid
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.redis import connection, keys, scripts
from jobs.redis.scripts import Call, load_scripts
from jobs.redis.transport import SyncTransport
from tests.jobs.queue_model import LIVE, ModelJob, QueueModel
from tests.support.redis_servers import RedisServer

WORKERS = ("w1", "w2")
TENANTS = ("t1", "t2")
LONG_S, OVER_S = 1000.0, -1.0
CONTENTS = ("a", "bb", "ccc")


class QueueMachine(RuleBasedStateMachine):
    """Every rule makes one call to the server and the same to the model; both must agree on everything."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.queue = f"machine-{uuid.uuid4().hex}"
        self.transport = SyncTransport(self.url, self.queue, timeout_s=5)
        self.redis: Any = connection.open_sync(self.url, timeout_s=5)
        script = load_scripts()["initialise"]
        self.redis.execute_command("EVAL", script.text, 1, keys.epoch(self.queue), "epoch", "0")
        self.model = QueueModel()
        self.num_jobs = 0
        self.counters = dict.fromkeys(WORKERS, 0)
        self.last: tuple[Call[Any], Any] | None = None
        self.results: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.transport.close()
        self.redis.close()

    def run_script(self, call: Call[Any]) -> Any:
        reply = self.transport.run(call, retry_for_s=0.0)
        self.last = (call, reply)
        return reply

    # ---- what the API does

    @rule(
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from((-10, 0, 0, 10)),
        rows=st.sampled_from((1, 3)),
        content=st.sampled_from(CONTENTS),
        key=st.sampled_from(("", "", "k1", "k2")),
        late=st.sampled_from((False, False, False, True)),
    )
    def submit(self, tenant: str, priority: int, rows: int, content: str, key: str, late: bool) -> None:
        self.num_jobs += 1
        job_id = f"job{self.num_jobs:04}"
        idem = keys.idempotency_suffix(tenant, key) if key else ""
        reply = self.run_script(
            scripts.submit(
                job_id=job_id,
                idempotency_suffix=idem,
                digest=content,
                body=content.encode(),
                tenant=tenant,
                task="text2text",
                priority=priority,
                num_sequences=rows,
                deadline_s=OVER_S if late else None,
                ttl_s=3600,
                synchronous=True,
                model_revision="",
                max_depth=10**6,
                max_bytes=10**9,
                tenant_max_jobs=10**6,
                tenant_max_bytes=10**9,
                again=False,
            )
        )
        expected = self.model.submit(job_id, idem, content, len(content), tenant, priority, rows, late)
        assert [part.decode() for part in reply] == expected

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), only_running=st.booleans())
    def cancel(self, data: st.DataObject, only_running: bool) -> None:
        running = sorted(job.id for job in self.model.in_state("running"))
        ids = running if only_running and running else sorted(self.model.jobs)
        job_id = data.draw(st.sampled_from(ids))
        assert self.run_script(scripts.cancel(job_id=job_id)).decode() == self.model.cancel(job_id)

    @precondition(lambda self: self.model.in_state("dead"))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(job.id for job in self.model.in_state("dead"))))
        assert self.run_script(scripts.retry(job_id=job_id)).decode() == self.model.retry(job_id)

    # ---- what workers do

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 4), over=st.booleans())
    def claim(self, worker: str, limit: int, over: bool) -> None:
        self.counters[worker] += 1
        lease_s = OVER_S if over else LONG_S
        number = self.counters[worker]
        reply = self.run_script(
            scripts.claim(
                worker=worker, session="session", number=number, limit=limit, lease_s=lease_s, model=""
            )
        )
        answer = [(fields[0].decode(), int(fields[1]), fields[2] == b"1") for fields in reply]
        assert answer == self.model.claim(worker, limit, over)

    @precondition(lambda self: self.model.in_state("running"))
    @rule(worker=st.sampled_from(WORKERS), num=st.integers(1, 4))
    def change_hands(self, worker: str, num: int) -> None:
        """Every lease runs out, and one worker claims again."""
        for job in self.model.in_state("running"):
            pair = (job.id, job.attempt)
            self.run_script(scripts.renew(worker=job.worker, lease_s=OVER_S, held=dict([pair])))
            self.model.renew(job.worker, [pair], over=True)
        self.reap()
        self.claim(worker, num, over=False)

    @precondition(lambda self: self.model.in_state("running"))
    @rule(data=st.data(), worker=st.sampled_from(WORKERS), over=st.booleans())
    def renew(self, data: st.DataObject, worker: str, over: bool) -> None:
        pairs = self._draw_pairs(data)
        lease_s = OVER_S if over else LONG_S
        lost, cancelled = self.run_script(scripts.renew(worker=worker, lease_s=lease_s, held=dict(pairs)))
        expected = self.model.renew(worker, pairs, over)
        assert ({part.decode() for part in lost}, {part.decode() for part in cancelled}) == expected

    @precondition(lambda self: any(job.attempt for job in self.model.jobs.values()))
    @rule(data=st.data(), worker=st.sampled_from(WORKERS), content=st.sampled_from(CONTENTS))
    def commit(self, data: st.DataObject, worker: str, content: str) -> None:
        [(job_id, attempt)] = self._draw_pairs(data, num=1)
        self._commit(worker, job_id, attempt, content)

    @precondition(lambda self: any(job.attempt > 1 for job in self.model.in_state("running")))
    @rule(data=st.data(), worker=st.sampled_from(WORKERS), content=st.sampled_from(CONTENTS))
    def commit_late(self, data: st.DataObject, worker: str, content: str) -> None:
        """By a worker that was frozen, while another computes the job."""
        taken_over = sorted(job.id for job in self.model.in_state("running") if job.attempt > 1)
        job_id = data.draw(st.sampled_from(taken_over))
        self._commit(worker, job_id, self.model.jobs[job_id].attempt - 1, content)

    def _commit(self, worker: str, job_id: str, attempt: int, content: str) -> None:
        digest = hashlib.sha256(content.encode()).hexdigest()
        reply = self.run_script(
            scripts.commit(
                job_id=job_id,
                attempt=attempt,
                digest=digest,
                state="succeeded",
                outcome=content.encode(),
                code="",
                message="",
                worker=worker,
                model="m",
                compute_s=0.1,
            )
        )
        assert reply.decode() == self.model.commit(job_id, attempt, digest)

    @precondition(lambda self: self.model.in_state("running"))
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def release(self, data: st.DataObject, worker: str) -> None:
        pairs = self._draw_pairs(data)
        released = self.run_script(scripts.release(worker=worker, held=dict(pairs)))
        assert released == self.model.release(worker, pairs)

    @rule()
    def reap(self) -> None:
        assert self.run_script(scripts.reap(limit=1000, grace_s=0.0)) == self.model.reap()

    @precondition(lambda self: self.model.in_state("running"))
    @rule(data=st.data(), worker=st.sampled_from(WORKERS), whole=st.booleans())
    def crash(self, data: st.DataObject, worker: str, whole: bool) -> None:
        held = [(job.id, job.attempt) for job in self.model.in_state("running") if job.worker == worker]
        pairs = held if whole else self._draw_pairs(data)
        reply = self.run_script(
            scripts.crash(worker=worker, code="crashed", message="", held={} if whole else dict(pairs))
        )
        assert {part.decode() for part in reply} == self.model.crash(worker, pairs)

    @precondition(lambda self: self.last is not None)
    @rule()
    def repeat(self) -> None:
        """The network lost the answer, and the caller asks again."""
        assert self.last is not None
        call, first = self.last
        again = self.transport.run(call, retry_for_s=0.0)
        name = call.script
        if name in ("submit", "commit", "cancel", "retry"):
            assert again == first
        elif name == "claim":
            assert [fields[:3] + fields[5:] for fields in again] == [
                fields[:3] + fields[5:] for fields in first
            ]
        elif name == "renew":
            assert [set(part) for part in again] == [set(part) for part in first]
        elif name in ("release", "reap"):
            assert again == 0
        else:
            assert again == []

    # ---- what must hold between any two calls

    @invariant()
    def the_server_holds_what_the_model_holds(self) -> None:
        found = self._look()
        for job in self.model.jobs.values():
            self._check_job(job, found)
        places = {
            "ready": self.model.in_state("queued"),
            "leases": self.model.in_state("running"),
            "dead": self.model.in_state("dead"),
            "done": self.model.in_state("succeeded", "failed", "cancelled", "expired"),
        }
        for place, jobs in places.items():
            assert {member.decode() for member in found[place]} == {job.id for job in jobs}
        for worker in WORKERS:
            held = {job_id.decode(): int(attempt) for job_id, attempt in found[worker].items()}
            running = self.model.in_state("running")
            assert held == {job.id: job.attempt for job in running if job.worker == worker}
        live = self.model.in_state(*LIVE)
        assert int(found["bytes"] or 0) == sum(job.num_bytes for job in live)
        for tenant in TENANTS:
            own = [job for job in live if job.tenant == tenant]
            jobs, num_bytes = (int(value or 0) for value in found[tenant])
            assert (jobs, num_bytes) == (len(own), sum(job.num_bytes for job in own))

    def _check_job(self, job: ModelJob, found: dict[Any, Any]) -> None:
        fields, result, ttl, has_input = (found[job.id, part] for part in ("job", "res", "ttl", "in"))
        state, attempt, worker, flag, solo = (value.decode() for value in fields)
        assert (state, int(attempt), flag, solo == "1") == (job.state, job.attempt, job.flag, job.solo)
        is_live = job.state in LIVE
        if is_live:
            assert worker == job.worker
        assert job.ends == (not is_live)  # one terminal state, set once
        assert (ttl == -1) if is_live else (ttl > 0)
        assert bool(has_input) == (is_live or job.state == "dead")
        if job.state == "succeeded":
            assert result is not None
            assert self.results.setdefault(job.id, result) == result
        else:
            assert result is None

    def _look(self) -> dict[Any, Any]:
        """Everything that the server knows, in one round trip."""
        names: list[Any] = []
        with self.redis.pipeline(transaction=False) as pipe:

            def ask(name: Any, _: object) -> None:
                names.append(name)

            for place in ("ready", "leases", "dead", "done"):
                ask(place, pipe.zrange(self._key(place), 0, -1))
            for worker in WORKERS:
                ask(worker, pipe.hgetall(self._key(f"held:{worker}")))
            for tenant in TENANTS:
                ask(tenant, pipe.hmget(self._key(f"tenant:{tenant}"), ("jobs", "bytes")))
            ask("bytes", pipe.get(self._key("bytes")))
            for job_id in self.model.jobs:
                key = self._key("job:" + job_id)
                fields = ("state", "attempt", "worker", "cancel", "solo")
                ask((job_id, "job"), pipe.hmget(key, fields))
                ask((job_id, "res"), pipe.get(self._key("res:" + job_id)))
                ask((job_id, "ttl"), pipe.ttl(key))
                ask((job_id, "in"), pipe.exists(self._key("in:" + job_id)))
            return dict(zip(names, pipe.execute(), strict=True))

    def _key(self, name: str) -> str:
        return keys.prefix(self.queue) + name

    def _draw_pairs(self, data: st.DataObject, num: int | None = None) -> list[tuple[str, int]]:
        """Jobs that were claimed at some time, each with an attempt of its past or present."""
        claimed = sorted(job.id for job in self.model.jobs.values() if job.attempt)
        low, high = (num, num) if num else (1, 3)
        ids = data.draw(st.lists(st.sampled_from(claimed), min_size=low, max_size=high, unique=True))
        return [
            (job_id, max(1, self.model.jobs[job_id].attempt - data.draw(st.sampled_from((0, 1)))))
            for job_id in ids
        ]


@pytest.fixture(scope="module")
def quick_server() -> Generator[RedisServer]:
    with RedisServer(appendonly="no") as running:
        yield running


def test_scripts_agree_with_the_model(quick_server: RedisServer) -> None:
    machine = type("Machine", (QueueMachine,), {"url": quick_server.url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
