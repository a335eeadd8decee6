"""Names of the queue's keys. All carry one hash tag, so that every script stays in one Cluster slot.

{queue}:epoch             STRING  identity of this queue's data; missing means that the data are lost
{queue}:lost              STRING  epoch that some process saw before the data vanished
{queue}:forgiven          SET     lost epochs that an operator has acknowledged
{queue}:boot              HASH    run_id of the server and since when we know it (grace after a restart)
{queue}:ready             ZSET    queued jobs: priority·2^40 + virtual start tag of the tenant + arrival
{queue}:sequence          STRING  jobs accepted so far
{queue}:leases            ZSET    running jobs: end of lease
{queue}:deadlines         ZSET    live jobs that have one: deadline
{queue}:done              ZSET    jobs in a terminal state other than dead: when their record goes
{queue}:dead              ZSET    dead letters: since when
{queue}:job:<id>          HASH    everything small about a job
{queue}:in:<id>           STRING  the encoded Job, pictures as raw bytes
{queue}:res:<id>          STRING  the encoded Outcome
{queue}:idem:<tenant>:<h> STRING  id of the job that owns an idempotency key
{queue}:tenant:<tenant>   HASH    jobs, bytes, and tag (end of its last job in virtual time)
{queue}:quota:<name>      HASH    units left and when that was; expires when it is full again
{queue}:virtual           STRING  virtual time: the largest start tag claimed so far
{queue}:bytes             STRING  input bytes of queued and running jobs
{queue}:held:<worker>     HASH    job → attempt
{queue}:consumer:<worker> HASH    last claim and its answer, time of the last commit
{queue}:worker:<worker>   STRING  heartbeat; {queue}:workers ZSET when each heartbeat ends
{queue}:service           STRING  mean service time; {queue}:totals HASH jobs by terminal state
{queue}:ev                STREAM  events, capped; {queue}:wake LIST tokens for idle workers
"""

import hashlib


def prefix(queue: str) -> str:
    """What every key of a queue begins with."""
    if not queue or any(character in queue for character in "{} \n"):
        raise ValueError(f"not a queue name: {queue!r}")
    return f"{{{queue}}}:"


def epoch(queue: str) -> str:
    return prefix(queue) + "epoch"


def events(queue: str) -> str:
    return prefix(queue) + "ev"


def wake(queue: str) -> str:
    return prefix(queue) + "wake"


def result(queue: str, job_id: str) -> str:
    return f"{prefix(queue)}res:{job_id}"


def idempotency_suffix(tenant: str, key: str) -> str:
    """The client's key is hashed: it may be long, and it is nobody's business."""
    return f"idem:{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"
