"""The server under load, over HTTP: latency of one image, saturation with images, a mixed load.

`bench/gpu_server.sh` starts the server and runs this. `make-model` writes a checkpoint of random weights of a
preset's shape, for a machine without one; speed depends little on the weights.
"""

import argparse
import asyncio
import base64
import io
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from bench import results, weights

RESULTS = Path(__file__).parent / "results"
PROMPT = "старый кот на синем фоне, номер {}"
TIMEOUT_S = 300.0

Call = Callable[[httpx.AsyncClient, int], Awaitable[None]]


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request; wait as `Retry-After` says while the queue is full."""
    while True:
        reply = await client.post(path, json=body)
        if reply.status_code not in (429, 503):
            reply.raise_for_status()
            return reply.json()
        await asyncio.sleep(min(float(reply.headers.get("Retry-After", "1")), 1.0))


def _draw(count: int) -> Call:
    async def call(client: httpx.AsyncClient, number: int) -> None:
        reply = await _post(
            client, "/v1/text2image", {"prompt": PROMPT.format(number), "n": count, "seed": number}
        )
        if len(reply["images"]) != count:
            raise RuntimeError(f"{len(reply['images'])} images instead of {count}")

    return call


def _image() -> str:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((256, 256)).convert("RGB").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _describe(image: str) -> Call:
    async def call(client: httpx.AsyncClient, number: int) -> None:
        await _post(client, "/v1/image2text", {"image": image, "max_tokens": 16, "seed": number})

    return call


def _classify(image: str) -> Call:
    # Words of letters: a vocabulary may have no digits, and classes that read the same are refused.
    classes = weights.words(20)

    async def call(client: httpx.AsyncClient, number: int) -> None:
        await _post(client, "/v1/classify", {"image": image, "classes": classes})

    return call


async def _load(
    client: httpx.AsyncClient, call: Call, count: int, connections: int
) -> tuple[list[float], float]:
    """Send `count` requests over these connections; return the seconds of each and of all together."""
    numbers = iter(range(count))
    samples: list[float] = []

    async def worker() -> None:
        for number in numbers:
            start = time.perf_counter()
            await call(client, number)
            samples.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    return samples, time.perf_counter() - start


def _p(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def measure(url: str, *, scale: float, n: int, connections: int) -> list[dict[str, Any]]:
    """Run all loads in order; return a row for each."""
    rows: list[dict[str, Any]] = []

    def add(name: str, samples: list[float], spent: float, **more: Any) -> None:
        rows.append(
            {"name": name, "unit": "s", "seconds": results.quantiles(samples), "spent_s": spent, **more}
        )
        rates = "  ".join(f"{key} {value:.2f}" for key, value in more.items())
        print(
            f"  {name:<48} p50 {statistics.median(samples) * 1e3:>9.2f} ms"
            f"  p95 {_p(samples, 0.95) * 1e3:>9.2f} ms"
            f"  {rates}",
            flush=True,
        )

    def times(number: int) -> int:
        return max(2, round(number * scale))

    limits = httpx.Limits(max_connections=connections * 4)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits) as client:
        await _load(client, _draw(1), 2, 1)
        samples, spent = await _load(client, _draw(1), times(100), 1)
        add("one image, idle server", samples, spent)
        samples, spent = await _load(client, _draw(n), times(400), connections)
        add(f"n = {n}, {connections} connections", samples, spent, images_per_s=len(samples) * n / spent)
        image = _image()
        kinds = {
            "n = 1": _draw(1),
            f"n = {n}": _draw(n),
            "caption": _describe(image),
            "classify": _classify(image),
        }
        mixed = await asyncio.gather(
            *(_load(client, call, times(100), max(1, connections // 4)) for call in kinds.values())
        )
        for name, (samples, spent) in zip(kinds, mixed, strict=True):
            add(f"mixed load: {name}", samples, spent, requests_per_s=len(samples) / spent)
    return rows


def make_model(folder: Path, preset: str) -> None:
    """Write a checkpoint of random weights of this shape, with a vocabulary of made-up words."""
    import tempfile

    import torch

    from model.config import PRESETS, VqganConfig
    from model.files.checkpoint import save_checkpoint
    from model.image_tokenizer import ImageTokenizer

    config = PRESETS[preset].config
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as words:
        vocabulary = weights.vocabulary(config.bpe_vocab_size, Path(words))
        save_checkpoint(
            folder,
            transformer=weights.transformer(config, torch.float16),
            image_tokenizer=ImageTokenizer(VqganConfig()),
            vocabulary=vocabulary,
            name=f"{preset}-random",
            dtype=torch.float16,
        )


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make-model")
    making.add_argument("folder", type=Path)
    making.add_argument("--preset", default="350M")
    loading = commands.add_parser("load")
    loading.add_argument("url")
    loading.add_argument("--scale", type=float, default=1.0, help="share of the usual number of requests")
    loading.add_argument("--n", type=int, default=16, help="images per request at saturation")
    loading.add_argument("--connections", type=int, default=32)
    loading.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.command == "make-model":
        make_model(options.folder, options.preset)
        return
    rows = asyncio.run(
        measure(options.url, scale=options.scale, n=options.n, connections=options.connections)
    )
    document = {
        "command": "python -m bench.gpu_server " + " ".join(sys.argv[1:]),
        "machine": {"gpu": _gpu(), "system": platform.system()},
        "versions": {"python": platform.python_version(), "httpx": httpx.__version__},
        "rows": rows,
    }
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
