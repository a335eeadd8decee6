"""Options that several commands share. Their values are checked before a command starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_args

import typer

from cli.console import CliError


def _checked(option: str, check: Callable[[str], str]) -> Callable[[str | None], str | None]:
    """Return a callback that turns a ValueError of `check` into one line with the name of the option."""

    def callback(value: str | None) -> str | None:
        try:
            return check(value) if value is not None else None
        except ValueError as error:
            variable = "RUDOLPH_" + option.strip("-").replace("-", "_").upper()
            raise CliError(f"{option} ({variable}): {error}", exit_code=78) from error

    return callback


def _device(name: str) -> str:
    from workers.devices import check_device

    return check_device(name)


def _dtype(name: str) -> str:
    from workers.settings import Dtype

    known = get_args(Dtype)
    if name not in known:
        raise ValueError(f"must be {', '.join(known[:-1])} or {known[-1]}; got {name!r}.")
    return name


def _normalize(name: str) -> str:
    from model.text_normalization import Normalization

    known = get_args(Normalization)
    if name not in known:
        raise ValueError(f"must be {' or '.join(known)}; got {name!r}.")
    return name


def _preset(name: str) -> str:
    from model.config import PRESETS

    if name not in PRESETS:
        raise ValueError(f"must be one of {', '.join(PRESETS)}; got {name!r}.")
    return name


def _redis_url(url: str) -> str:
    from jobs.redis.address import check_url

    return check_url(url)


Model = Annotated[
    Path | None,
    typer.Option("--model", envvar="RUDOLPH_MODEL", help="Checkpoint folder. Default: the bundled demo."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        envvar="RUDOLPH_PRESET",
        help="Architecture of a checkpoint folder without config.json, for example 350M.",
        callback=_checked("--preset", _preset),
    ),
]
GenerationConfig = Annotated[
    str,
    typer.Option(
        "--generation-config",
        envvar="RUDOLPH_GENERATION_CONFIG",
        help="Sampling defaults and examples: auto (of the checkpoint), none (published values) or a file.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="RUDOLPH_DEVICE",
        help="auto, cpu, cuda or cuda:N.",
        callback=_checked("--device", _device),
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        envvar="RUDOLPH_DTYPE",
        help="auto, float16, bfloat16 or float32.",
        callback=_checked("--dtype", _dtype),
    ),
]
Normalize = Annotated[
    str,
    typer.Option(
        "--normalize",
        envvar="RUDOLPH_NORMALIZE",
        help="unicode: texts that look the same are read the same. none: as the published packages.",
        callback=_checked("--normalize", _normalize),
    ),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar="RUDOLPH_REDIS_URL",
        help="URL of Redis: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.",
        callback=_checked("--redis-url", _redis_url),
    ),
]
Queue = Annotated[str, typer.Option("--queue", envvar="RUDOLPH_QUEUE_NAME", help="Name of the queue.")]
RedisServer = Annotated[
    str | None,
    typer.Option(
        "--redis-server",
        envvar="RUDOLPH_REDIS_SERVER",
        help="Program of the embedded Redis: redis-server or valkey-server. Default: packaged, else on PATH.",
    ),
]
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="RUDOLPH_DATA_DIR", help="Data folder of the embedded Redis.")
]
Server = Annotated[str, typer.Option("--server", envvar="RUDOLPH_SERVER", help="URL of a running server.")]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="RUDOLPH_API_KEY", help="API key, if the server requires one."),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]
Local = Annotated[
    bool, typer.Option("--local", help="Load the model into this process instead of using a server.")
]
Images = Annotated[
    list[Path], typer.Argument(help="Images (PNG, JPEG, WebP) or folders of them; - reads standard input.")
]
ImageOutput = Annotated[
    str,
    typer.Option("--output", "-o", help="File (its suffix is the format), folder, or - for standard output."),
]
NumImages = Annotated[int, typer.Option("-n", min=1, max=16, help="Number of images to return.")]
ImageCandidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        min=1,
        max=256,
        help="Number of images to draw; the best n are returned. Default: n.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=2**63 - 1,
        help="Random seed. The same seed gives the same result on this kind of machine. Default: random.",
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        min=0.01,
        max=10.0,
        help="Randomness: lower is safer, higher is more varied. Default: of the model.",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        min=0,
        help="Sample from the k most likely tokens; 0: all, 1: greedy. Default: of the model.",
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        min=0.0,
        max=1.0,
        help="Sample from the most likely tokens with this total probability; 1: all. Default: of the model.",
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        min=0.0,
        max=1.0,
        help="Drop tokens below this share of the largest probability; 0: none. Default: of the model.",
    ),
]

DEFAULT_DATA_DIR = Path("var")
DEFAULT_SERVER = "http://127.0.0.1:8000"
