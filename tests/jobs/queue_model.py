"""The queue as a page of Python: what the Lua scripts are compared with. It has no clock; leases are either
long or over, as the test chooses."""

from dataclasses import dataclass, field

LIVE = ("queued", "running")
PRIORITY_STEP = 2**40
ARRIVALS = 512
MAX_SOLO_CRASHES = 2
LOSSES_BEFORE_SOLO = 5


@dataclass
class ModelJob:
    id: str
    tenant: str
    digest: str
    score: float
    tag: int
    num_bytes: int
    late: bool
    """Its deadline has passed."""
    idem: str
    state: str = "queued"
    attempt: int = 0
    worker: str = ""
    flag: str = ""
    solo: bool = False
    solo_crashes: int = 0
    losses: int = 0
    lease_over: bool = False
    deadline_seen: bool = False
    result: str = ""
    ends: int = 0
    """How often it entered a terminal state; a retry by an operator allows one more."""


@dataclass
class QueueModel:
    jobs: dict[str, ModelJob] = field(default_factory=dict[str, ModelJob])
    tags: dict[str, int] = field(default_factory=dict[str, int])
    keys: dict[str, str] = field(default_factory=dict[str, str])
    virtual: int = 0
    arrivals: int = 0

    def in_state(self, *states: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state in states]

    def submit(
        self, job_id: str, idem: str, digest: str, num_bytes: int, tenant: str, priority: int, rows: int,
        late: bool,
    ) -> list[str]:  # fmt: skip
        if idem and idem in self.keys:
            other = self.jobs[self.keys[idem]]
            return ["ok", other.id, "0"] if other.digest == digest else ["conflict", other.id]
        tag = max(self.virtual, self.tags.get(tenant, 0))
        self.tags[tenant] = tag + rows
        self.arrivals += 1
        score = priority * PRIORITY_STEP + tag + self.arrivals % ARRIVALS / ARRIVALS
        self.jobs[job_id] = ModelJob(job_id, tenant, digest, score, tag, num_bytes, late, idem)
        if idem:
            self.keys[idem] = job_id
        return ["ok", job_id, "1"]

    def claim(self, worker: str, limit: int, lease_over: bool) -> list[tuple[str, int, bool]]:
        taken: list[tuple[str, int, bool]] = []
        for job in sorted(self.in_state("queued"), key=lambda job: (job.score, job.id)):
            if len(taken) == limit:
                break
            if job.late:
                self._end(job, "expired")
                continue
            if job.solo and taken:
                break
            job.state, job.worker, job.lease_over = "running", worker, lease_over
            job.attempt += 1
            self.virtual = max(self.virtual, job.tag)
            taken.append((job.id, job.attempt, job.solo))
            if job.solo:
                break
        return taken

    def holds(self, worker: str, job_id: str, attempt: int) -> bool:
        job = self.jobs[job_id]
        return job.state == "running" and job.attempt == attempt and job.worker == worker

    def renew(self, worker: str, pairs: list[tuple[str, int]], over: bool) -> tuple[set[str], set[str]]:
        lost: set[str] = set()
        cancelled: set[str] = set()
        for job_id, attempt in pairs:
            job = self.jobs[job_id]
            if self.holds(worker, job_id, attempt):
                if job.flag:
                    self._end(job, job.flag)
                    cancelled.add(job_id)
                else:
                    job.lease_over = over
            elif job.attempt == attempt and job.state in ("cancelled", "expired"):
                cancelled.add(job_id)
            elif job.attempt != attempt or job.state in LIVE:
                lost.add(job_id)
        return lost, cancelled

    def commit(self, job_id: str, attempt: int, digest: str) -> str:
        job = self.jobs[job_id]
        if job.state not in LIVE:
            return "accepted" if job.result == digest else "fenced"
        if job.attempt != attempt or attempt == 0:
            return "fenced"
        self._end(job, "succeeded")
        job.result = digest
        return "accepted"

    def release(self, worker: str, pairs: list[tuple[str, int]]) -> int:
        released = 0
        for job_id, attempt in pairs:
            job = self.jobs[job_id]
            if not self.holds(worker, job_id, attempt):
                continue
            if job.flag:
                self._end(job, job.flag)
            else:
                self._requeue(job)
                released += 1
        return released

    def reap(self) -> int:
        over = [job for job in self.in_state("running") if job.lease_over]
        for job in over:
            if job.flag:
                self._end(job, job.flag)
                continue
            job.losses += 1
            job.solo = job.solo or job.losses >= LOSSES_BEFORE_SOLO
            self._requeue(job)
        for job in self.in_state(*LIVE):
            if job.late and not job.deadline_seen:
                job.deadline_seen = True
                if job.state == "queued":
                    self._end(job, "expired")
                else:
                    job.flag = "expired"
        return len(over)

    def cancel(self, job_id: str) -> str:
        job = self.jobs[job_id]
        if job.state == "queued":
            self._end(job, "cancelled")
        elif job.state == "running":
            job.flag = "cancelled"
        return job.state

    def crash(self, worker: str, pairs: list[tuple[str, int]]) -> set[str]:
        given_up: set[str] = set()
        alone = len(pairs) == 1
        for job_id, attempt in pairs:
            job = self.jobs[job_id]
            if not self.holds(worker, job_id, attempt):
                continue
            if job.flag:
                self._end(job, job.flag)
                continue
            job.solo_crashes += alone and job.solo
            job.solo = True
            if alone and job.solo_crashes >= MAX_SOLO_CRASHES:
                self._end(job, "dead")
                given_up.add(job_id)
            else:
                self._requeue(job)
        return given_up

    def retry(self, job_id: str) -> str:
        job = self.jobs[job_id]
        if job.state == "dead":
            job.solo, job.solo_crashes, job.losses, job.late = True, 0, 0, False
            job.ends -= 1
            self._requeue(job)
        return job.state

    def _requeue(self, job: ModelJob) -> None:
        job.state, job.worker = "queued", ""

    def _end(self, job: ModelJob, state: str) -> None:
        assert job.state in LIVE
        job.state, job.flag = state, ""
        job.ends += 1
