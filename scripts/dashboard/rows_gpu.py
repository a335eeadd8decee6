"""The panels of GPUs: the memory of a worker's process, and the state of the whole device."""

from scripts.dashboard.panel import ANY_IS_BAD, Panel, Row
from scripts.dashboard.queries import worker_gauge

GPU = Row(
    "GPU",
    (
        Panel(
            "Load",
            ((worker_gauge("gpu_utilization_ratio"), "{{worker}}"),),
            "Share of the time in which a kernel ran, of any process. Not given for MIG instances.",
            unit="percentunit",
        ),
        Panel(
            "Memory of the whole device",
            ((worker_gauge("gpu_device_memory_bytes", "worker, kind"), "{{worker}} {{kind}}"),),
            "Of all processes. Much more than the worker has reserved: another program uses the GPU.",
            unit="bytes",
        ),
        Panel(
            "Memory of the worker",
            ((worker_gauge("gpu_memory_bytes", "worker, kind"), "{{worker}} {{kind}}"),),
            "Of the worker's own process; zero on a CPU.",
            unit="bytes",
        ),
        Panel(
            "Temperature",
            ((worker_gauge("gpu_temperature_celsius"), "{{worker}}"),),
            "The limit depends on the model: see the slowdowns.",
            unit="celsius",
        ),
        Panel(
            "Power",
            (
                (worker_gauge("gpu_power_watts"), "{{worker}}"),
                (worker_gauge("gpu_power_limit_watts"), "{{worker}} limit"),
            ),
            "At the limit the clock is lowered, which is normal under full load.",
            unit="watt",
        ),
        Panel(
            "Slowdowns",
            ((worker_gauge("gpu_slowdown", "worker, reason"), "{{worker}} {{reason}}"),),
            "1 while the GPU lowers its clock. RudolphGpuHot fires for `thermal`.",
            steps=ANY_IS_BAD,
        ),
        Panel(
            "Memory errors",
            ((worker_gauge("gpu_ecc_errors_total", "worker, kind"), "{{worker}} {{kind}}"),),
            "Since the driver was loaded. RudolphGpuErrors fires for the first uncorrected one.",
        ),
        Panel(
            "XID errors",
            ((worker_gauge("gpu_xid_errors_total", "worker, xid"), "{{worker}} XID {{xid}}"),),
            "Errors that the driver has reported since the start of the worker, by number.",
            steps=ANY_IS_BAD,
        ),
    ),
)
