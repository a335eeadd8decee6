"""The refusal of a job by a rule that needs the loaded model."""

from jobs.contract.results import JobFailure


class Refused(Exception):
    """The job fails with this code and message. `param` names the field. The client sees both."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.failure = JobFailure(code, message, param)
