"""Every alert is provoked for real: a real Prometheus scrapes a real API with real workers and a real Redis.

The rules are those of the compose file, with minutes that take a few seconds. A scene provokes alerts on a
server of its own. Scenes mostly wait, so several are played at once.
"""

import asyncio
import contextlib
import functools
import os
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest
import yaml

from jobs.client.client import JobClient
from jobs.worker.consumer import JobConsumer
from tests.faults.fleet import Fleet
from tests.faults.http_server import ApiProcess, api_process
from tests.monitoring.prometheus import CONFIG, TIMEOUT_S, Prometheus, prometheus
from tests.support.fake_nvml import HEALTHY, THERMAL_SLOWDOWN, UUID, FakeNvml
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import make_worker
from tests.support.servers import ROOT

MAX_DEPTH = 10
SCENES_AT_ONCE = 4
MINUTE_S = 2.0
"""Length of a minute in the rules."""
LONG_MINUTE_S = 10.0
"""Where no alert may fire: a busy machine may answer Prometheus late for less than this."""


@dataclass
class Stage:
    """A healthy server of its own for each test."""

    redis: RedisServer
    replica: RedisServer
    api: ApiProcess
    queue: str
    directory: Path
    prometheus: Prometheus

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.api.port}"

    def post(self, prompt: str = "кот", *, path: str = "/v1/jobs") -> int:
        body: dict[str, object] = {"prompt": prompt, "seed": 1}
        if path == "/v1/jobs":
            body = {"task": "text2text", "input": body}
        return httpx.post(f"http://{self.address}{path}", json=body, timeout=60).status_code

    @contextlib.contextmanager
    def workers(self, **options: object) -> Generator[Fleet]:
        """Workers that are replaced when they die."""
        options = {"size": 1, "lease_s": 2.0, "heartbeats": True, "steps": 1, "watchdog_s": 3600} | options
        fleet = Fleet(self.redis.url, self.queue, self.directory, **options)  # type: ignore[arg-type]
        stopping = threading.Event()

        def tend() -> None:
            while not stopping.wait(0.1):
                fleet.tend()

        thread = threading.Thread(target=tend)
        thread.start()
        try:
            self.until(lambda: self.value("rudolph_workers_live") >= 1)
            yield fleet
        finally:
            stopping.set()
            thread.join()
            fleet.stop()

    def value(self, name: str) -> float:
        text = httpx.get(f"http://{self.address}/metrics", timeout=10).text
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


@contextlib.contextmanager
def open_stage(directory: Path, minute_s: float) -> Generator[Stage]:
    """Start a healthy server. minute_s: length of a minute in the rules."""
    queue = f"alerts-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        data = directory / "redis"
        data.mkdir()
        options = {"repl_diskless_sync_delay": 0, "repl_ping_replica_period": 1}
        redis = stack.enter_context(RedisServer(data, **options))
        replica = stack.enter_context(RedisServer(replicaof=f"127.0.0.1 {redis.port}", **options))
        api = stack.enter_context(api_process(redis.url, queue, max_queue_depth=MAX_DEPTH))
        place = directory / "prometheus"
        place.mkdir()
        running = stack.enter_context(prometheus(place, f"127.0.0.1:{api.port}", minute_s=minute_s))
        opened = Stage(redis, replica, api, queue, directory, running)
        opened.until(lambda: running.has_data("rudolph_redis_replicas == 1"))
        yield opened


Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[Scene, float]] = {}
"""The scenes by name, each with the length of its minutes; long ones first."""


def scene(function: Scene, minute_s: float = MINUTE_S) -> Scene:
    """Make a test of a scene."""
    SCENES[function.__name__] = function, minute_s
    return function


def _play(name: str, directory: Path) -> None:
    play, minute_s = SCENES[name]
    with open_stage(directory, minute_s) as stage:
        play(stage)


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[dict[str, Future[None]]]:
    """Play the scenes of all chosen tests."""
    items = [item for item in request.session.items if item.path == request.path]
    chosen = [name for name in SCENES if any(f"[{name}]" in item.name for item in items)]
    with ThreadPoolExecutor(SCENES_AT_ONCE) as pool:
        yield {name: pool.submit(_play, name, tmp_path_factory.mktemp(name)) for name in chosen}


