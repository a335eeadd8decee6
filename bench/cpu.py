"""`make bench`: each task on this processor, ours beside the published package, in one run.

Ours includes the image tokenizer and the picture file; the package's figures leave both out. Writes
`bench/results/cpu.json` with the machine, versions, command and raw samples, and prints a table of ratios.
"""

import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.peers import PROMPT, REFERENCE_BATCH, Peers, peers, picture
from jobs.job import Task
from jobs.requests import (
    ClassifyRequest,
    Codes,
    Image2TextRequest,
    RankImagesRequest,
    Sampling,
    Text2ImageRequest,
)
from model.config import PRESETS, ModelConfig, VqganConfig
from model.precision import choose_dtype

RESULTS = Path(__file__).parent / "results"
CAPTION_TOKENS = 24
QUICK = ModelConfig(3, 64, 4, 16, 4, 24, 3, 5, text_special_tokens=384, image_special_tokens=8)
QUICK_VQGAN = VqganConfig(8192, 32, 32, 32, 32, (1, 1, 1, 2), 1, (4,))


@dataclass
class Row:
    """One measure: seconds a unit (an image, a caption, a request), ours and theirs."""

    name: str
    unit: str
    must: float | None
    ours: list[float] = field(default_factory=list[float])
    theirs: list[float] = field(default_factory=list[float])

    @property
    def ratio(self) -> float | None:
        return _median(self.theirs) / _median(self.ours) if self.theirs else None


def measure(*, quick: bool, dtype_name: str, repeats: int) -> list[Row]:
    """All rows. `quick` takes a toy shape, to see that everything runs."""
    config, vqgan = (QUICK, QUICK_VQGAN) if quick else (PRESETS["350M-v2"].config, VqganConfig())
    dtype = choose_dtype(torch.device("cpu"), dtype_name)
    with peers(config, vqgan, dtype, num_slots=16) as both:
        rows = [
            *(_image_row(both, count, repeats) for count in (1, 4, 16)),
            _caption_row(both, repeats),
            *(_classify_row(both, count, repeats) for count in (10, 100)),
            _rank_row(both, repeats),
        ]
    # The reference's best batch stands for larger ones too: it gains nothing beyond.
    rows[2].theirs = rows[1].theirs
    return rows


def _image_row(both: Peers, count: int, repeats: int) -> Row:
    row = Row(f"text2image, n = {count}", "image", {1: 7.0, 16: 25.0}.get(count))
    request = Text2ImageRequest(PROMPT, seed=1, n=count, candidates=count)
    row.ours = _times(lambda: both.run(Task.TEXT2IMAGE, request), repeats, count)
    if count <= REFERENCE_BATCH:
        row.theirs = _times(
            lambda: both.api.generate_codebooks(PROMPT, count, seed=1), 1, count, warm_up=False
        )
    return row


def _caption_row(both: Peers, repeats: int) -> Row:
    image, file = picture(both.rudolph.input_side)
    row = Row("image2text, 1 caption", "caption", 15.0)
    # Greedy on both sides, and both run to their last token or eos.
    request = Image2TextRequest(
        file, seed=1, max_tokens=CAPTION_TOKENS, template="на картинке", sampling=Sampling(1.0, 1, 1.0)
    )
    row.ours = _times(lambda: both.run(Task.IMAGE2TEXT, request), repeats, 1)
    row.theirs = _times(
        lambda: both.api.generate_captions(
            image, early_stop=CAPTION_TOKENS, captions_num=1, r_template="на картинке", top_k=1, top_p=1.0,
            temperature=1.0, seed=1,
        ),
        1, 1, warm_up=False,
    )  # fmt: skip
    return row


def _classify_row(both: Peers, count: int, repeats: int) -> Row:
    image, file = picture(both.rudolph.input_side)
    classes = tuple(f"круг {index}" for index in range(count))
    row = Row(f"classify, {count} classes", "request", 20.0 if count == 100 else None)
    request = ClassifyRequest(file, classes, template="на картинке {}")
    row.ours = _times(lambda: both.run(Task.CLASSIFY, request), repeats, 1)
    row.theirs = _times(
        lambda: both.api.zs_clf(image, list(classes), r_template="на картинке {}", seed=1),
        1,
        1,
        warm_up=False,
    )
    return row


def _rank_row(both: Peers, repeats: int) -> Row:
    row = Row("rank 16 pictures by a text", "request", None)
    codes = both.codes.repeat(16, 1)
    codes[:, 0] = torch.arange(16)
    pictures = tuple(Codes(tuple(one)) for one in codes.tolist())
    row.ours = _times(lambda: both.run(Task.RANK_IMAGES, RankImagesRequest(PROMPT, pictures)), repeats, 1)
    row.theirs = _times(lambda: both.api.self_reranking_by_text(PROMPT, codes, seed=1), 1, 1, warm_up=False)
    return row


def _times(action: Callable[[], Any], repeats: int, units: int, *, warm_up: bool = True) -> list[float]:
    if warm_up:
        action()
    samples: list[float] = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        action()
        samples.append((time.perf_counter() - start_s) / units)
    return samples


def _median(samples: list[float]) -> float:
    return sorted(samples)[len(samples) // 2]


def save(rows: list[Row], path: Path, dtype_name: str) -> None:
    """Machine, versions, command and raw samples, as JSON."""
    path.parent.mkdir(exist_ok=True)
    document = {
        "command": "python -m bench " + " ".join(sys.argv[1:]),
        "machine": {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "system": platform.system(),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "dtype": dtype_name,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "unit": "seconds",
        "rows": [
            {
                "name": row.name,
                "unit": row.unit,
                "ours": row.ours,
                "reference": row.theirs,
                "ratio": row.ratio,
            }
            for row in rows
        ],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def show(rows: list[Row], dtype_name: str) -> None:
    table = Table(title=f"seconds a unit, medians; ours in {dtype_name}, the published package in float32")
    for heading in ("measure", "unit", "ours", "package", "ratio", "must"):
        table.add_column(heading, justify="left" if heading in ("measure", "unit") else "right")
    for row in rows:
        theirs = f"{_median(row.theirs):.3f}" if row.theirs else "–"
        ratio = f"{row.ratio:.1f}×" if row.ratio is not None else "–"
        must = f"{row.must:g}×" if row.must is not None else "–"
        table.add_row(row.name, row.unit, f"{_median(row.ours):.3f}", theirs, ratio, must)
    Console().print(table)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as information:
        names = [line.partition(":")[2].strip() for line in information if line.startswith("model name")]
    return names[0] if names else platform.processor()
