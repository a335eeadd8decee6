"""Prometheus as the compose file runs it, scraping a real server: panels have data, rules evaluate."""

import base64
import functools
import json
import re
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
import yaml

from scripts.dashboard.__main__ import main as write_dashboard
from tests.faults.fleet import Fleet
from tests.monitoring.prometheus import CONFIG, TIMEOUT_S, Prometheus
from tests.monitoring.prometheus import prometheus as run_prometheus
from tests.support.fake_nvml import HEALTHY, UUID, FakeNvml
from tests.support.programs import require
from tests.support.redis_servers import RedisServer
from tests.support.servers import ROOT, Server, serving

DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "rudolph.json"
IMPORTED = ROOT / "docker" / "grafana" / "rudolph-import.json"
DATASOURCE = ROOT / "docker" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
VALUES = {"$__rate_interval": "15s", "$__range": "60s", "$job": "rudolph"} | dict.fromkeys(
    ("$instance", "$model", "$worker", "$task", "$tenant"), ".*"
)
"""What Grafana puts into the queries."""
SUFFIXES = ("_bucket", "_sum", "_count")


def panel_queries() -> list[tuple[str, str]]:
    """Panel title and query, for every target of the dashboard."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [
        (panel["title"], functools.reduce(_put, VALUES, target["expr"]))
        for panel in panels
        for target in panel.get("targets", [])
    ]


def scaling_query() -> str:
    scaled = yaml.safe_load((ROOT / "deploy/kubernetes/components/keda/scaledobject.yaml").read_text())
    return scaled["spec"]["triggers"][0]["metadata"]["query"]


def _put(query: str, variable: str) -> str:
    return query.replace(variable, VALUES[variable])


def shown_metrics() -> set[str]:
    """The names of the metrics that the dashboard queries, without the suffixes of histograms."""
    found = {name for _, query in panel_queries() for name in re.findall(METRIC, query)}
    return {functools.reduce(str.removesuffix, SUFFIXES, name) for name in found}


METRIC = r"\b(?:rudolph|process|python)_[a-z_]+"


@pytest.fixture(scope="module")
def server(tiny_v2: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server with a worker on the CPU, and one that takes no jobs and has a GPU."""
    place = tmp_path_factory.mktemp("server")
    library = FakeNvml(place / "nvml")
    library.set(HEALTHY, xids=(31,))
    with (
        RedisServer() as redis,
        serving(tiny_v2, place, "--redis-url", redis.url) as running,
    ):
        options = {"batch": 0, "heartbeats": True, "gpu": UUID, "lease_s": 5.0}
        fleet = Fleet(redis.url, "rudolph", place, size=1, environment=library.environment, **options)  # type: ignore[arg-type]
        fleet.tend()
        yield running
        fleet.stop()


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Generator[Prometheus]:
    place = tmp_path_factory.mktemp("prometheus")
    with run_prometheus(place, server.url.removeprefix("http://")) as running:
        yield running


def send_traffic(client: httpx.Client, folder: Path) -> None:
    """One request for each task."""
    picture = base64.b64encode((folder / "picture0.png").read_bytes()).decode()
    for route, body in (
        ("text2image", {"prompt": "красный круг"}),
        ("text2image", {"prompt": "красный круг", "stream": True, "partial_images": 1}),
        ("image2text", {"image": picture, "candidates": 1}),
        ("text2text", {"prompt": "кот"}),
        ("rank/images", {"text": "кот", "images": [picture, picture]}),
        ("rank/texts", {"image": picture, "texts": ["кот", "мяч"]}),
        ("classify", {"image": picture, "classes": ["кот", "мяч"]}),
    ):
        reply = client.post(f"/v1/{route}", json=body)
        assert reply.status_code == 200, reply.text


def test_every_panel_of_the_dashboard_has_data(server: Server, prometheus: Prometheus, tiny_v2: Path) -> None:
    queries = [*panel_queries(), ("the scaling of workers", scaling_query())]
    assert len(queries) > 60
    empty = dict.fromkeys(queries)
    deadline_s = time.monotonic() + TIMEOUT_S
    while empty:
        assert time.monotonic() < deadline_s, f"no data for {list(empty)}"
        send_traffic(server.client, tiny_v2)
        time.sleep(1)
        for title, query in list(empty):
            if prometheus.has_data(query):
                del empty[title, query]


def test_every_rule_evaluates_and_no_alert_fires_on_a_healthy_server(prometheus: Prometheus) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while any(rule["health"] == "unknown" for rule in prometheus.rules()):
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    rules = prometheus.rules()
    assert len(rules) >= 8
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def test_configuration_and_rules_pass_promtool() -> None:
    promtool = require("promtool")
    for arguments in (
        ("check", "config", "--syntax-only", str(CONFIG / "prometheus.yml")),
        ("check", "rules", str(CONFIG / "alerts.yml")),
        ("test", "rules", str(Path(__file__).parent / "alerts_test.yml")),
    ):
        reply = subprocess.run([promtool, *arguments], check=False, capture_output=True, text=True)
        assert reply.returncode == 0, f"{arguments}\n{reply.stdout}\n{reply.stderr}"


def test_dashboard_has_the_data_source_that_is_chosen() -> None:
    (source,) = yaml.safe_load(DATASOURCE.read_text(encoding="utf-8"))["datasources"]
    assert source["isDefault"]
    assert source["type"] == "prometheus"
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    used = {target["datasource"]["uid"] for panel in board["panels"] for target in panel.get("targets", [])}
    assert used == {"${datasource}"}
    names = [variable["name"] for variable in board["templating"]["list"]]
    assert names == ["datasource", "job", "instance", "model", "worker", "task", "tenant"]
    asked = json.loads(IMPORTED.read_text(encoding="utf-8"))
    assert asked["templating"]["list"][0]["current"]["value"] == f"${{{asked['__inputs'][0]['name']}}}"
    assert asked["panels"] == board["panels"]


def test_panels_fill_the_grid_and_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        own = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
        assert panel["type"] == "row" or panel["description"], panel["title"]


def test_files_are_what_the_code_writes() -> None:
    assert write_dashboard(["--check"]) == 0


def test_dashboard_shows_every_metric_and_no_other(server: Server, tiny_v2: Path) -> None:
    send_traffic(server.client, tiny_v2)
    exported: set[str] = set()
    deadline_s = time.monotonic() + TIMEOUT_S
    while "rudolph_jobs_total" not in exported:  # of the next heartbeat
        assert time.monotonic() < deadline_s
        time.sleep(0.5)
        names = re.findall(r"^# TYPE (\S+)", server.client.get("/metrics").text, flags=re.MULTILINE)
        exported = {name for name in names if re.match(METRIC, name)}
    assert shown_metrics() - exported == set()
    assert exported - shown_metrics() == NOT_SHOWN
    assert set(re.findall(METRIC, scaling_query())) <= exported


NOT_SHOWN = {
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "python_gc_objects_collected_total",
    "python_gc_objects_uncollectable_total",
    "rudolph_worker_process_virtual_memory_bytes",
    "rudolph_worker_process_start_time_seconds",
}
"""Of the libraries; no decision depends on them."""
