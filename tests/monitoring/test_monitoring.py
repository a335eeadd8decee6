"""Prometheus as the compose file runs it, scraping a real server: panels have data, rules evaluate."""

import base64
import json
import math
import socket
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.servers import ROOT, Server, serving
from tests.tools import require

CONFIG = ROOT / "docker" / "prometheus"
DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "rudolph.json"
DATASOURCE = ROOT / "docker" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
RATE_INTERVAL = "15s"
TIMEOUT_S = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def panel_queries() -> list[tuple[str, str]]:
    """Panel title and query, for every target of the dashboard."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", RATE_INTERVAL))
        for panel in panels
        for target in panel.get("targets", [])
    ]


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)

    def wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                if self._client.get("/-/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline_s
            time.sleep(0.1)

    def has_data(self, query: str) -> bool:
        """Whether some series has a number now."""
        reply = self._client.get("/api/v1/query", params={"query": query}).json()
        assert reply["status"] == "success", f"{query}: {reply}"
        return any(math.isfinite(float(series["value"][1])) for series in reply["data"]["result"])

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def server(tiny_v2: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tiny_v2, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Generator[Prometheus]:
    program = require("prometheus")
    place = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(CONFIG / name) for name in config["rule_files"]]
    (scrape,) = config["scrape_configs"]
    del scrape["dns_sd_configs"]
    scrape["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
    (place / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={place / 'prometheus.yml'}",
            f"--storage.tsdb.path={place / 'data'}",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    running = Prometheus(f"http://{address}")
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.close()
        process.kill()
        process.wait()


def send_traffic(client: httpx.Client, folder: Path) -> None:
    """One request for each task."""
    picture = base64.b64encode((folder / "picture0.png").read_bytes()).decode()
    for route, body in (
        ("text2image", {"prompt": "красный круг"}),
        ("image2text", {"image": picture, "candidates": 1}),
        ("text2text", {"prompt": "кот"}),
        ("rank/images", {"text": "кот", "images": [picture, picture]}),
        ("rank/texts", {"image": picture, "texts": ["кот", "мяч"]}),
        ("classify", {"image": picture, "classes": ["кот", "мяч"]}),
    ):
        reply = client.post(f"/v1/{route}", json=body)
        assert reply.status_code == 200, reply.text


def test_every_panel_of_the_dashboard_has_data(server: Server, prometheus: Prometheus, tiny_v2: Path) -> None:
    queries = panel_queries()
    assert len(queries) > 20
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


def test_dashboard_asks_the_provisioned_data_source() -> None:
    (source,) = yaml.safe_load(DATASOURCE.read_text(encoding="utf-8"))["datasources"]
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    used = {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", [])}
    assert used == {source["uid"]}


def test_dashboard_shows_what_the_contract_names() -> None:
    queries = " ".join(query for _, query in panel_queries())
    for name in (
        "rudolph_requests_total",
        "rudolph_request_seconds",
        "rudolph_queue_seconds",
        "rudolph_compute_seconds",
        "rudolph_batch_rows",
        "rudolph_jobs_total",
        "rudolph_workers_live",
        "rudolph_gpu_memory_bytes",
    ):
        assert name in queries
