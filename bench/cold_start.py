"""From a command to a picture: `rudolph serve` starts, and answers its first request.

Files are in the system's cache, as on a machine that served before. Knows the server from outside only: its
command, its addresses. A checkpoint of the 350M shape, random weights in the official files, stands for the
published one.
"""

import json
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import torch

from bench import results
from bench.peers import PROMPT, vocabulary
from bench.programs import ROOT, free_port, program, wait_for
from bench.results import Sample
from model.config import PRESETS, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.transformer import Transformer

DEMO = ROOT / "checkpoints" / "demo"
REPLY_TIMEOUT_S = 120.0
WEIGHT = 0.02
"""Standard deviation of random weights."""


def measure(repeats: int) -> dict[str, Any]:
    """Seconds from the command to ready and to the first picture, medians, as a result document."""
    content = results.document(rows=[], samples={})
    with tempfile.TemporaryDirectory() as place:
        official = Path(place) / "checkpoint"
        _write_official(official)
        for name, checkpoint in (("350M shape, official files", official), ("demo checkpoint", DEMO)):
            starts = [_start(checkpoint, Path(place)) for _ in range(repeats + 1)][1:]
            for what, samples in zip(("ready", "first picture"), zip(*starts, strict=True), strict=True):
                row = f"{name}: {what}"
                content["rows"].append({"name": row, "value": results.median([*samples]), "unit": "s"})
                content["samples"][row] = results.as_json([*samples])
                print(f"  {row:<50} {content['rows'][-1]['value']:9.2f} s", flush=True)
    return content


def _start(checkpoint: Path, place: Path) -> tuple[Sample, Sample]:
    """One cold start: until the server is ready, and until the picture is here."""
    port = free_port()
    serve = ["-m", "cli", "serve", "--port", str(port), "--model", str(checkpoint)]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(dir=place) as data:
        begun = time.perf_counter()
        with program([*serve, "--data-dir", data], place / "serve.log"):
            wait_for(f"{url}/health/ready")
            ready = time.perf_counter() - begun
            request = urllib.request.Request(
                f"{url}/v1/text2image",
                json.dumps({"prompt": PROMPT, "seed": 1}).encode(),
                {"Content-Type": "application/json", "Accept": "image/png"},
            )
            with urllib.request.urlopen(request, timeout=REPLY_TIMEOUT_S) as reply:
                picture = reply.read()
            drawn = time.perf_counter() - begun
    if not picture.startswith(b"\x89PNG"):
        raise RuntimeError("the first reply is no picture")
    return Sample(ready, 0.0), Sample(drawn, 0.0)


def _write_official(folder: Path) -> None:
    """Random weights under the names, in the files and the number format of the published checkpoint."""
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
