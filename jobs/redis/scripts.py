"""The Lua scripts of the queue, one typed function per script. The head of each script says what it does.

The parameters of each function have the names and the order of the script's ARGV (a test compares them).
A function returns a Call, which a transport sends; the type parameter of the Call is the reply.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Generic, TypeVar

Argument = str | bytes | int | float
Reply = TypeVar("Reply")
Record = list[list[bytes] | bytes | None]
"""A job's record: jobs ahead of it or empty, its fields and values, and for `report` its encoded outcome."""

_WITHOUT_COMMON_PART = frozenset({"initialise", "probe"})


@dataclass(frozen=True)
class Script:
    """One script, ready for EVALSHA (by `sha`) or EVAL (by `text`)."""

    name: str
    text: str
    sha: str
    needs_epoch: bool
    """Whether the last argument is the epoch. The common part requires it."""


@dataclass(slots=True)  # not frozen: that would double the time to make one
class Call(Generic[Reply]):
    """A script and its arguments, without the epoch."""

    script: str
    arguments: tuple[Argument, ...]


@cache
def load_scripts() -> dict[str, Script]:
    """Return every script of `lua/` by name, with the common part in front."""
    texts = {
        file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
        for file in resources.files("jobs.redis").joinpath("lua").iterdir()
        if file.name.endswith(".lua")
    }
    common = texts.pop("common")
    return {name: _script(name, common, text) for name, text in texts.items()}


def _script(name: str, common: str, text: str) -> Script:
    needs_epoch = name not in _WITHOUT_COMMON_PART
    full_text = f"{common}\n{text}" if needs_epoch else text
    sha = hashlib.sha1(full_text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, full_text, sha, needs_epoch)


def cancel(*, job_id: str) -> Call[bytes | None]:
    return Call("cancel", (job_id,))


def capacity(
    *,
    tenant: str,
    num_bytes: int,
    max_depth: int,
    max_bytes: int,
    tenant_max_jobs: int,
    tenant_max_bytes: int,
    idempotency_suffix: str,
) -> Call[list[bytes]]:
    limits = (max_depth, max_bytes, tenant_max_jobs, tenant_max_bytes)
    return Call("capacity", (tenant, num_bytes, *limits, idempotency_suffix))


def claim(
    *, worker: str, session: str, number: int, limit: int, lease_s: float, model: str
) -> Call[list[list[bytes]]]:
    return Call("claim", (worker, session, number, limit, lease_s, model))


def commit(
    *,
    job_id: str,
    attempt: int,
    digest: str,
    state: str,
    outcome: bytes,
    code: str,
    message: str,
    worker: str,
    model: str,
    compute_s: float,
) -> Call[bytes]:
    return Call("commit", (job_id, attempt, digest, state, outcome, code, message, worker, model, compute_s))


def confirmable_result(*, job_id: str) -> Call[bytes | None]:
    return Call("confirmable_result", (job_id,))


def count_end(*, worker: str, reason: str) -> Call[int]:
    return Call("count_end", (worker, reason))


def crash(*, worker: str, code: str, message: str, held: Mapping[str, int]) -> Call[list[bytes]]:
    return Call("crash", (worker, code, message, *_pairs(held)))


def drain(*, worker: str) -> Call[int]:
    return Call("drain", (worker,))


def fleet() -> Call[list[tuple[bytes, bytes, bytes, bytes]]]:
    return Call("fleet", ())


def heartbeat(*, worker: str, info: bytes, ttl_s: float, model: str) -> Call[tuple[bytes, bytes]]:
    return Call("heartbeat", (worker, info, ttl_s, model))


def initialise(*, new_epoch: str, accept_loss: bool) -> Call[bytes]:
    return Call("initialise", (new_epoch, int(accept_loss)))


def keep_model(*, worker_info: bytes) -> Call[int]:
    return Call("keep_model", (worker_info,))


def kept_model() -> Call[bytes | None]:
    return Call("kept_model", ())


def list_jobs(*, state: str, limit: int) -> Call[list[bytes]]:
    return Call("list_jobs", (state, limit))


def pause(*, reason: str) -> Call[int]:
    return Call("pause", (reason,))


def primary_age() -> Call[bytes]:
    return Call("primary_age", ())


def probe() -> Call[list[bytes]]:
    return Call("probe", ())


def publish(*, job_id: str, attempt: int, body: bytes, is_progress: bool) -> Call[int]:
    return Call("publish", (job_id, attempt, body, int(is_progress)))


def purge(*, limit: int, min_age_s: float) -> Call[int]:
    return Call("purge", (limit, min_age_s))


def quota(*, name: str, per_minute: int, amount: int) -> Call[tuple[bytes, bytes]]:
    return Call("quota", (name, per_minute, amount))


def reap(*, limit: int, grace_s: float) -> Call[int]:
    return Call("reap", (limit, grace_s))


def release(*, worker: str, held: Mapping[str, int]) -> Call[int]:
    return Call("release", (worker, *_pairs(held)))


def renew(*, worker: str, lease_s: float, held: Mapping[str, int]) -> Call[tuple[list[bytes], list[bytes]]]:
    return Call("renew", (worker, lease_s, *_pairs(held)))


def report(*, job_id: str) -> Call[Record | None]:
    return Call("report", (job_id,))


def restore_result(
    *, job_id: str, digest: str, state: str, outcome: bytes, code: str, message: str, worker: str, model: str
) -> Call[bytes | None]:
    return Call("restore_result", (job_id, digest, state, outcome, code, message, worker, model))


def resume() -> Call[int]:
    return Call("resume", ())


def retry(*, job_id: str) -> Call[bytes | None]:
    return Call("retry", (job_id,))


def signals() -> Call[tuple[bytes, bytes, bytes, list[bytes], list[bytes], list[bytes], list[bytes]]]:
    return Call("signals", ())


def states(*, job_ids: Iterable[str]) -> Call[list[bytes]]:
    return Call("states", tuple(job_ids))


def stats() -> Call[tuple[bytes, bytes, bytes, bytes, bytes, bytes, list[bytes], bytes, bytes, list[bytes]]]:
    return Call("stats", ())


def status(*, job_id: str) -> Call[Record | None]:
    return Call("status", (job_id,))


def submit(
    *,
    job_id: str,
    idempotency_suffix: str,
    digest: str,
    body: bytes,
    tenant: str,
    task: str,
    priority: int,
    num_sequences: int,
    deadline_s: float | None,
    ttl_s: int,
    synchronous: bool,
    model_revision: str,
    max_depth: int,
    max_bytes: int,
    tenant_max_jobs: int,
    tenant_max_bytes: int,
    again: bool,
) -> Call[list[bytes]]:
    deadline = "" if deadline_s is None else deadline_s
    return Call(
        "submit",
        (
            job_id, idempotency_suffix, digest, body, tenant, task, priority, num_sequences, deadline, ttl_s,
            int(synchronous), model_revision, max_depth, max_bytes, tenant_max_jobs, tenant_max_bytes,
            int(again),
        ),
    )  # fmt: skip


def workers() -> Call[list[tuple[bytes, bytes]]]:
    return Call("workers", ())


def _pairs(held: Mapping[str, int]) -> Iterable[Argument]:
    for job_id, attempt in held.items():
        yield job_id
        yield attempt
