"""What can go wrong at the queue. Status codes for these live in app.errors, nowhere else.

QueueError
├── AdmissionError            (has retry_after_s)
│   ├── QueueFull             the whole server is at its depth or byte limit
│   └── TenantQuotaExceeded   this tenant is at its own limit
├── IdempotencyConflict       same key, another request
├── OutcomeUnknown            the write was sent but not confirmed; retry with the same key
├── QueueUnavailable          Redis cannot be reached, or has lost its data
├── JobNotFound
├── LeaseLost                 the attempt no longer holds
└── CodecError                bytes that this version cannot read
"""


class QueueError(Exception):
    """Base of everything the queue raises; the message is fit for a client."""


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
    pass


class DataLost(QueueUnavailable):
    pass


class JobNotFound(QueueError):
    pass


class LeaseLost(QueueError):
    pass


class CodecError(QueueError):
    pass
