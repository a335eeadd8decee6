"""The metrics of a running server before, during and after load: counts are exact, gauges return to zero."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fuzz.picture_routes import GOOD_TEXT
from tests.support.servers import Server, serving

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]
IDLE_GAUGES = (
    "rudolph_jobs_waiting",
    "rudolph_jobs_running",
    "rudolph_kv_slots_used",
    "rudolph_dead_letters",
)
NUM_DRAWN, NUM_DESCRIBED, NUM_REFUSED = 24, 8, 5


def scrape(client: httpx.Client) -> Values:
    found: Values = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "worker"))
            found[sample.name, labels] = found.get((sample.name, labels), 0.0) + sample.value
    return found


def value(values: Values, name: str, **labels: str) -> float:
    return values.get((name, tuple(sorted(labels.items()))), 0.0)


def grown(before: Values, after: Values, name: str, **labels: str) -> float:
    return value(after, name, **labels) - value(before, name, **labels)


@pytest.fixture(scope="module")
def server(tiny_v2: Path, tmp_path_factory: pytest.TempPathFactory):
    with serving(tiny_v2, tmp_path_factory.mktemp("server")) as running:
        yield running


def load(server: Server) -> None:
    def ask(number: int) -> int:
        if number < NUM_DRAWN:
            body = {"prompt": "красный круг", "n": 2, "candidates": 8, "seed": number}
            return server.client.post("/v1/text2image", json=body).status_code
        if number < NUM_DRAWN + NUM_DESCRIBED:
            return server.client.post("/v1/image2text", json={"image": GOOD_TEXT}).status_code
        return server.client.post("/v1/text2image", json={"prompt": ""}).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(ask, range(NUM_DRAWN + NUM_DESCRIBED + NUM_REFUSED)))
    assert statuses.count(200) == NUM_DRAWN + NUM_DESCRIBED
    assert statuses.count(422) == NUM_REFUSED


def test_counts_are_exact_and_gauges_return_to_zero(server: Server) -> None:
    before = scrape(server.client)
    busy = dict.fromkeys(IDLE_GAUGES, 0.0)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, server)
        while not loading.done():
            during = scrape(server.client)
            busy = {name: max(busy[name], value(during, name)) for name in busy}
            time.sleep(0.05)
        loading.result()
    assert busy["rudolph_jobs_running"] > 0
    assert busy["rudolph_jobs_waiting"] > 0 or busy["rudolph_jobs_running"] > 1
    after = _when_idle(server)
    drawn = {"route": "/v1/text2image", "status": "200"}
    assert grown(before, after, "rudolph_requests_total", **drawn) == NUM_DRAWN
    refused = {"route": "/v1/text2image", "status": "422"}
    assert grown(before, after, "rudolph_requests_total", **refused) == NUM_REFUSED
    assert grown(before, after, "rudolph_request_seconds_count", route="/v1/image2text") == NUM_DESCRIBED
    done = {"task": "text2image", "outcome": "succeeded"}
    assert grown(before, after, "rudolph_jobs_total", **done) == NUM_DRAWN
    assert grown(before, after, "rudolph_compute_seconds_count", task="image2text") == NUM_DESCRIBED
    assert grown(before, after, "rudolph_queue_seconds_count") == NUM_DRAWN + NUM_DESCRIBED
    assert grown(before, after, "rudolph_images_total") >= NUM_DRAWN * 2
    assert grown(before, after, "rudolph_tokens_total") > 0
    assert grown(before, after, "rudolph_input_tokens_total", kind="image") > 0
    assert grown(before, after, "rudolph_job_sequences_sum", task="text2image") == NUM_DRAWN * 8
    assert grown(before, after, "rudolph_input_image_bytes_count", task="image2text") == NUM_DESCRIBED
    for name, call in (("redis", "submit"), ("worker_redis", "commit")):  # more where a script was unknown
        calls = grown(before, after, f"rudolph_{name}_call_seconds_count", call=call)
        assert NUM_DRAWN + NUM_DESCRIBED <= calls <= NUM_DRAWN + NUM_DESCRIBED + 4
    for stage in ("checkpoint", "engine"):
        assert 0 < value(after, "rudolph_model_load_seconds", stage=stage) < 120
    assert value(after, "rudolph_workers_live") == 1
    assert value(after, "rudolph_kv_slots") > 0


def _when_idle(server: Server) -> Values:
    """The worker's own series come with its heartbeat, so the last word takes a while."""
    deadline_s = time.monotonic() + 30
    while True:
        values = scrape(server.client)
        jobs = sum(v for (name, _), v in values.items() if name == "rudolph_jobs_total")
        if jobs >= NUM_DRAWN + NUM_DESCRIBED and not any(value(values, name) for name in IDLE_GAUGES):
            return values
        assert time.monotonic() < deadline_s, {name: value(values, name) for name in IDLE_GAUGES}
        time.sleep(0.1)
