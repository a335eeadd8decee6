"""The Lua scripts against a model of one page, call by call, in orders that Hypothesis makes up."""

import asyncio

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.report import OnProgress, Report, Scale
from tests.jobs.test_state_machine import QueueMachine
from tests.support.redis_servers import RedisServer

_CALLS_IN_A_STORY = 40


async def scripts_against_the_model(scale: Scale, progress: OnProgress) -> Report:
    """Submissions, claims, crashes, lost answers in any order: one terminal state each, set once."""
    report = Report()
    stories = 0

    class Counted(QueueMachine):
        def teardown(self) -> None:
            nonlocal stories
            stories += 1
            progress("stories", stories, scale.jobs)
            report.figures["jobs"] = report.figures.get("jobs", 0) + self.num_jobs
            super().teardown()

    with RedisServer(appendonly="no") as server:
        Counted.url = server.url
        await asyncio.to_thread(
            run_state_machine_as_test,
            Counted,
            settings=settings(
                max_examples=scale.jobs,
                stateful_step_count=_CALLS_IN_A_STORY,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    report.figures["stories"] = stories
    report.mark("as many stories as asked for", stories >= scale.jobs)
    return report
