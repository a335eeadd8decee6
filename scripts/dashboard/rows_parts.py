"""The panels of the parts: the queue, workers, Redis and the API processes."""

from scripts.dashboard.panel import NONE_IS_BAD, SHARE_OF_LIMIT, Panel, Row
from scripts.dashboard.queries import (
    API,
    RATE,
    WORKER,
    api_heatmap,
    api_quantile,
    queue,
    queue_rate,
    worker_gauge,
    worker_quantile,
    worker_rate,
)

QUEUE = Row(
    "Queue",
    (
        Panel(
            "Jobs",
            (
                (queue("jobs_waiting"), "waiting"),
                (queue("jobs_running"), "running"),
                (queue("jobs_parked"), "parked"),
                (queue("sequences_waiting"), "sequences that wait"),
            ),
            "Parked jobs are of another model than the workers have.",
        ),
        Panel(
            "Share of the limits",
            (
                (f"{queue('jobs_waiting')} / {queue('queue_jobs_limit')}", "jobs"),
                (f"{queue('queue_bytes')} / {queue('queue_bytes_limit')}", "bytes"),
            ),
            "RudolphQueueFull fires above 80 %. At 100 % new requests get 503.",
            unit="percentunit",
            steps=SHARE_OF_LIMIT,
        ),
        Panel(
            "Ended jobs by state",
            ((queue_rate("jobs_ended_total", "state"), "{{state}}"),),
            "`dead` is a dead letter.",
            unit="reqps",
            kind="stacked",
        ),
        Panel(
            "Requeued jobs by reason",
            ((queue_rate("jobs_requeued_total", "reason"), "{{reason}}"),),
            "Work that is done again. `released` is normal during updates.",
            unit="reqps",
            kind="stacked",
        ),
        Panel(
            "Lost leases and jobs stored again",
            (
                (worker_rate("lease_lost_total"), "lost leases"),
                (f"sum(rate(rudolph_jobs_stored_again_total{{{API}}}{RATE}))", "stored again"),
            ),
            "Lost leases: slow workers or a slow Redis. Stored again: a failover had undone jobs.",
            unit="reqps",
        ),
        Panel(
            "Unreadable entries",
            ((f"sum by (kind) (rate(rudolph_unreadable_entries_total{{{API}}}{RATE}))", "{{kind}}"),),
            "Entries of the queue that were passed over. Normal only between two releases.",
            unit="reqps",
        ),
    ),
)

WORKERS = Row(
    "Workers",
    (
        Panel(
            "Models",
            (
                (
                    "max by (model, revision, generation, device, dtype, worker) "
                    f'(rudolph_model_info{{{WORKER}, model=~"$model"}})',
                    "",
                ),
            ),
            "The model of each live worker.",
            kind="table",
            width=12,
        ),
        Panel(
            "Releases",
            (
                ("count by (version, python) (rudolph_build_info)", ""),
                (
                    f"count by (version, python) (max by (worker, version, python) "
                    f"(rudolph_worker_build_info{{{WORKER}}}))",
                    "",
                ),
            ),
            "API processes and workers by release. Two releases are normal during an update only.",
            kind="table",
            width=12,
        ),
        Panel(
            "Used slots",
            ((f"{worker_gauge('kv_slots_used')} / {worker_gauge('kv_slots')}", "{{worker}}"),),
            "1: the worker computes as many sequences as it can.",
            unit="percentunit",
        ),
        Panel(
            "Sequences in a decode step",
            (
                (f"{worker_rate('batch_rows_sum')} / {worker_rate('batch_rows_count')}", "mean"),
                (worker_quantile(0.95, "batch_rows"), "p95"),
            ),
            "More sequences in a step use the device better.",
        ),
        Panel(
            "Images and tokens",
            ((worker_rate("images_total"), "images"), (worker_rate("tokens_total"), "tokens")),
            "Per second, image codes included in the tokens.",
        ),
        Panel(
            "Starts and restarts",
            (
                (
                    "max by (slot) (increase(rudolph_worker_starts_total[15m]))",
                    "{{slot}} started",
                ),
                (
                    "max by (slot, reason) (increase(rudolph_worker_restarts_total[15m])) or vector(0)",
                    "{{slot}} {{reason}}",
                ),
            ),
            "Processes in 15 minutes. RudolphWorkerRestarts fires above 3.",
            steps=((None, "green"), (3, "red")),
        ),
        Panel(
            "Input tokens",
            ((worker_rate("input_tokens_total", "kind"), "{{kind}}"),),
            "Tokens of prompts and of images that finished jobs have read, per second.",
            kind="stacked",
        ),
        Panel(
            "Start of a worker",
            ((worker_gauge("model_load_seconds", "worker, stage"), "{{worker}} {{stage}}"),),
            "Time to read the checkpoint, and to build the engine with its warm-up. A restart costs both.",
            unit="s",
        ),
        Panel(
            "Memory of workers",
            ((worker_gauge("worker_process_resident_memory_bytes"), "{{worker}}"),),
            "Of the process.",
            unit="bytes",
        ),
        Panel(
            "Processor of workers",
            (
                (
                    f"max by (worker) (rate(rudolph_worker_process_cpu_seconds_total{{{WORKER}}}{RATE}))",
                    "{{worker}}",
                ),
            ),
            "Cores in use.",
            unit="none",
        ),
        Panel(
            "File descriptors of workers",
            (
                (
                    f"{worker_gauge('worker_process_open_fds')} / {worker_gauge('worker_process_max_fds')}",
                    "{{worker}}",
                ),
            ),
            "Share of the limit.",
            unit="percentunit",
            steps=SHARE_OF_LIMIT,
        ),
    ),
)

