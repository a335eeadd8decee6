"""Estimated time of a decode step of image tokens on GPUs, beside the measured one: a table of docs/gpu.md.

The estimate adds up, for each kernel, the longest of its bytes, its products and its least time, and a gap
between two kernels. It is arithmetic with assumed constants, not a measurement.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.results import read
from model.config import PRESETS

CONFIG = PRESETS["350M"].config
ROWS = (1, 16, 64, 256)
GAPS_S = (1.0e-6, 1.8e-6)
"""Between two kernels of a graph."""
FEW_ROWS = 16
"""Up to this number of rows, norms, GELU and residuals are part of the products."""
KEYS = 15.8
"""Mean keys that an image token sees in the image."""
SHARED = 16
"""Sequences that share a left text."""
BYTES_A_KEY = 4096
"""Keys and values of one position in a layer, float16."""
DRAW_S = 22e-6
"""The sampling kernel, for as many sequences as the GPU has multiprocessors (132)."""
SERVES = "+ products of a few rows (what serves)"


@dataclass(frozen=True)
class Gpu:
    name: str
    bytes_per_s: float
    flop_per_s: float
    """Products in float16 that a library reaches at these sizes."""


GPUS = (
    Gpu("H200", 4.3e12, 500e12),
    Gpu("H100", 3.0e12, 500e12),
    Gpu("A100", 1.6e12, 180e12),
    Gpu("L4", 0.27e12, 60e12),
    Gpu("T4", 0.27e12, 30e12),
)


def kernels(rows: int) -> int:
    """Return the kernels of a captured step: those of each layer, the embedding, the head and the draw."""
    return (5 if rows <= FEW_ROWS else 7) * CONFIG.num_layers + 3


def step_s(gpu: Gpu, rows: int, gap_s: float) -> float:
    """Return the estimated seconds of one step."""
    hidden, layers = CONFIG.hidden_size, CONFIG.num_layers

    def product(wide: int, narrow: int, least_s: float) -> float:
        reads = 2 * wide * narrow / gpu.bytes_per_s
        return max(reads, 2 * rows * wide * narrow / gpu.flop_per_s, least_s)

    products = sum(
        product(wide, narrow, 1.2e-6)
        for wide, narrow in (
            (3 * hidden, hidden),
            (hidden, hidden),
            (4 * hidden, hidden),
            (hidden, 4 * hidden),
        )
    )
    keys = rows * (CONFIG.left_text_length / min(rows, SHARED) + KEYS) * BYTES_A_KEY
    attention = max(keys / gpu.bytes_per_s, 2.5e-6 if rows <= 64 else 4e-6)
    norms = 0.0 if rows <= FEW_ROWS else 2 * max(rows * hidden * 14 / gpu.bytes_per_s, 1e-6)
    head = product(CONFIG.image_codebook_size, hidden, 2e-6)
    draw = DRAW_S * -(-rows // 132)
    return layers * (products + attention + norms) + head + draw + kernels(rows) * gap_s


def table(results: Path) -> list[list[str]]:
    """Return the estimated step of each GPU in milliseconds, and the measured one of every result file."""
    measured = _measured(results)
    names = [f"{rows} row{'s' if rows > 1 else ''}" for rows in ROWS]
    cells = [["GPU", *names, *(f"{name}, measured" for name in names)]]
    for gpu in GPUS:
        estimates = [[step_s(gpu, rows, gap_s) * 1e3 for gap_s in GAPS_S] for rows in ROWS]
        found = next((row for name, row in measured.items() if re.search(rf"\b{gpu.name}\b", name)), {})
        seen = ["–" if rows not in found else f"{found[rows] * 1e3:.2f}" for rows in ROWS]
        cells.append([gpu.name, *("{:.2f}–{:.2f}".format(*pair) for pair in estimates), *seen])
    return cells


def _measured(results: Path) -> dict[str, dict[int, float]]:
    """Median seconds of a step by GPU and rows, from the result files of `python -m bench.gpu`."""
    found: dict[str, dict[int, float]] = {}
    for file in sorted(results.glob("*.json")):
        document: Any = read(file)
        if "gpu" in document.get("machine", {}) and not document.get("tiny", True):
            found[document["machine"]["gpu"]] = {
                row["rows"]: row["median"]
                for row in document["rows"]
                if row["section"] == "ladder" and row["name"].endswith(SERVES)
            }
    return found
