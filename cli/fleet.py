"""Starts workers under a supervisor, for `serve` and `worker`."""

from pathlib import Path

from cli.settings import read_settings
from cli.shared_options import Serving
from jobs.contract.errors import QueueError
from jobs.worker.consumer import JobConsumer
from telemetry.logging import get_logger
from workers.devices import selected_gpus, worker_devices
from workers.gpu_probe import probe
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor
from workers.threads import threads_per_worker

logger = get_logger("cli.fleet")


def start_workers(
    serving: Serving, model: Path, num_workers: int | None, *, redis_url: str, log_format: str | None = None
) -> Supervisor:
    """Start workers with the checkpoint in `model`, and return their supervisor.

    Options override the RUDOLPH_* variables.

    Raises CliError for a wrong variable.
    """
    settings = read_settings(WorkerSettings)
    device = serving.device
    gpus = selected_gpus(device)
    if device == "auto" and gpus:
        gpus = _usable(gpus)
        device = "auto" if gpus else "cpu"
    devices = worker_devices(device, num_workers, gpus, share=settings.gpu_share)
    threads = settings.cpu_threads or threads_per_worker(len(devices))
    environments: list[dict[str, str]] = []
    for index, chosen in enumerate(devices):
        environment = {
            **chosen,
            "RUDOLPH_MODEL": str(model.resolve()),
            "RUDOLPH_DTYPE": serving.dtype,
            "RUDOLPH_GENERATION_CONFIG": serving.generation_config,
            "RUDOLPH_NORMALIZE": serving.normalize,
            "RUDOLPH_REDIS_URL": redis_url,
            "RUDOLPH_CPU_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
            "RUDOLPH_LOG_FORMAT": log_format or settings.log_format,
        }
        if serving.preset is not None:
            environment["RUDOLPH_PRESET"] = serving.preset
        if settings.worker_metrics_port:
            environment["RUDOLPH_WORKER_METRICS_PORT"] = str(settings.worker_metrics_port + index)
        environments.append(environment)

    def report(worker_id: str, reason: str, fault: str | None) -> None:
        consumer = JobConsumer(redis_url, queue=settings.queue_name, worker_id=f"supervisor-of-{worker_id}")
        try:
            if fault is not None:
                consumer.report_worker_crash(worker_id, message=fault)
            consumer.count_end(worker_id, reason)
        except QueueError as error:
            # Its jobs are not lost: they run again when their leases expire.
            logger.warning("end_not_reported", worker=worker_id, error=str(error))
        finally:
            consumer.close()

    supervisor = Supervisor(environments, stop_grace_s=settings.drain_s + 10, on_end=report)
    supervisor.start()
    return supervisor


def _usable(gpus: list[str]) -> list[str]:
    """Return the GPUs that torch can use, and log one warning if these are not all.

    A GPU that another process uses now counts as usable: its worker tries again.
    """
    reports = probe(gpus)
    faults = [report.fault for report in reports if report.fault and not report.is_passing]
    usable = [gpu for gpu, report in zip(gpus, reports, strict=True) if not report.fault or report.is_passing]
    if faults:
        end = "The other GPUs are used." if usable else "The model runs on the CPU, which is slower."
        logger.warning("gpu_not_usable", message=" ".join([*dict.fromkeys(faults), end]))
    return usable
