"""The retry policy of scripts, for the blocking and the asyncio transport. Does no I/O.

A transport sends the first attempt of a script. If that fails, it carries out the steps that `retry` yields,
such as sending a command or sleeping. It sends the result of a step into the generator, or throws the error.
The generator returns the script's reply.

The policy also guards the epoch, the identity of a queue's data. A process that knows an epoch and finds it
missing raises DataLost. It also leaves a mark, so that a later start does not take the emptied server for a
new one.
"""

import asyncio
import logging
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from redis.exceptions import RedisClusterException, RedisError, ResponseError

from jobs.contract.errors import NotPermitted, OutcomeUnknown, QueueUnavailable
from jobs.redis import keys
from jobs.redis.causes import describe_error, missing_rights
from jobs.redis.redis_errors import ErrorClass, classify_error, permanent_error
from jobs.redis.scripts import Argument, Call, Reply, load_scripts

ERRORS: Final = (RedisError, RedisClusterException, OSError, asyncio.IncompleteReadError, TimeoutError)
"""What a transport throws into a run. Everything else, cancellation too, ends the run."""
_PAUSES_S: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
_NOT_INITIALISED: Final = "The queue has not been initialised yet. Start the API first."
_log = logging.getLogger(__name__)

NumReplicas = int | Literal["all"]
"""`all`: every replica that is connected to the primary at the time of the write, possibly none."""


@dataclass(slots=True)
class Send:
    """Send one command and read its reply; with `replicas`, send WAIT with it.

    The result is the reply and the number of replicas that did not confirm it in time. `was_sent` is set by
    the transport before the first byte leaves: an error after that may mean that the command ran.
    """

    command: tuple[Argument, ...]
    replicas: NumReplicas = 0
    replica_timeout_ms: int = 0
    was_sent: bool = False
    script: str = field(default="", compare=False)
    """Name of the script that the command runs; empty for a plain command."""

    @property
    def name(self) -> str:
        """The script's name, in lower case, or the plain command's, in capitals."""
        return self.script or str(self.command[0])


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Find the master again. `has_answered`: the server answered, but it cannot serve."""

    has_answered: bool


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


Step = Send | Reconnect | Sleep
Run = Generator[Step, Any, Reply]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Number of replicas that must have a write, and the time that the server waits for them."""

    replicas: NumReplicas = 0
    timeout_ms: int = 0


UNCONFIRMED: Final = Confirmation()