@functools.partial(scene, minute_s=LONG_MINUTE_S)
def no_alert_fires_while_jobs_are_done(stage: Stage) -> None:
    with stage.workers():
        ends_at = time.monotonic() + 15
        while time.monotonic() < ends_at:
            assert stage.post(path="/v1/text2text") == 200
            assert stage.prometheus.firing() == set()
        assert all(rule["health"] == "ok" for rule in stage.prometheus.rules())


@scene
def api_that_is_away_and_one_that_no_discovery_finds(stage: Stage) -> None:
    stage.prometheus.scrape()
    stage.prometheus.wait_for("RudolphApiGone")
    stage.prometheus.scrape(stage.address)
    stage.prometheus.wait_for("RudolphApiGone", firing=False)
    stage.api.process.kill()
    stage.prometheus.wait_for("RudolphApiDown")
    stage.prometheus.wait_for("RudolphApiGone")


@scene
def queue_without_workers_is_stuck_full_and_answers_errors(stage: Stage) -> None:
    with stage.workers():
        assert stage.post(path="/v1/text2text") == 200
    stage.prometheus.wait_for("RudolphNoWorkers")
    while stage.post() == 202:
        pass
    stage.prometheus.wait_for("RudolphQueueFull")
    stage.prometheus.wait_for("RudolphQueueStuck")
    _keep_asking_until(stage, "RudolphErrors", expected=503)
    with _worker_of_another_model(stage):
        stage.prometheus.wait_for("RudolphJobsParked")
    with stage.workers():
        stage.prometheus.wait_for("RudolphNoWorkers", firing=False)
        stage.prometheus.wait_for("RudolphQueueStuck", firing=False)


@contextlib.contextmanager
def _worker_of_another_model(stage: Stage) -> Generator[None]:
    consumer = JobConsumer(stage.redis.url, queue=stage.queue, worker_id="other")
    info = make_worker("other")
    model = msgspec.structs.replace(info.model, revision="another")
    info = msgspec.structs.replace(info, model=model)
    consumer.join(info)
    assert consumer.claim(1) == []  # it parks the jobs
    yield
    consumer.leave(info)
    consumer.close()


def _keep_asking_until(stage: Stage, alert: str, prompt: str = "кот", *, expected: int) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while alert not in stage.prometheus.firing():
        assert time.monotonic() < deadline_s
        assert stage.post(prompt) in {expected, 503}
        time.sleep(0.1)


@scene
def hung_worker_that_is_restarted_again_and_again(stage: Stage) -> None:
    with stage.workers(watchdog_s=1.0, hangs_always=1.0):
        for _ in range(2):
            assert stage.post("hang") == 202
        stage.prometheus.wait_for("RudolphQueueStuck")
        # A job that has crashed its worker twice is dead, so new ones are needed until the alert fires.
        _keep_asking_until(stage, "RudolphWorkerRestarts", "hang", expected=202)


@scene
def job_that_crashes_its_worker(stage: Stage) -> None:
    with stage.workers(reports_crashes=True):
        time.sleep(2)  # the counter must be seen before it rises
        assert stage.post("poison") == 202
        stage.prometheus.wait_for("RudolphDeadLetters")
        stage.prometheus.wait_for("RudolphDeadLetters", firing=False)


@scene
def slow_queue_exceeds_the_budget_of_slow_requests(stage: Stage) -> None:
    with stage.workers(batch=1, steps=2, step_s=0.5):

        def ask() -> None:
            while not enough.is_set():
                with contextlib.suppress(httpx.TransportError):
                    stage.post(path="/v1/text2text")

        enough = threading.Event()
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            stage.prometheus.wait_for("RudolphQueueSlow")
            stage.prometheus.wait_for("RudolphLatencyBudget")
        finally:
            enough.set()
            for thread in threads:
                thread.join()


@scene
def worker_that_loses_its_leases(stage: Stage) -> None:
    with stage.workers(size=2, steps=10_000, batch=2):
        for _ in range(4):
            assert stage.post() == 202
        deadline_s = time.monotonic() + 80
        with stage.redis.client() as redis:
            while "RudolphLeasesLost" not in stage.prometheus.firing():
                assert time.monotonic() < deadline_s
                # As if every worker had been frozen for longer than its lease.
                leases = f"{{{stage.queue}}}:leases"
                for job in redis.zrange(leases, 0, -1):  # type: ignore[union-attr]
                    redis.zadd(leases, {job: 1})
                time.sleep(1)


@scene
def device_that_is_nearly_full_and_a_queue_that_is_paused(stage: Stage) -> None:
    with stage.workers(gpu_reserved=0.98):
        asyncio.run(_pause(stage))
        stage.prometheus.wait_for("RudolphQueuePaused")
        stage.prometheus.wait_for("RudolphGpuMemoryHigh")


