"""The panels of what users notice: the summary, traffic and latency."""

from scripts.dashboard.panel import ANY_IS_BAD, NONE_IS_BAD, Panel, Row
from scripts.dashboard.queries import (
    API,
    JOBS,
    RATE,
    TASK,
    USERS,
    WORKER,
    api_heatmap,
    api_quantile,
    api_rate,
    availability,
    fast_share,
    queue,
    worker_heatmap,
    worker_quantile,
    worker_rate,
)

QUANTILES = (0.5, 0.95, 0.99)


def _stat(title: str, query: str, text: str, **options: object) -> Panel:
    return Panel(title, ((query, ""),), text, kind="stat", width=4, **options)  # type: ignore[arg-type]


def _times(title: str, metric: str, text: str, *, label: str = "", selector: str = WORKER) -> Panel:
    """Return the median and the 95th percentile of a time of the workers."""
    legend = f"{{{{{label}}}}} " if label else ""
    queries = tuple(
        (worker_quantile(quantile, metric, label, selector), f"{legend}p{quantile * 100:.0f}")
        for quantile in (0.5, 0.95)
    )
    return Panel(title, queries, text, unit="s")


SUMMARY = Row(
    "Now",
    (
        _stat(
            "Availability",
            availability(),
            "Requests of users without a status of 500 or more, over the shown time.",
            unit="percentunit",
            steps=((None, "red"), (0.95, "orange"), (0.99, "green")),
        ),
        _stat(
            "Within 20 s",
            fast_share(),
            "The objective of RudolphLatencyBudget is 95 %.",
            unit="percentunit",
            steps=((None, "red"), (0.7, "orange"), (0.95, "green")),
        ),
        _stat("Workers live", queue("workers_live"), "Workers whose heartbeat is fresh.", steps=NONE_IS_BAD),
        _stat("Workers draining", queue("workers_draining"), "Workers that finish their jobs and end."),
        _stat(
            "Start in",
            queue("estimated_start_seconds"),
            "Estimated time until a job that is submitted now starts. No data: no worker is live, the queue "
            "is paused, or no job has ended yet.",
            unit="s",
            steps=((None, "green"), (30, "orange"), (120, "red")),
        ),
        _stat(
            "Alerts that fire",
            'count(ALERTS{alertname=~"Rudolph.*", alertstate="firing"}) or vector(0)',
            "The list below names them; each has a runbook.",
            steps=ANY_IS_BAD,
        ),
        _stat(
            "Oldest waiting job",
            queue("oldest_waiting_seconds"),
            "Rises while nothing is claimed.",
            unit="s",
            steps=((None, "green"), (30, "orange"), (120, "red")),
        ),
        _stat(
            "Oldest unfinished job",
            queue("oldest_unfinished_seconds"),
            "RudolphQueueStuck fires above 10 minutes.",
            unit="s",
            steps=((None, "green"), (300, "orange"), (600, "red")),
        ),
        _stat(
            "Dead letters",
            queue("dead_letters"),
            "Jobs that crashed their worker twice: `rudolph dead`.",
            steps=ANY_IS_BAD,
        ),
        _stat("Paused", queue("queue_paused"), "1 while an operator has paused the queue.", steps=ANY_IS_BAD),
        _stat(
            "Redis answers",
            "min(rudolph_redis_up)",
            "0 if an API process cannot use Redis.",
            steps=NONE_IS_BAD,
        ),
        _stat(
            "Redis takes writes",
            "min(rudolph_redis_writable)",
            "0 if Redis refuses writes.",
            steps=NONE_IS_BAD,
        ),
    ),
)

TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            "Requests by route",
            ((api_rate("requests_total", "route", USERS), "{{route}}"),),
            "Requests of users, without health checks and scrapes.",
            unit="reqps",
            kind="stacked",
        ),
        Panel(
            "Requests by status",
            ((api_rate("requests_total", "status", USERS), "{{status}}"),),
            "499 is a client that left.",
            unit="reqps",
            kind="stacked",
        ),
        Panel(
            "Refusals by reason",
            ((f"{api_rate('refusals_total', 'reason')} or vector(0)", "{{reason}}"),),
            "`queue_full` and `tenant_quota_exceeded`: too little capacity. `queue_unavailable`: a fault.",
            unit="reqps",
            kind="stacked",
        ),
        Panel(
            "Accepted jobs by tenant",
            (
                (
                    "topk(10, sum by (tenant) (rate(rudolph_jobs_accepted_total"
                    f'{{{API}, tenant=~"$tenant", task=~"$task"}}{RATE})))',
                    "{{tenant}}",
                ),
            ),
            "The ten tenants with most jobs.",
            unit="reqps",
            kind="stacked",
        ),
        Panel(
            "Waiting jobs by tenant",
            (
                (
                    'topk(10, max by (tenant) (rudolph_tenant_jobs_waiting{tenant=~"$tenant"})) or vector(0)',
                    "{{tenant}}",
                ),
            ),
            "Who fills the queue.",
            kind="stacked",
        ),
        Panel(
            "Finished jobs by outcome",
            ((worker_rate("jobs_total", "outcome", TASK), "{{outcome}}"),),
            "Of the live workers.",
            unit="reqps",
            kind="stacked",
        ),
        Panel(
            "Sequences of a job by task",
            (
                (
                    f"{api_rate('job_sequences_sum', 'task', JOBS)} "
                    f"/ {api_rate('job_sequences_count', 'task', JOBS)}",
                    "{{task}}",
                ),
            ),
            "Mean of the accepted jobs: candidates, two each with guidance, or texts and images to score.",
        ),
        Panel(
            "Images in",
            ((api_rate("input_image_bytes_count", "task", JOBS), "{{task}}"),),
            "Images of accepted jobs, per second.",
            kind="stacked",
        ),
        Panel(
            "Size of an image",
            (
                (api_quantile(0.5, "input_image_bytes", JOBS), "p50"),
                (api_quantile(0.99, "input_image_bytes", JOBS), "p99"),
            ),
            "Bytes of the file. Large files fill the queue's limit of bytes.",
            unit="bytes",
        ),
    ),
)

LATENCY = Row(
    "Latency",
    (
        Panel(
            "Whole request",
            tuple((api_quantile(q, "request_seconds", USERS), f"p{q * 100:.0f}") for q in QUANTILES),
            "From the first byte of a request to the last byte of its response.",
            unit="s",
        ),
        Panel(
            "Whole request, 95th percentile by route",
            (
                (
                    api_quantile(0.95, "request_seconds", USERS, "route"),
                    "{{route}}",
                ),
            ),
            "Event streams last as long as their job.",
            unit="s",
        ),
        Panel(
            "Whole request, distribution",
            ((api_heatmap("request_seconds", USERS), "{{le}}"),),
            "Requests by time. Traced requests have exemplars.",
            unit="s",
            kind="heatmap",
        ),
        _times("Queue", "queue_seconds", "From acceptance to claim. High: add workers."),
        Panel(
            "Queue, distribution",
            ((worker_heatmap("queue_seconds"), "{{le}}"),),
            "Jobs by time in the queue.",
            unit="s",
            kind="heatmap",
        ),
        _times("Compute by task", "compute_seconds", "From claim to result.", label="task", selector=TASK),
        Panel(
            "Compute, distribution",
            ((worker_heatmap("compute_seconds", TASK), "{{le}}"),),
            "Jobs by time of computation.",
            unit="s",
            kind="heatmap",
        ),
        _times(
            "First partial result",
            "time_to_first_partial_seconds",
            "From acceptance to the first partial image or text of a stream.",
        ),
        _times("Step by phase", "step_seconds", "One call of the model.", label="phase"),
    ),
)
