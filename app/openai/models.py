"""Names of the loaded model: which ones requests may send, and the entries of /v1/models."""

from collections.abc import Sequence

import msgspec

from app.errors import ApiError, printable
from app.openai.replies import GenerationConfigReply, ModelReply
from jobs.contract.worker_info import PUBLISHED_SAMPLING, ModelInfo

ANY_NAME = "*"
PROJECT_NAME = "rudolph"
"""Accepted for any checkpoint, so that an example runs unchanged; not listed."""
_PLACEHOLDERS = ("dummy", "tgi")
_ADDRESSES = ("http://", "https://")
"""Hugging Face's clients send one of these as a name where they know only the address of the server."""


class ServedNames:
    """The names under which clients know the model. `configured`: none for the checkpoint's own name."""

    def __init__(self, configured: Sequence[str]) -> None:
        self._accepts_all = ANY_NAME in configured
        self._configured = [name for name in configured if name != ANY_NAME]

    def listed(self, model: ModelInfo) -> list[str]:
        return self._configured or [model.name]

    def reply_name(self, requested: str | None, model: ModelInfo) -> str:
        """Return the name in a reply: the requested one if it is listed, else the first that is."""
        names = self.listed(model)
        return requested if requested in names else names[0]

    def accepts(self, name: str, model: ModelInfo) -> bool:
        own = (model.name, f"{model.name}@{model.revision}", PROJECT_NAME)
        if name in _PLACEHOLDERS or name.startswith(_ADDRESSES):
            return True
        return self._accepts_all or name in own or name in self._configured

    def check(self, name: str | None, model: ModelInfo) -> None:
        """Raise ApiError 404 for a name of another model."""
        if name is not None and not self.accepts(name, model):
            known = ", ".join(self.listed(model))
            message = f"The model {printable(name)} is not loaded here. /v1/models lists: {known}."
            raise ApiError(404, "model_not_found", message, param="model")


def model_reply(model: ModelInfo, name: str) -> ModelReply:
    sampling = {str(task): msgspec.to_builtins(model.sampling_of(task)) for task in PUBLISHED_SAMPLING}
    return ModelReply(
        id=name,
        created=int(model.created_s),
        revision=model.revision,
        tasks=[str(task) for task in model.tasks],
        size=f"{model.output_pixels}x{model.output_pixels}",
        generation_config=GenerationConfigReply(**sampling, examples=model.examples),
    )
