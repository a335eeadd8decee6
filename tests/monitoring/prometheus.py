"""A real Prometheus for tests, with the rules of the compose file."""

import math
import re
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.programs import require
from tests.support.redis_servers import free_port
from tests.support.servers import ROOT

CONFIG = ROOT / "docker" / "prometheus"
TIMEOUT_S = 120.0


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str, targets: Path) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)
        self._targets = targets

    def scrape(self, *addresses: str) -> None:
        """Scrape these from now on, as service discovery finds them."""
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(yaml.safe_dump([{"targets": list(addresses)}]), encoding="utf-8")
        fresh.rename(self._targets)

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

    def values(self, query: str) -> list[float]:
        """Return the present values of a query."""
        reply = self._client.get("/api/v1/query", params={"query": query}).json()
        assert reply["status"] == "success", f"{query}: {reply}"
        return [float(series["value"][1]) for series in reply["data"]["result"]]

    def has_data(self, query: str) -> bool:
        """Whether some series has a number now."""
        return any(math.isfinite(value) for value in self.values(query))

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {rule["name"] for rule in self.rules() if rule["state"] == "firing"}

    def wait_for(self, alert: str, *, firing: bool = True) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while (alert in self.firing()) is not firing:
            assert time.monotonic() < deadline_s, f"{alert}: {self.firing()} fire"
            time.sleep(0.2)

    def close(self) -> None:
        self._client.close()


@contextmanager
def prometheus(place: Path, *addresses: str, minute_s: float = 60) -> Generator[Prometheus]:
    """Run Prometheus as the compose file configures it, with minutes of `minute_s` in its rules."""
    program = require("prometheus")
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    rules = (CONFIG / "alerts.yml").read_text(encoding="utf-8")
    (place / "alerts.yml").write_text(_sped_up(rules, minute_s), encoding="utf-8")
    config["rule_files"] = ["alerts.yml"]
    config.pop("alerting", None)
    (scrape,) = config["scrape_configs"]
    del scrape["dns_sd_configs"]
    targets = place / "targets.yml"
    scrape["file_sd_configs"] = [{"files": [str(targets)], "refresh_interval": "1s"}]
    (place / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    running = Prometheus(f"http://{address}", targets)
    running.scrape(*addresses)
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
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.close()
        process.kill()
        process.wait()


def _sped_up(rules: str, minute_s: float) -> str:
    """Return the rules with minutes of `minute_s`, and with 1 s as the time of a slow request."""
    if minute_s == 60:
        return rules
    rules = re.sub(r"\[(\d+)m\]", lambda found: f"[{int(int(found[1]) * minute_s)}s]", rules)
    rules = re.sub(r"for: (\d+)m", lambda found: f"for: {int(int(found[1]) * minute_s)}s", rules)
    return rules.replace("* 60", f"* {minute_s}").replace('le="20.0"', 'le="1.0"')