@scene
def gpu_that_is_hot_and_has_errors(stage: Stage) -> None:
    library = FakeNvml(stage.directory / "nvml")
    with stage.workers(gpu=UUID, environment=library.environment):
        stage.until(lambda: stage.prometheus.has_data("rudolph_gpu_temperature_celsius == 61"))
        library.set(HEALTHY | {"clock_reasons": THERMAL_SLOWDOWN})
        stage.prometheus.wait_for("RudolphGpuHot")
        assert "RudolphGpuErrors" not in stage.prometheus.firing()
        library.set(HEALTHY | {"ecc_uncorrected": 1})
        stage.prometheus.wait_for("RudolphGpuErrors")
        stage.prometheus.wait_for("RudolphGpuHot", firing=False)
        library.set(HEALTHY, xids=(31,))  # an error of a program
        stage.until(lambda: stage.prometheus.has_data('rudolph_gpu_xid_errors_total{xid="31"} == 1'))
        stage.prometheus.wait_for("RudolphGpuErrors", firing=False)
        library.set(HEALTHY, xids=(31, 79))
        stage.prometheus.wait_for("RudolphGpuErrors")


async def _pause(stage: Stage) -> None:
    client = await JobClient.connect(stage.redis.url, queue=stage.queue)
    await client.pause("maintenance")
    await client.close()


@scene
def replica_that_is_lost_and_primary_that_then_refuses_writes(stage: Stage) -> None:
    stage.replica.stop()
    stage.prometheus.wait_for("RudolphRedisReplicas")
    with stage.redis.client() as redis:
        redis.config_set("min-replicas-to-write", 1)
    stage.prometheus.wait_for("RudolphRedisReadOnly")
    assert "RudolphRedisUnreachable" not in stage.prometheus.firing()


@scene
def redis_that_is_nearly_full(stage: Stage) -> None:
    with stage.redis.client() as redis:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.1))  # type: ignore[index]
    stage.prometheus.wait_for("RudolphRedisMemory")


@scene
def redis_that_does_not_answer(stage: Stage) -> None:
    stage.redis.freeze()
    stage.prometheus.wait_for("RudolphRedisUnreachable")
    stage.redis.thaw()
    stage.prometheus.wait_for("RudolphRedisUnreachable", firing=False)


@scene
def disk_that_is_full(stage: Stage) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = stage.directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    try:
        with RedisServer(disk) as redis, api_process(redis.url, stage.queue) as api:
            stage.prometheus.scrape(f"127.0.0.1:{api.port}")
            with redis.client() as client, contextlib.suppress(Exception):
                for number in range(400):
                    client.set(f"filler {number}", os.urandom(10_000))
            stage.prometheus.wait_for("RudolphRedisDisk")
            stage.prometheus.wait_for("RudolphRedisReadOnly")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@scene
def jobs_that_a_restart_of_redis_has_undone(stage: Stage) -> None:
    with stage.workers(steps=10_000):
        data = stage.redis.directory / "appendonlydir"
        time.sleep(1.5)  # everything so far is in the file
        shutil.copytree(data, stage.directory / "backup")
        assert stage.post() == 202
        stage.redis.kill()
        shutil.rmtree(data)
        shutil.copytree(stage.directory / "backup", data)
        stage.redis.start()
        stage.prometheus.wait_for("RudolphJobsStoredAgain")
        assert stage.value("rudolph_jobs_waiting") + stage.value("rudolph_jobs_running") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_alerts_fire_and_cease(name: str, played: dict[str, Future[None]]) -> None:
    played[name].result()


def test_each_alert_has_a_test_here_and_a_section_in_a_runbook() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    rules = yaml.safe_load((CONFIG / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    for rule in rules:
        assert f'"{rule["alert"]}"' in here
        path, anchor = rule["annotations"]["runbook_url"].split("#")
        text = (ROOT / path).read_text(encoding="utf-8")
        section = text.partition(f"## {rule['alert']}\n")[2]
        assert section, f"{path} has no section {rule['alert']}"
        assert anchor == rule["alert"].lower()
        section = section.split("\n## ")[0]
        for part in ("**Meaning.**", "**Look at.**", "**Do.**"):
            assert part in section, f"{rule['alert']}: {part}"
        assert rule["alert"] in (ROOT / "docs/runbooks/README.md").read_text(encoding="utf-8")
