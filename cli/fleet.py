"""Workers under a supervisor, as `serve` and `worker` start them."""

from pathlib import Path

from cli.settings import read_settings
from jobs.consumer import JobConsumer
from jobs.errors import QueueError
from telemetry.logging import get_logger
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor, worker_devices
from workers.threads import threads_per_worker

logger = get_logger("cli.fleet")


def start_workers(
    *,
    model: Path,
    preset: str | None,
    device: str,
    dtype: str,
    num_workers: int | None,
    redis_url: str,
    log_format: str | None = None,
) -> Supervisor:
    """Spawn the workers and return their supervisor. Options stand above the RUDOLPH_* variables.

    Raises CliError for a wrong variable.
    """
    settings = read_settings(WorkerSettings)
    devices = worker_devices(device, num_workers)
    threads = settings.cpu_threads or threads_per_worker(len(devices))
    environments: list[dict[str, str]] = []
    for index, chosen in enumerate(devices):
        environment = {
            "RUDOLPH_MODEL": str(model.resolve()),
            "RUDOLPH_DEVICE": chosen,
            "RUDOLPH_DTYPE": dtype,
            "RUDOLPH_REDIS_URL": redis_url,
            "RUDOLPH_CPU_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
            "RUDOLPH_LOG_FORMAT": log_format or settings.log_format,
        }
        if preset is not None:
            environment["RUDOLPH_PRESET"] = preset
        if settings.worker_metrics_port:
            environment["RUDOLPH_WORKER_METRICS_PORT"] = str(settings.worker_metrics_port + index)
        environments.append(environment)

    def report_crash(worker_id: str, reason: str) -> None:
        try:
            consumer = JobConsumer(
                redis_url, queue=settings.queue_name, worker_id=f"supervisor-of-{worker_id}"
            )
            consumer.report_worker_crash(worker_id, message=reason)
            consumer.close()
        except QueueError as error:
            # The leases of the dead worker run out; nothing is lost, it only takes longer.
            logger.warning("crash_not_reported", worker=worker_id, error=str(error))

    supervisor = Supervisor(environments, stop_grace_s=settings.drain_s + 10, on_crash=report_crash)
    supervisor.start()
    return supervisor
