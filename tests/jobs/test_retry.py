"""The retry policy without I/O: what follows an attempt that failed."""

import time
from collections.abc import Generator
from typing import Any

import pytest
from redis.exceptions import ConnectionError, ResponseError

from jobs.contract.errors import DataLost, OutcomeUnknown, QueueError, QueueFull, QueueUnavailable
from jobs.redis import scripts
from jobs.redis.retry import Reconnect, RetryPolicy, Send, Sleep

CALL = scripts.cancel(job_id="job")
SILENCE, NOT_MASTER = ConnectionError("gone"), ResponseError("READONLY You can't write against a replica")


@pytest.fixture
def policy() -> RetryPolicy:
    policy = RetryPolicy("q")
    policy.set_epoch(b"epoch")
    return policy


def begin(
    policy: RetryPolicy, error: Exception, *, retry_for_s: float = 5.0, ago_s: float = 0.0, **more: Any
) -> Generator[Any, Any, Any]:
    attempt = policy.attempt(CALL)
    attempt.was_sent = more.pop("was_sent", True)
    started_s = time.monotonic() - ago_s
    return policy.retry(CALL, attempt, error, started_s=started_s, retry_for_s=retry_for_s, **more)


def result(run: Generator[Any, Any, Any], reply: Any) -> Any:
    with pytest.raises(StopIteration) as stop:
        run.send((reply, 0))
    return stop.value.value


def test_an_attempt_is_the_script_s_hash_its_arguments_and_the_epoch(policy: RetryPolicy) -> None:
    sha = scripts.load_scripts()["cancel"].sha
    assert policy.attempt(CALL) == Send(("EVALSHA", sha, 1, "{q}:epoch", "job", "epoch"))


def test_a_missing_script_is_sent_whole_at_once(policy: RetryPolicy) -> None:
    run = begin(policy, ResponseError("NOSCRIPT No matching script"))
    text = scripts.load_scripts()["cancel"].text
    assert next(run) == Send(("EVAL", text, 1, "{q}:epoch", "job", "epoch"))
    assert result(run, b"cancelled") == (b"cancelled", 0)


def test_pauses_grow_until_the_time_is_over(policy: RetryPolicy) -> None:
    run = begin(policy, SILENCE)
    pauses: list[float] = []
    step = next(run)
    for _ in range(8):
        assert step == Reconnect(has_answered=False)
        pause = next(run)
        assert isinstance(pause, Sleep)
        pauses.append(pause.seconds)
        assert isinstance(next(run), Send)
        step = run.throw(SILENCE)
    assert pauses == [0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.3, 0.3]


def test_one_retry_is_made_although_the_first_attempt_took_all_the_time(policy: RetryPolicy) -> None:
    run = begin(policy, SILENCE, ago_s=6.0)
    assert next(run) == Reconnect(has_answered=False)
    assert next(run) == Sleep(0.0)
    assert isinstance(next(run), Send)
    with pytest.raises(QueueUnavailable, match=r"The queue cannot be reached\. Try again soon\."):
        run.throw(SILENCE)


def test_none_is_made_where_none_was_asked_for(policy: RetryPolicy) -> None:
    with pytest.raises(QueueUnavailable):
        next(begin(policy, SILENCE, retry_for_s=0.0))


@pytest.mark.parametrize(
    ("error", "was_sent", "is_write", "expected"),
    [
        (SILENCE, True, True, OutcomeUnknown),
        (SILENCE, False, True, QueueUnavailable),
        (SILENCE, True, False, QueueUnavailable),
        (NOT_MASTER, True, True, QueueUnavailable),
    ],
)
def test_only_a_write_that_was_sent_and_got_no_answer_has_an_unknown_outcome(
    policy: RetryPolicy, error: Exception, was_sent: bool, is_write: bool, expected: type[QueueError]
) -> None:
    with pytest.raises(expected) as raised:
        next(begin(policy, error, retry_for_s=0.0, was_sent=was_sent, is_write=is_write))
    assert type(raised.value) is expected


def test_a_lost_reply_is_not_forgotten_by_an_error_reply_after_it(policy: RetryPolicy) -> None:
    run = begin(policy, SILENCE, ago_s=6.0, is_write=True)
    assert [type(next(run)) for _ in range(3)] == [Reconnect, Sleep, Send]
    with pytest.raises(OutcomeUnknown):
        run.throw(NOT_MASTER)


def test_a_loss_of_the_data_leaves_a_mark_and_is_not_retried(policy: RetryPolicy) -> None:
    run = begin(policy, ResponseError("NOEPOCH the data of this queue are gone"))
    assert next(run) == Send(("SET", "{q}:lost", "epoch"))
    with pytest.raises(DataLost):
        run.send((b"OK", 0))


def test_another_epoch_is_adopted_if_an_operator_accepted_the_loss(policy: RetryPolicy) -> None:
    run = begin(policy, ResponseError("NEWEPOCH other"))
    assert next(run) == Send(("SISMEMBER", "{q}:forgiven", "epoch"))
    assert run.send((1, 0)) == Send(("GET", "{q}:epoch"))
    again = run.send((b"other", 0))
    assert again.command[-1] == "other"
    assert result(run, b"queued") == (b"queued", 0)


def test_another_epoch_is_refused_otherwise(policy: RetryPolicy) -> None:
    run = begin(policy, ResponseError("NEWEPOCH other"))
    next(run)
    with pytest.raises(DataLost):
        run.send((0, 0))


def test_an_unknown_epoch_is_learnt_with_the_first_script() -> None:
    policy = RetryPolicy("q")
    assert policy.attempt(CALL).command[-1] == ""
    run = begin(policy, ResponseError("NEWEPOCH epoch"))
    assert next(run) == Send(("GET", "{q}:epoch"))
    assert run.send((b"epoch", 0)).command[-1] == "epoch"


def test_a_queue_without_an_epoch_is_not_initialised() -> None:
    run = begin(RetryPolicy("q"), ResponseError("NOEPOCH the data of this queue are gone"))
    with pytest.raises(QueueUnavailable, match="has not been initialised yet"):
        next(run)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("OOM command not allowed when used memory > 'maxmemory'", QueueFull), ("ERR unknown", QueueError)],
)
def test_other_errors_are_raised_at_once(policy: RetryPolicy, text: str, expected: type[QueueError]) -> None:
    with pytest.raises(expected) as raised:
        next(begin(policy, ResponseError(text)))
    assert type(raised.value) is expected
