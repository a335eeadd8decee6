"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path | None,
    typer.Option("--model", envvar="RUDOLPH_MODEL", help="Folder of a checkpoint; default: the bundled one."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", envvar="RUDOLPH_PRESET", help="Architecture of a folder without config.json, e.g. 350M."
    ),
]
Device = Annotated[str, typer.Option("--device", envvar="RUDOLPH_DEVICE", help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[
    str,
    typer.Option("--dtype", envvar="RUDOLPH_DTYPE", help="auto, float16, bfloat16 or float32."),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar="RUDOLPH_REDIS_URL",
        help="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.",
    ),
]
Server = Annotated[str, typer.Option("--server", envvar="RUDOLPH_SERVER", help="URL of a running server.")]
ApiKey = Annotated[
    str | None, typer.Option("--api-key", envvar="RUDOLPH_API_KEY", help="Key for the server, if it asks.")
]
Local = Annotated[
    bool, typer.Option("--local", help="Load the model into this process instead of asking a server.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="Same seed, same result; default: random.")
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", min=0.01, max=10.0, help="Below 1 plays safe, above 1 dares."),
]
TopK = Annotated[
    int | None, typer.Option("--top-k", min=0, help="Keep the k likeliest tokens; 0: all, 1: greedy.")
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", min=0.0, max=1.0, help="Keep the likeliest tokens that add up to this; 1: all."),
]

DEFAULT_SERVER = "http://127.0.0.1:8000"
