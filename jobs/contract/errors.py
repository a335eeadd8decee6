"""Errors of the queue. Status codes for these are in app.errors, nowhere else.

QueueError
├── AdmissionError            (has retry_after_s)
│   ├── QueueFull             the whole server is at its depth or byte limit
│   └── TenantQuotaExceeded   this tenant is at its own limit
├── IdempotencyConflict       same key, another request
├── OutcomeUnknown            the write was sent but not confirmed; retry with the same key
├── QueueUnavailable          Redis cannot be reached
│   ├── DataLost              Redis has lost the queue's data
│   ├── NotPermitted          Redis refuses the user, or a command that the queue needs
│   └── NoServerFits          no server program here can serve the data directory
├── OtherModel                the workers of the queue have another model than this worker
├── JobNotFound               the id was never used, or the job's time to live ended
└── CodecError                bytes that this version cannot read
"""


class QueueError(Exception):
    """Base of everything the queue raises; the message is a sentence for the client."""


class AdmissionError(QueueError):
    """The job was refused whole; nothing was written."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(AdmissionError):
    pass


class TenantQuotaExceeded(AdmissionError):
    pass


class IdempotencyConflict(QueueError):
    pass


class OutcomeUnknown(QueueError):
    pass


class QueueUnavailable(QueueError):
    def __init__(
        self, message: str = "The queue cannot be reached. Try again soon.", *, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self._reason = reason

    @property
    def reason(self) -> str:
        """What is wrong and what to do, for operators. It names no address."""
        return self._reason or str(self)


class DataLost(QueueUnavailable):
    pass


class NotPermitted(QueueUnavailable):
    pass


class NoServerFits(QueueUnavailable):
    pass


class OtherModel(QueueError):
    pass


class JobNotFound(QueueError):
    pass


class CodecError(QueueError):
    pass
