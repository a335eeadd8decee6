"""Why a job cannot be done, as far as only the loaded model can tell."""

from jobs.results import JobFailure


class Refused(Exception):
    """The job fails with this code; the message is fit for a client, `param` names the field."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.failure = JobFailure(code, message, param)