class RetryPolicy:
    """The retries of one queue's scripts. Its only state is the epoch."""

    def __init__(self, queue: str) -> None:
        self._prefix = keys.prefix(queue)
        self._epoch_key = keys.epoch(queue)
        self._epoch: str | None = None
        self._reported_loss: str | None = None
        """The epoch whose loss was logged last."""

    def set_epoch(self, reply: bytes) -> None:
        """Keep the epoch that scripts.initialise returned."""
        self._epoch = reply.decode()

    def attempt(
        self, call: Call[Any], confirmation: Confirmation = UNCONFIRMED, *, use_eval: bool = False
    ) -> Send:
        """Return one attempt of a script. While the epoch is unknown, the script replies with an error."""
        script = load_scripts()[call.script]
        head = ("EVAL", script.text) if use_eval else ("EVALSHA", script.sha)
        tail = (self._epoch or "",) if script.needs_epoch else ()
        return Send(
            (*head, 1, self._epoch_key, *call.arguments, *tail),
            confirmation.replicas,
            confirmation.timeout_ms,
            script=call.script,
        )

    def retry(
        self,
        call: Call[Reply],
        failed: Send,
        error: Exception,
        *,
        started_s: float,
        retry_for_s: float,
        confirmation: Confirmation = UNCONFIRMED,
        is_write: bool = False,
    ) -> Run[tuple[Reply, int]]:
        """Continue after the attempt `failed` failed with `error`. Returns the reply and the number
        of missing confirmations.

        Raises QueueUnavailable after `retry_for_s` from `started_s` (monotonic) without a reply. Retries at
        least once unless `retry_for_s` is 0. Raises OutcomeUnknown instead if `is_write` and the script may
        have run.
        """
        give_up_at = started_s + retry_for_s
        use_eval = may_have_run = False
        num_retries = 0
        while True:
            error_class = classify_error(error)
            if error_class is ErrorClass.SCRIPT_MISSING:
                use_eval = True
            elif error_class is ErrorClass.OTHER_EPOCH and (yield from self._adopt_epoch()):
                pass
            elif error_class is ErrorClass.RETRYABLE:
                has_answered = isinstance(error, ResponseError)
                # An error reply says that the script wrote nothing; a lost reply leaves that open.
                may_have_run |= failed.was_sent and not has_answered
                if time.monotonic() >= give_up_at and (num_retries > 0 or retry_for_s == 0):
                    if may_have_run and is_write:
                        raise OutcomeUnknown(
                            "The queue did not answer. Retry with the same idempotency key."
                        ) from error
                    raise QueueUnavailable(reason=describe_error(error)) from error
                yield Reconnect(has_answered)
                yield Sleep(_PAUSES_S[min(num_retries, len(_PAUSES_S) - 1)])
                num_retries += 1
            else:
                if error_class is ErrorClass.DATA_LOST:
                    yield from self._mark_loss()
                if error_class is ErrorClass.FORBIDDEN and (names := (yield from self._probe())):
                    raise NotPermitted(missing_rights(names)) from error
                is_known = self._epoch is not None or not load_scripts()[call.script].needs_epoch
                if error_class in (ErrorClass.DATA_LOST, ErrorClass.OTHER_EPOCH) and not is_known:
                    raise QueueUnavailable(_NOT_INITIALISED) from error
                raise permanent_error(error_class, error) from error
            failed = self.attempt(call, confirmation, use_eval=use_eval)
            try:
                return (yield failed)
            except ERRORS as next_error:
                error = next_error

    def check_rights(self, missing: list[bytes], *, replicas: NumReplicas = 0) -> Run[tuple[None, int]]:
        """Try the commands that no script can try. `missing`: the reply of scripts.probe.

        Raises NotPermitted that names every command which the user may not run, and QueueUnavailable.
        """
        names = [name.decode() for name in missing]
        # A queue's epoch is a string, so BLPOP returns at once, with an error.
        commands: list[tuple[Argument, ...]] = [
            ("EVAL", "return 1", 1, self._epoch_key),
            ("BLPOP", self._epoch_key, 0.01),
        ]
        if replicas:
            commands.append(("WAIT", 0, 1))
        if replicas == "all":
            commands.append(("ROLE",))
        for command in commands:
            try:
                yield Send(command)
            except ERRORS as error:
                match classify_error(error):
                    case ErrorClass.FORBIDDEN:
                        names.append(str(command[0]))
                    case ErrorClass.RETRYABLE:
                        raise QueueUnavailable(reason=describe_error(error)) from error
                    case _:
                        continue
        if names:
            raise NotPermitted(missing_rights(names))
        return None, 0

    def _probe(self) -> Run[list[str]]:
        """Return the commands that the user may not run; none if that cannot be found out."""
        try:
            missing, _ = yield Send(("EVAL", load_scripts()["probe"].text, 1, self._epoch_key))
        except ERRORS:
            return []
        return [name.decode() for name in missing]

    def _adopt_epoch(self) -> Run[bool]:
        """Accept the data of another epoch if an operator has acknowledged the loss of ours."""
        try:
            if self._epoch is not None:
                forgiven, _ = yield Send(("SISMEMBER", self._prefix + "forgiven", self._epoch))
                if not forgiven:
                    return False
            found, _ = yield Send(("GET", self._epoch_key))
        except ERRORS:
            return False
        self._epoch = found.decode() if found else None
        return found is not None

    def _mark_loss(self) -> Run[None]:
        if self._epoch is None:
            return
        if self._reported_loss != self._epoch:
            _log.error("The data of queue %s are lost; see `rudolph jobs accept-data-loss`.", self._prefix)
            self._reported_loss = self._epoch
        try:
            yield Send(("SET", self._prefix + "lost", self._epoch))
        except ERRORS:
            return
