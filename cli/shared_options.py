"""Groups of options that several commands share, so that a new one is added in one place."""

from dataclasses import asdict, dataclass
from typing import Any

from cli import options
from cli.backend import Backend, open_backend
from cli.given import given


@dataclass(frozen=True)
class Sampling:
    """The seed, and the sampling settings."""

    seed: options.Seed = None
    temperature: options.Temperature = None
    top_k: options.TopK = None
    top_p: options.TopP = None
    min_p: options.MinP = None

    def given(self) -> dict[str, Any]:
        """Return the fields of a request that have a value."""
        return given(**asdict(self))


@dataclass(frozen=True)
class BackendChoice:
    """A server, or a model in this process."""

    server: options.Server = options.DEFAULT_SERVER
    api_key: options.ApiKey = None
    local: options.Local = False
    model: options.Model = None
    preset: options.Preset = None
    device: options.Device = "auto"
    dtype: options.Dtype = "auto"
    normalize: options.Normalize = "unicode"

    def open(self) -> Backend:
        """Return the backend. Raises CliError if there is no such model."""
        return open_backend(**asdict(self))


@dataclass(frozen=True)
class Serving:
    """The model of workers, and how they run it."""

    model: options.Model = None
    preset: options.Preset = None
    device: options.Device = "auto"
    dtype: options.Dtype = "auto"
    generation_config: options.GenerationConfig = "auto"
    normalize: options.Normalize = "unicode"
