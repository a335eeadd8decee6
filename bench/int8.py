"""What int8 weights bring and cost: products of the 350M shapes, and what the demo checkpoint loses.

Knows layers and whole networks; docs/adr/int8-weights.md draws the conclusions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench import results
from jobs.job import Job, Task
from jobs.requests import Text2ImageRequest
from jobs.results import ImagesResult
from model.checkpoint import load_rudolph
from model.config import PRESETS
from model.kernels.cpu_linear import Int8Linear, PackedLinear, can_pack_int8
from model.kernels.x86 import is_available
from model.kernels.x86.linear import Int8PanelLinear, PanelLinear
from model.precision import has_native_bfloat16
from model.rudolph import Rudolph
from model.tasks import Prompts
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session

ROWS = (1, 8, 16, 320)
CALLS = 12
WEIGHT_SETS = 12
"""Layers in turn, as in a step: together larger than any cache."""

DEMO = Path(__file__).resolve().parents[1] / "checkpoints" / "demo"
PICTURES_EACH = 8
PROMPTS = (
    "клубника",
    "кот на синем фоне",
    "морда панды",
    "автомобиль на желтом фоне",
    "сова на зелёном фоне",
    "яблоко на розовом фоне",
)

Product = Callable[[Tensor], Tensor]


def compare() -> dict[str, Any]:
    """Milliseconds a step by format and rows, and the quality of each, as a result document."""
    content = results.document(rows=[])
    with torch.inference_mode():
        content["rows"] += _products()
        content["rows"] += _quality()
    return content


def _products() -> list[dict[str, Any]]:
    hidden, layers = PRESETS["350M"].config.hidden_size, PRESETS["350M"].config.num_layers
    shapes = ((3 * hidden, hidden), (hidden, hidden), (4 * hidden, hidden), (hidden, 4 * hidden))
    rows: list[dict[str, Any]] = []
    for name, make in _formats().items():
        stacks = [[make(_linear(shape)) for shape in shapes] for _ in range(WEIGHT_SETS)]
        for count in ROWS:
            inputs = [torch.randn(count, shape[1]) for shape in shapes]
            samples = results.timed(lambda stacks=stacks, inputs=inputs: _step(stacks, inputs), CALLS)
            value = results.median(samples) * 1e3 * layers / WEIGHT_SETS
            rows.append({"name": f"{name}, {count} rows", "value": value, "unit": "ms"})
            print(f"  {rows[-1]['name']:<50} {value:9.2f} ms", flush=True)
    return rows


def _step(stacks: list[list[Product]], inputs: list[Tensor]) -> None:
    for stack in stacks:
        for product, x in zip(stack, inputs, strict=True):
            product(x)


def _linear(shape: tuple[int, int]) -> nn.Linear:
    linear = nn.Linear(shape[1], shape[0])
    linear.weight.data.copy_(torch.randn(shape) / shape[1] ** 0.5)
    return linear


def _weight_only(linear: nn.Linear) -> Product:
    """int8 weights, multiplied into bfloat16 activations by the library's own kernel."""
    scales = linear.weight.abs().amax(dim=1) / 127
    whole = (linear.weight / scales[:, None]).round().to(torch.int8)
    half = scales.bfloat16()
    return lambda x: torch.ops.aten._weight_int8pack_mm(x.bfloat16(), whole, half)


def _by(make: Callable[[Tensor, Tensor], nn.Module], dtype: torch.dtype) -> Callable[[nn.Linear], Product]:
    return lambda linear: make(linear.weight.to(dtype), linear.bias.to(dtype))


def _formats() -> dict[str, Callable[[nn.Linear], Product]]:
    """Those that this processor has."""
    formats: dict[str, Callable[[nn.Linear], Product]] = {
        "float32, oneDNN": _by(PackedLinear, torch.float32),
        "int8 weights alone, torch": _weight_only,
    }
    if has_native_bfloat16():
        formats["bfloat16, oneDNN"] = _by(PackedLinear, torch.bfloat16)
    if can_pack_int8():
        formats["int8 weights and activations, oneDNN"] = _by(Int8Linear, torch.bfloat16)
    if is_available():
        formats["bfloat16, ours"] = _by(PanelLinear, torch.bfloat16)
        formats["int8 weights and activations, ours"] = _by(Int8PanelLinear, torch.bfloat16)
    return formats


# Quality -----------------------------------------------------------------------------------------------


def _quality() -> list[dict[str, Any]]:
    """Codes that float32 drew, read by each format: the likeliest code, and perplexity."""
    measure = _loaded("float32")
    ids = _drawn()
    wanted = _logits(measure, ids)
    rows: list[dict[str, Any]] = []
    for name, dtype, int8 in (
        ("float32", "float32", False),
        ("bfloat16", "bfloat16", False),
        ("int8", "bfloat16", True),
    ):
        rudolph = _loaded(dtype)
        rudolph.transformer.pack(int8=int8)
        got = _logits(rudolph, ids)
        agreement = (got.argmax(-1) == wanted.argmax(-1)).double().mean()
        targets = ids[:, measure.config.image_start + 1 : measure.config.right_start]
        perplexity = cross_entropy(got.flatten(0, 1), targets.flatten()).double().exp()
        rows += [
            {
                "name": f"demo, {name}: likeliest code as in float32",
                "value": float(agreement) * 100,
                "unit": "%",
            },
            {"name": f"demo, {name}: perplexity of the pictures", "value": float(perplexity), "unit": ""},
        ]
        print(
            f"  {name:<12} likeliest code {float(agreement):.4f}  perplexity {float(perplexity):.4f}",
            flush=True,
        )
    return rows


def _loaded(dtype: str) -> Rudolph:
    return load_rudolph(DEMO, dtype=dtype)


def _logits(rudolph: Rudolph, ids: Tensor) -> Tensor:
    """Of every code but the first, float32, shape = (pictures, W² − 1, codes)."""
    config = rudolph.config
    hidden = rudolph.transformer.encode(ids)[:, config.image_start : config.right_start - 1]
    return rudolph.transformer.image_logits(hidden, config.image_codebook_size).float()


def _drawn() -> Tensor:
    """Left texts and the codes that float32 draws behind them, shape = (pictures, L + W²)."""
    rudolph = _loaded("float32")
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    session = Session(rudolph, EngineSettings())
    for prompt in PROMPTS:
        request = Text2ImageRequest(prompt, 1, n=PICTURES_EACH, candidates=PICTURES_EACH, return_codes=True)
        session.submit(Job(prompt, Task.TEXT2IMAGE, request))
    ids: list[tuple[int, ...]] = []
    while session.has_work:
        for event in session.step().events:
            if isinstance(event, Finished):
                assert isinstance(event.outcome, ImagesResult)
                left = prompts.text2image_left(event.job_id)
                ids += [left + (image.codes or ()) for image in event.outcome.images]
    session.close()
    return torch.tensor(ids)
