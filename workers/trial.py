"""Draws one image of a small checkpoint on a device, through the engine that serves."""

import time
from pathlib import Path

import torch

from model.config import BOS_ID, EOS_ID, PAD_ID
from model.files.checkpoint import load_rudolph
from model.network.layout import Segment
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import DecodeImages, Generate, Generated, Sampling, WorkDone, WorkFailed


def draw_one_image(model: Path, device: torch.device, *, preset: str | None, dtype: str) -> float:
    """Return the seconds of one image of a checkpoint, from an idle engine to a PNG file.

    Raises the error of the load, of the engine's start, or of a step.
    """
    rudolph = load_rudolph(model, preset=preset, device=device, dtype=dtype)
    engine = Engine(rudolph, EngineSettings(num_slots=2))
    left = (BOS_ID, EOS_ID, *[PAD_ID] * (rudolph.config.left_text_length - 2))
    top_k = min(768, rudolph.config.image_codebook_size)
    try:
        start = time.perf_counter()
        engine.submit("trial", Generate(Segment.IMAGE, left, (1,), Sampling(1.0, top_k, 0.99)))
        while engine.has_work:
            for event in engine.step().events:
                if isinstance(event, WorkFailed):
                    raise event.error
                if isinstance(event, WorkDone) and isinstance(event.result, Generated):
                    engine.submit("trial", DecodeImages(event.result.candidates, "png"))
        return time.perf_counter() - start
    finally:
        engine.close()
