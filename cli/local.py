"""Runs tasks on a model in this process: the session of a worker without a queue."""

import secrets
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cli.console import CliError, OnProgress, print_warnings
from cli.models import choose_model
from jobs.contract.events import Progress
from jobs.contract.job import Job
from jobs.contract.requests import Task
from jobs.contract.results import JobFailure, Result
from jobs.contract.worker_info import ModelInfo
from model.text_normalization import Normalization

if TYPE_CHECKING:
    from workers.session import Session


class LocalBackend:
    """Loads the model at the first request, and keeps it for the next ones."""

    def __init__(
        self, model: Path | None, *, preset: str | None, device: str, dtype: str, normalize: str
    ) -> None:
        self._model = choose_model(model)
        self._preset = preset
        self._device = device
        self._dtype = dtype
        self._normalization: Normalization = cast(Normalization, normalize)
        self._open: tuple[Session, ModelInfo] | None = None

    def run(self, task: Task, body: dict[str, Any], on_progress: OnProgress) -> Result:
        # Imported here, because torch takes seconds to load.
        from workers.session import Finished

        if self._open is None:
            on_progress("loading the model", 0, 0)
            self._open = self._load()
        session, model = self._open
        session.submit(_job(task, body, model))
        while session.has_work:
            for event in session.step().events:
                if isinstance(event, Finished):
                    if isinstance(event.outcome, JobFailure):
                        raise CliError(event.outcome.message)
                    print_warnings(event.outcome.warnings)
                    return event.outcome
                if isinstance(event.body, Progress):
                    on_progress(event.body.phase, event.body.done, event.body.total)
        raise CliError("The model finished without a result.")

    def _load(self) -> "tuple[Session, ModelInfo]":
        import torch

        from model.files.checkpoint import CheckpointError, load_rudolph
        from workers.gpu import use_device
        from workers.process import model_info
        from workers.session import Session
        from workers.threads import threads_per_worker

        torch.set_num_threads(threads_per_worker(1))
        try:
            rudolph = load_rudolph(
                self._model,
                preset=self._preset,
                device=use_device(self._device),
                dtype=self._dtype,
                normalization=self._normalization,
            )
        except (CheckpointError, OSError, RuntimeError, ValueError) as error:
            raise CliError(f"{self._model}: {error}") from error
        session = Session(rudolph)
        # Its threads end with the command.
        weakref.finalize(self, session.close)
        return session, model_info(rudolph)


def _job(task: Task, fields: dict[str, Any], model: ModelInfo) -> Job:
    """Return the job that a server would create from these fields. Raises CliError for invalid fields."""
    from app.bodies import check_body
    from app.errors import ApiError, FieldError
    from app.tasks import TASKS

    route = TASKS[task]
    try:
        route.require(model)
        body = check_body(route.body, fields)
        route.check(body, model)
    except (ApiError, FieldError) as error:
        raise CliError(str(error)) from error
    pictures = [upload.source for upload in route.uploads(body) if isinstance(upload.source, bytes)]
    seed = fields.get("seed", secrets.randbits(32))
    request = route.build(body, pictures, seed, model)
    return Job(id=uuid.uuid4().hex, task=task, request=request)
