"""A model in this very process: the session of a worker without the queue around it."""

from pathlib import Path

from cli.backend import local_job
from cli.console import CliError, OnProgress
from cli.models import choose_model
from jobs.events import Progress
from jobs.requests import Request
from jobs.results import JobFailure, Result


class LocalBackend:
    """Loads at the first request."""

    def __init__(self, model: Path | None, *, preset: str | None, device: str, dtype: str) -> None:
        self._model = choose_model(model)
        self._preset = preset
        self._device = device
        self._dtype = dtype

    def run(self, request: Request, on_progress: OnProgress) -> Result:
        # torch and everything above it: seconds to import, so not before it is needed.
        import torch

        from model.checkpoint import CheckpointError, load_rudolph
        from workers.process import choose_device
        from workers.session import Finished, Session
        from workers.threads import threads_per_worker

        torch.set_num_threads(threads_per_worker(1))
        on_progress("loading the model", 0, 0)
        try:
            device = choose_device(self._device)
            rudolph = load_rudolph(self._model, preset=self._preset, device=device, dtype=self._dtype)
        except (CheckpointError, OSError, RuntimeError, ValueError) as error:
            raise CliError(f"{self._model}: {error}") from error
        session = Session(rudolph)
        try:
            session.submit(local_job(request))
            while session.has_work:
                for event in session.step().events:
                    if isinstance(event, Finished):
                        if isinstance(event.outcome, JobFailure):
                            raise CliError(event.outcome.message)
                        return event.outcome
                    if isinstance(event.body, Progress):
                        on_progress(event.body.phase, event.body.done, event.body.total)
        finally:
            session.close()
        raise CliError("the model finished without a result")