REDIS = Row(
    "Redis",
    (
        Panel(
            "Memory",
            (("max by (kind) (rudolph_redis_memory_bytes)", "{{kind}}"),),
            "RudolphRedisMemory fires above 85 % of `maxmemory`. No limit is 0.",
            unit="bytes",
        ),
        Panel(
            "Replicas", (("max(rudolph_redis_replicas)", "replicas"),), "Connected replicas of the primary."
        ),
        Panel(
            "Health",
            (
                ("min(rudolph_redis_up)", "answers"),
                ("min(rudolph_redis_writable)", "takes writes"),
                ("min(rudolph_redis_aof_ok)", "writes its file"),
            ),
            "1 is good.",
        ),
        Panel(
            "Calls from the API, 99th percentile",
            ((api_quantile(0.99, "redis_call_seconds", label="call"), "{{call}}"),),
            "By script, or by command in capitals. All of them slow: Redis or the network. One: its script.",
            unit="s",
        ),
        Panel(
            "Calls from workers, 99th percentile",
            ((worker_quantile(0.99, "worker_redis_call_seconds", "call"), "{{call}}"),),
            "Slower than the lease of 15 s: workers lose their jobs.",
            unit="s",
        ),
        Panel(
            "Calls per second",
            (
                (f"sum(rate(rudolph_redis_call_seconds_count{{{API}}}{RATE}))", "API"),
                (worker_rate("worker_redis_call_seconds_count"), "workers"),
            ),
            "Retries included.",
            unit="ops",
        ),
        Panel(
            "Calls from the API, distribution",
            ((api_heatmap("redis_call_seconds"), "{{le}}"),),
            "Calls by time. Those of traced requests have exemplars.",
            unit="s",
            kind="heatmap",
            width=24,
        ),
    ),
)

PROCESSES = Row(
    "API processes",
    (
        Panel(
            "Delay of the event loop",
            (
                (api_quantile(0.5, "event_loop_lag_seconds"), "p50"),
                (api_quantile(0.99, "event_loop_lag_seconds"), "p99"),
            ),
            "Every request waits as long. Above 0.1 s the process is overloaded.",
            unit="s",
            steps=((None, "green"), (0.1, "red")),
        ),
        Panel(
            "Memory",
            ((f'process_resident_memory_bytes{{job="$job", {API}}}', "{{instance}}"),),
            "Of the process.",
            unit="bytes",
        ),
        Panel(
            "Processor",
            ((f'rate(process_cpu_seconds_total{{job="$job", {API}}}{RATE})', "{{instance}}"),),
            "Cores in use. One core is the limit of a process.",
            unit="none",
            steps=((None, "green"), (0.8, "orange")),
        ),
        Panel(
            "File descriptors",
            (
                (
                    f'process_open_fds{{job="$job", {API}}} / process_max_fds{{job="$job", {API}}}',
                    "{{instance}}",
                ),
            ),
            "Share of the limit.",
            unit="percentunit",
            steps=SHARE_OF_LIMIT,
        ),
        Panel(
            "Garbage collection",
            (
                (
                    f'rate(python_gc_collections_total{{job="$job", {API}}}{RATE})',
                    "{{instance}} {{generation}}",
                ),
            ),
            "Collections per second.",
            unit="ops",
        ),
        Panel(
            "Up",
            ((f'up{{job="$job", {API}}}', "{{instance}}"),),
            "1 if Prometheus gets an answer.",
            steps=NONE_IS_BAD,
        ),
    ),
)
