"""GPU benchmarks of parts: replay of a graph, products at small batches, the image decoder."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bench.gpu_tools import Bench, Record

EMPTY_KERNELS = 120


def first_measurements(bench: Bench, record: Record) -> None:
    """Measure graph replay, products at small batches, and the image decoder."""
    one = torch.zeros(1, device=bench.device)

    def empty() -> None:
        for _ in range(EMPTY_KERNELS):
            one.add_(1)

    record.seconds(
        "first",
        f"graph of {EMPTY_KERNELS} empty kernels, one replay",
        bench.time_device(bench.captured(empty)),
    )
    hidden, config = bench.config.hidden_size, bench.config
    shapes = {
        "query-key-value": (3 * hidden, hidden),
        "attention output": (hidden, hidden),
        "mlp in": (4 * hidden, hidden),
        "mlp out": (hidden, 4 * hidden),
        "image head": (config.image_codebook_size, hidden),
    }
    copies = 2 if bench.tiny else 24
    for name, (wide, narrow) in shapes.items():
        # As many weights as layers; a single one would stay in the cache.
        weights = [torch.randn(wide, narrow, device=bench.device).to(bench.dtype) for _ in range(copies)]
        bias = torch.randn(wide, device=bench.device).to(bench.dtype)
        for rows in (1, 16, 64):
            x = torch.randn(rows, narrow, device=bench.device).to(bench.dtype)
            products = bench.captured(_products(x, weights, bias))
            samples = [sample / copies for sample in bench.time_device(products, 5)]
            size = wide * narrow * weights[0].element_size()
            rate = size / sorted(samples)[len(samples) // 2]
            record.seconds("first", f"product {name}, {rows} rows", samples, gigabytes_a_s=rate / 1e9)
    tokenizer = bench.image_tokenizer()
    for count in (1, 4) if bench.tiny else (1, 16, 64):
        codes = torch.randint(config.image_codebook_size, (count, config.image_length), device=bench.device)
        decode: Callable[[], Tensor] = lambda codes=codes: tokenizer.decode(codes)  # noqa: E731
        record.seconds(
            "first",
            f"picture decoder, {count} at once, an image",
            [s / count for s in bench.time_device(decode, 3)],
        )
        graph = bench.captured(decode)
        record.seconds(
            "first",
            f"picture decoder, {count} at once, an image, graph",
            [s / count for s in bench.time_device(graph, 3)],
        )


def _products(x: Tensor, weights: list[Tensor], bias: Tensor) -> Callable[[], None]:
    def run() -> None:
        for weight in weights:
            functional.linear(x, weight, bias)

    return run
