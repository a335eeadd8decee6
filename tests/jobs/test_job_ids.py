"""An id shows when it was made, so an unknown new job is not answered as one that does not exist."""

import time
import uuid

import pytest

from jobs.client.client import JobClient
from jobs.contract.errors import JobNotFound, QueueUnavailable
from jobs.contract.job_ids import is_younger, new_job_id


def _id_made_at(time_s: float) -> str:
    return f"job_{int(time_s * 1000):012x}{new_job_id()[16:]}"


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_it() -> None:
    before = time.time()
    ids = [new_job_id() for _ in range(1000)]
    after = time.time()
    assert len(set(ids)) == 1000
    for job_id in ids:
        made = uuid.UUID(job_id.removeprefix("job_"))
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert before - 0.001 <= (made.int >> 80) / 1000 <= after


@pytest.mark.parametrize(
    ("age_s", "younger"), [(0, True), (14, True), (16, False), (-14, True), (-16, False)]
)
def test_the_age_of_an_id(age_s: float, younger: bool) -> None:
    assert is_younger(_id_made_at(time.time() - age_s), 15) is younger


def test_an_id_without_a_time_has_no_age() -> None:
    now = new_job_id()
    for job_id in ("", "x", now + "0", now[4:], now.upper(), f"job_{uuid.uuid4().hex}"):
        assert not is_younger(job_id, 15)


async def test_an_unknown_new_job_is_unavailable_and_an_old_one_does_not_exist(client: JobClient) -> None:
    """An old primary without knowledge of its successor does not know the job."""
    for call in (client.status, client.report, client.cancel):
        with pytest.raises(QueueUnavailable, match="a few seconds old"):
            await call(new_job_id())
        with pytest.raises(JobNotFound):
            await call(_id_made_at(time.time() - 60))
