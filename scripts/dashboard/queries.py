"""PromQL over the metrics of the server.

Every API process exports the series of all workers and of the queue, so these are reduced by `max` first.
"""

RATE = "[$__rate_interval]"
API = 'instance=~"$instance"'
WORKER = 'worker=~"$worker"'
TASK = f'{WORKER}, task=~"$task"'
JOBS = f'{API}, task=~"$task"'
USERS = f'{API}, route=~"/v1/.*"'
"""Requests of users: without health checks, scrapes and pages."""
SLOW_S = "20.0"
"""A slower request counts against the objective, as in the alert RudolphLatencyBudget."""


def queue(metric: str) -> str:
    """Return a gauge of the queue."""
    return f"max(rudolph_{metric})"


def queue_rate(metric: str, label: str) -> str:
    """Return the rate of a counter that Redis keeps."""
    return f"max by ({label}) (rate(rudolph_{metric}{RATE}))"


def api_rate(metric: str, label: str, selector: str = API) -> str:
    return f"sum by ({label}) (rate(rudolph_{metric}{{{selector}}}{RATE}))"


def worker_rate(metric: str, label: str = "", selector: str = WORKER) -> str:
    """Return the rate of a counter of the workers, in total or by a label."""
    outer, inner = (f" by ({label})", f", {label}") if label else ("", "")
    return f"sum{outer} (max by (worker{inner}) (rate(rudolph_{metric}{{{selector}}}{RATE})))"


def worker_gauge(metric: str, label: str = "worker") -> str:
    return f"max by ({label}) (rudolph_{metric}{{{WORKER}}})"


def api_quantile(quantile: float, metric: str, selector: str = API, label: str = "") -> str:
    by = f"{label}, le" if label else "le"
    return (
        f"histogram_quantile({quantile}, sum by ({by}) (rate(rudolph_{metric}_bucket{{{selector}}}{RATE})))"
    )


def worker_quantile(quantile: float, metric: str, label: str = "", selector: str = WORKER) -> str:
    inner = f"{label}, " if label else ""
    return (
        f"histogram_quantile({quantile}, sum by ({inner}le) "
        f"(max by (worker, {inner}le) (rate(rudolph_{metric}_bucket{{{selector}}}{RATE}))))"
    )


def api_heatmap(metric: str, selector: str = API) -> str:
    return f"sum by (le) (increase(rudolph_{metric}_bucket{{{selector}}}{RATE}))"


def worker_heatmap(metric: str, selector: str = WORKER) -> str:
    return f"sum by (le) (max by (worker, le) (increase(rudolph_{metric}_bucket{{{selector}}}{RATE})))"


def availability() -> str:
    """Return the share of requests that did not end with a status of 500 or more, over the shown time."""
    failed = f'sum(increase(rudolph_requests_total{{{USERS}, status=~"5.."}}[$__range])) or vector(0)'
    return f"1 - ({failed}) / sum(increase(rudolph_requests_total{{{USERS}}}[$__range]))"


def fast_share() -> str:
    """Return the share of requests within the objective, over the shown time."""
    fast = f'sum(increase(rudolph_request_seconds_bucket{{{USERS}, le="{SLOW_S}"}}[$__range]))'
    return f"{fast} / sum(increase(rudolph_request_seconds_count{{{USERS}}}[$__range]))"
