"""`rudolph jobs` and `rudolph dead` on a real queue: what they show, set right, and refuse."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.client.client import JobClient
from jobs.contract.job import JobState
from jobs.redis.embedded import EmbeddedRedis
from tests.cli.conftest import Queue, run_here
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "jobs", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(autouse=True)
def no_url_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUDOLPH_REDIS_URL", raising=False)


async def test_jobs_are_listed_shown_and_counted(queue: Queue) -> None:
    done, waiting = make_job(), make_job(tenant="кто-то")
    for job in (done, waiting):
        await queue.client.submit(job)
    commit(queue.consumer, queue.consumer.claim(1)[0])
    listed = await queue.run("jobs", "list")
    assert waiting.id in listed
    assert "кто-то" in listed
    assert done.id not in listed
    assert done.id in await queue.run("jobs", "list", "succeeded")
    shown = await queue.run("jobs", "show", done.id)
    assert "succeeded" in shown
    assert "attempt    1" in shown
    counted = await queue.run("jobs", "stats")
    assert "waiting 1" in counted
    assert "succeeded  1 in all" in counted


async def test_dead_letters_are_listed_retried_and_purged(queue: Queue) -> None:
    first, second = await queue.add_dead_letter(), await queue.add_dead_letter()
    listed = await queue.run("dead")
    assert first in listed
    assert "-11" in listed
    assert "queued" in await queue.run("jobs", "retry", first)
    assert (await queue.client.status(first)).state is JobState.QUEUED
    assert "not dead" not in await queue.run("jobs", "retry", first)
    assert "error: Dead letters" in await queue.run("jobs", "purge")
    assert "0 deleted" in await queue.run("jobs", "purge", "--yes", "--older-than-s", "60")
    assert "1 deleted" in await queue.run("jobs", "purge", "--yes")
    assert second not in await queue.run("dead")


async def test_job_is_cancelled(queue: Queue) -> None:
    job = make_job()
    await queue.client.submit(job)
    assert "cancelled" in await queue.run("jobs", "cancel", job.id)
    assert "is cancelled, not dead" in await queue.run("jobs", "retry", job.id)


async def test_an_unknown_id_does_not_keep_the_others_from_their_change(queue: Queue) -> None:
    first, last = make_job(), make_job()
    for job in (first, last):
        await queue.client.submit(job)
    said = await queue.run("jobs", "cancel", first.id, "unknown", last.id)
    lines = [f"{first.id} cancelled", "unknown gone", f"{last.id} cancelled"]
    assert said.splitlines() == [*lines, "error: There is no job unknown."]


async def test_filters_choose_the_jobs_that_are_listed_and_cancelled(queue: Queue) -> None:
    mine, other, running = make_job(tenant="a"), make_job(tenant="b"), make_job(tenant="a")
    await queue.client.submit(running)
    queue.consumer.claim(1)
    for job in (mine, other):
        await queue.client.submit(job)
    assert json.loads(await queue.run("jobs", "list", "--json", "--older-than-s", "600")) == []
    listed = json.loads(await queue.run("jobs", "list", "--json", "--tenant", "a", "--task", "text2text"))
    assert [job["id"] for job in listed] == [mine.id]
    assert "error: 2 jobs will be cancelled" in await queue.run("jobs", "cancel", "--tenant", "a")
    assert (await queue.client.status(mine.id)).state is JobState.QUEUED
    done = json.loads(await queue.run("jobs", "cancel", "--tenant", "a", "--json", "--yes"))
    assert done == {mine.id: "cancelled", running.id: "cancelling"}
    assert (await queue.client.status(other.id)).state is JobState.QUEUED
    assert other.id in await queue.run("jobs", "cancel", "--all", "--state", "queued", "--yes")
    assert "no such job" in await queue.run("jobs", "cancel", "--all", "--state", "queued")


async def test_all_dead_letters_of_a_tenant_run_again(queue: Queue) -> None:
    letters = [await queue.add_dead_letter(tenant="a") for _ in range(2)]
    stays = await queue.add_dead_letter(tenant="b")
    assert {letter["id"] for letter in json.loads(await queue.run("dead", "--json"))} == {*letters, stays}
    done = json.loads(await queue.run("jobs", "retry", "--tenant", "a", "--yes", "--json"))
    assert done == dict.fromkeys(letters, "queued")
    assert (await queue.client.status(stays)).state is JobState.DEAD
    assert (await queue.client.signals()).requeued == {"crashed": 6, "retried": 2}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("cancel",), "Name the ids of jobs, a filter"),
        (("cancel", "job", "--tenant", "a"), "Name ids or a filter, not both"),
        (("cancel", "job", "--state", "queued"), "Name ids or --state, not both"),
        (("cancel", "--state", "dead"), "--state must be queued or running; got dead"),
        (("retry",), "Name the ids of jobs, a filter"),
        (("retry", "job", "--all"), "Name ids or a filter, not both"),
    ],
)
async def test_jobs_are_named_by_id_or_by_filter(queue: Queue, words: tuple[str, ...], fault: str) -> None:
    assert fault in await queue.run("jobs", *words)


async def test_unknown_job_and_unknown_queue_are_told_in_one_line(queue: Queue) -> None:
    assert "error: There is no job nobody" in await queue.run("jobs", "show", "nobody")
    name, queue.name = queue.name, "nothing-here"
    assert "has no queue named" in await queue.run("jobs", "stats")
    queue.name = name


async def test_lost_data_are_accepted_only_by_word(queue: Queue, server: RedisServer) -> None:
    with server.client() as redis:
        for key in redis.scan_iter(f"{{{queue.name}}}*", count=1000):
            redis.delete(key)
    assert "has no queue named" in await queue.run("jobs", "stats")
    assert "accepts jobs" in await queue.run("jobs", "accept-data-loss", "--yes")
    assert "waiting 0" in await queue.run("jobs", "stats")


async def test_embedded_server_of_a_data_directory_is_found(tmp_path: Path) -> None:
    assert "No server runs on" in await asyncio.to_thread(
        run_here, ["jobs", "stats", "--data-dir", str(tmp_path)]
    )
    with EmbeddedRedis() as embedded:
        client = await JobClient.connect(embedded.start(tmp_path / "redis"))
        reply = await asyncio.to_thread(run_process, "stats", "--data-dir", str(tmp_path))
        assert "waiting 0" in reply.stdout
        await client.close()
