"""Speed of int8 products of the 350M shapes, and the loss of quality of the demo checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy

from bench import results
from jobs.contract.job import Job
from jobs.contract.requests import Task, Text2ImageRequest
from jobs.contract.results import ImagesResult
from model.backends import choose_backend
from model.backends.eager import EagerBackend
from model.backends.network import Network
from model.backends.x86 import is_available
from model.backends.x86.linear import PanelLinear, WeightFormat
from model.config import PRESETS
from model.files.checkpoint import load_rudolph
from model.rudolph import Rudolph
from model.tasks import Prompts
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session

ROWS = (1, 8, 16, 320)
CALLS = 12
WEIGHT_SETS = 12
"""Layers in turn, as in a step; together they are larger than any cache."""

DEMO = Path(__file__).resolve().parents[1] / "checkpoints" / "demo"
IMAGES_EACH = 8
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
    """Return milliseconds per step by format and rows, and the quality of each, as a result document."""
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
    """int8 weights times bfloat16 activations, by the kernel of torch."""
    scales = linear.weight.abs().amax(dim=1) / 127
    weights = (linear.weight / scales[:, None]).round().to(torch.int8)
    scales_16 = scales.bfloat16()
    return lambda x: torch.ops.aten._weight_int8pack_mm(x.bfloat16(), weights, scales_16)


def _float32(linear: nn.Linear) -> Product:
    """The library's own product."""
    return lambda x: functional.linear(x, linear.weight, linear.bias)


def _panels(weight_format: WeightFormat) -> Callable[[nn.Linear], Product]:
    return lambda linear: PanelLinear(linear.weight, linear.bias, weight_format=weight_format)


def _formats() -> dict[str, Callable[[nn.Linear], Product]]:
    """The formats that this processor supports."""
    formats: dict[str, Callable[[nn.Linear], Product]] = {
        "float32, torch": _float32,
        "int8 weights alone, torch": _weight_only,
    }
    if is_available():
        formats["bfloat16, ours"] = _panels(WeightFormat.AUTO)
        formats["int8 weights and activations, ours"] = _panels(WeightFormat.INT8)
    return formats


# Quality -----------------------------------------------------------------------------------------------


def _quality() -> list[dict[str, Any]]:
    """For codes drawn in float32: agreement of the likeliest code, and perplexity, by format."""
    reference = _loaded("float32")
    ids = _drawn()
    expected = _logits(reference.transformer, ids)
    rows: list[dict[str, Any]] = []
    for name, dtype, weight_format in (
        ("float32", "float32", "auto"),
        ("bfloat16", "bfloat16", "auto"),
        ("int8", "bfloat16", "int8"),
    ):
        backend = choose_backend(_loaded(dtype), weight_format)
        assert isinstance(backend, EagerBackend)
        got = _logits(backend.network, ids)
        agreement = (got.argmax(-1) == expected.argmax(-1)).double().mean()
        targets = ids[:, reference.config.image_start + 1 : reference.config.right_start]
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


def _logits(network: Network, ids: Tensor) -> Tensor:
    """Return the logits of every code but the first, float32, shape = (images, W² − 1, codes)."""
    config = network.config
    hidden = network.encode(ids)[:, config.image_start : config.right_start - 1]
    return network.image_logits(hidden, config.image_codebook_size).float()


def _drawn() -> Tensor:
    """Left texts and the codes that float32 draws after them, shape = (images, L + W²)."""
    rudolph = _loaded("float32")
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    session = Session(rudolph, EngineSettings())
    for prompt in PROMPTS:
        request = Text2ImageRequest(prompt, 1, n=IMAGES_EACH, candidates=IMAGES_EACH, return_codes=True)
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
