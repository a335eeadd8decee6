"""A reader of a job's events who was there before the job, so that none is missed before a stream begins."""

from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, contextmanager

from starlette.requests import Request

from app.services import principal_of, services_of
from jobs.client import JobClient
from jobs.events import Event


class Listening:
    """A place among the open streams, and the events of the job that is about to be submitted."""

    def __init__(self, client: JobClient, stack: ExitStack) -> None:
        self._client = client
        self._stack = stack
        self._job_id: str | None = None
        self._heard: AsyncGenerator[Event] | None = None

    def expect(self, job_id: str) -> None:
        """Call it right before the job is submitted."""
        self._heard = self._stack.enter_context(self._client.expect(job_id))
        self._job_id = job_id

    def events(self, job_id: str) -> AsyncGenerator[Event]:
        """All events of the expected job; of any other, which was there already, those from now on."""
        if self._heard is not None and job_id == self._job_id:
            return self._heard
        return self._client.events(job_id)

    def close(self) -> None:
        self._stack.close()


@contextmanager
def listening(request: Request, *, wanted: bool) -> Generator[Listening | None]:
    """A listener if one is wanted. It outlives the block, for the stream to close; an error closes it here.

    Raises ApiError 429 or 503 when too many streams are open, before anything is submitted.
    """
    if not wanted:
        yield None
        return
    services, tenant = services_of(request), principal_of(request).tenant
    services.streams.acquire(tenant)
    stack = ExitStack()
    stack.callback(services.streams.release, tenant)
    try:
        yield Listening(services.client, stack)
    except BaseException:
        stack.close()
        raise
