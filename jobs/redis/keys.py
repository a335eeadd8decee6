"""Names of the queue's keys. All have one hash tag, so that every script stays in one Cluster slot.

{queue}:epoch             STRING  identity of this queue's data; missing means that the data are lost.
{queue}:lost              STRING  epoch that a process saw before the data were lost.
{queue}:forgiven          SET     lost epochs that an operator has acknowledged.
{queue}:boot              HASH    run_id of the server and since when it has the queue (grace after a
                                  restart or a failover).
{queue}:ready             ZSET    queued jobs: priority·2^40 + virtual start tag of the tenant + arrival.
{queue}:sequence          STRING  jobs accepted so far.
{queue}:parked            ZSET    queued jobs of another model than the workers'; scores as in `ready`.
{queue}:model             STRING  model of the workers, name@revision; expires with their heartbeats.
{queue}:last_model        STRING  the model before it, or the same.
{queue}:unreadable        STRING  records that no script could read and all passed over.
{queue}:leases            ZSET    running jobs: end of lease.
{queue}:deadlines         ZSET    live jobs that have one: deadline.
{queue}:done              ZSET    jobs in a terminal state other than dead, and purged dead letters: when
                                  their record expires. An entry outlives the record by five minutes.
{queue}:dead              ZSET    dead letters: time of death.
{queue}:job:<id>          HASH    everything small about a job.
{queue}:in:<id>           STRING  the encoded Job, images as raw bytes.
{queue}:res:<id>          STRING  the encoded Outcome.
{queue}:idem:<tenant>:<h> STRING  id of the job that owns an idempotency key.
{queue}:tenant:<tenant>   HASH    jobs, bytes, and tag (end of its last job in virtual time).
{queue}:quota:<name>      HASH    units left and at what time; expires when the bucket is full.
{queue}:virtual           STRING  virtual time: the largest start tag claimed so far.
{queue}:bytes             STRING  input bytes of queued and running jobs.
{queue}:held:<worker>     HASH    job → attempt.
{queue}:consumer:<worker> HASH    last claim and its answer, time of the last commit.
{queue}:worker:<worker>   STRING  heartbeat; {queue}:workers ZSET when each heartbeat ends.
{queue}:described         STRING  heartbeat of the worker whose model the API used last, without its metrics.
{queue}:paused            HASH    since, reason; while it exists, no worker claims a job.
{queue}:drain:<worker>    STRING  an operator drains the worker.
{queue}:slots             HASH    host and index of a worker → id of its last process.
{queue}:starts            HASH    host and index of a worker → number of its processes so far.
{queue}:ends              HASH    slot and reason → processes that ended unasked.
{queue}:requeued          HASH    reason → jobs that went back to the queue.
{queue}:service           STRING  mean service time; {queue}:totals HASH jobs by terminal state.
{queue}:ev                STREAM  events, capped; {queue}:wake LIST tokens for idle workers.
"""

import hashlib


def prefix(queue: str) -> str:
    """Return the prefix of all keys of a queue. Raises ValueError for a wrong name."""
    if not queue or any(character in queue for character in "{} \n"):
        raise ValueError(f"The queue name {queue!r} is empty or has a brace or a space. Choose another name.")
    return f"{{{queue}}}:"


def epoch(queue: str) -> str:
    return prefix(queue) + "epoch"


def lost(queue: str) -> str:
    return prefix(queue) + "lost"


def events(queue: str) -> str:
    return prefix(queue) + "ev"


def wake(queue: str) -> str:
    return prefix(queue) + "wake"


def result(queue: str, job_id: str) -> str:
    return f"{prefix(queue)}res:{job_id}"


def idempotency_suffix(tenant: str, key: str) -> str:
    """Return the key's name without the prefix. The client's key is hashed: it may be long or secret."""
    return f"idem:{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"
