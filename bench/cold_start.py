"""Seconds from the command `rudolph serve` to ready, and to the first image.

Files are in the system's cache, as on a machine that has served before. A checkpoint of the 350M shape with
random weights in the official file format replaces the published one.
"""

import json
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import torch

from bench import results
from bench.processes import ROOT, free_port, python_process, wait_for
from bench.results import Sample
from bench.weights import PROMPT, vocabulary
from model.config import PRESETS, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer

DEMO = ROOT / "checkpoints" / "demo"
REPLY_TIMEOUT_S = 120.0
WEIGHT = 0.02
"""Standard deviation of random weights."""


def measure(repeats: int) -> dict[str, Any]:
    """Return the median seconds of both as a result document."""
    content = results.document(rows=[])
    with tempfile.TemporaryDirectory() as place:
        official = Path(place) / "checkpoint"
        _write_official(official)
        for name, checkpoint in (("350M shape, official files", official), ("demo checkpoint", DEMO)):
            starts = [_start(checkpoint, Path(place)) for _ in range(repeats + 1)][1:]
            for what, samples in zip(("ready", "first picture"), zip(*starts, strict=True), strict=True):
                row = f"{name}: {what}"
                content["rows"].append({"name": row, "value": results.median([*samples]), "unit": "s"})
                content["rows"][-1] |= results.summary([*samples])
                print(f"  {row:<50} {content['rows'][-1]['value']:9.2f} s", flush=True)
    return content


def _start(checkpoint: Path, place: Path) -> tuple[Sample, Sample]:
    """Start the server once; return the times until it is ready and until the image has arrived."""
    port = free_port()
    serve = ["-m", "cli", "serve", "--port", str(port), "--model", str(checkpoint)]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(dir=place) as data:
        begun = time.perf_counter()
        with python_process([*serve, "--data-dir", data], place / "serve.log"):
            wait_for(f"{url}/health/ready")
            ready = time.perf_counter() - begun
            request = urllib.request.Request(
                f"{url}/v1/text2image",
                json.dumps({"prompt": PROMPT, "seed": 1}).encode(),
                {"Content-Type": "application/json", "Accept": "image/png"},
            )
            with urllib.request.urlopen(request, timeout=REPLY_TIMEOUT_S) as reply:
                image = reply.read()
            drawn = time.perf_counter() - begun
    if not image.startswith(b"\x89PNG"):
        raise RuntimeError("The first response is not an image.")
    return Sample(ready, 0.0), Sample(drawn, 0.0)


def _write_official(folder: Path) -> None:
    """Write random weights with the tensor names, files and number format of the published checkpoint."""
    folder.mkdir()
    config = PRESETS["350M"].config
    generator = torch.Generator().manual_seed(1)
    transformer, image_tokenizer = Transformer(config), ImageTokenizer(VqganConfig())
    with torch.no_grad():
        for weight in transformer.parameters():
            weight.normal_(0.0, WEIGHT, generator=generator)
    torch.save(transformer.state_dict(), folder / "pytorch_model.bin")
    torch.save({"state_dict": image_tokenizer.state_dict()}, folder / "vqgan.gumbelf8-sber.model.ckpt")
    vocabulary(config.bpe_vocab_size, folder)
