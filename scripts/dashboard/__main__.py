"""`python -m scripts.dashboard [--check]`: write the files of monitoring, or compare them with the code."""

import sys
from pathlib import Path

import yaml

from scripts.dashboard.layout import build
from scripts.dashboard.rows_gpu import GPU
from scripts.dashboard.rows_parts import PROCESSES, QUEUE, REDIS, WORKERS
from scripts.dashboard.rows_users import LATENCY, SUMMARY, TRAFFIC

ROOT = Path(__file__).resolve().parents[2]
ROWS = (SUMMARY, TRAFFIC, LATENCY, QUEUE, WORKERS, GPU, REDIS, PROCESSES)
GRAFANA = ROOT / "docker" / "grafana"
ALERTS = ROOT / "docker" / "prometheus" / "alerts.yml"
KUBERNETES = ROOT / "deploy" / "kubernetes" / "components" / "monitoring"


def files() -> dict[Path, str]:
    """Return the text of each file that is written from code or from another file."""
    dashboard = build(ROWS, asks_for_source=False)
    return {
        GRAFANA / "dashboards" / "rudolph.json": dashboard,
        GRAFANA / "rudolph-import.json": build(ROWS, asks_for_source=True),
        # Kustomize reads no file outside of its folder.
        KUBERNETES / "dashboard.json": dashboard,
        KUBERNETES / "rules.yaml": _prometheus_rule(),
    }


def _prometheus_rule() -> str:
    """Return the alerts as an object of the Prometheus operator."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "rudolph", "namespace": "rudolph"},
        "spec": yaml.safe_load(ALERTS.read_text(encoding="utf-8")),
    }
    head = "# Written by `make dashboard` from docker/prometheus/alerts.yml.\n"
    return head + yaml.safe_dump(rule, sort_keys=False, allow_unicode=True, width=1000)


def main(arguments: list[str]) -> int:
    """Return 1 if a file differs from its source and `--check` is given."""
    texts = files()
    if "--check" not in arguments:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"{path.relative_to(ROOT)} differs from its source. Run `make dashboard`.")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
