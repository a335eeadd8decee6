"""The gain of each technique: milliseconds per code in the middle of an image.

Each rung includes the techniques of those above it. Weights are random, of the 350M shape.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench import published, results
from bench.results import Sample
from model.backends.x86.network import X86Network, can_run
from model.config import PRESETS, ModelConfig
from model.image_tokenizer import ImageTokenizer
from model.network.cache import KeyValueCache
from model.network.layout import Segment, StepLayout
from model.network.sampler import SamplingBatch, sample
from model.network.transformer import Transformer
from model.rudolph import Rudolph
from model.text_tokenizer import TextTokenizer
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import Generate, Sampling

SAMPLING = Sampling(1.0, 768, 0.99)
QUICK = ModelConfig(3, 64, 4, 16, 4, 24, 3, 5, text_special_tokens=384, image_special_tokens=8)


@dataclass(frozen=True)
class Rung:
    name: str
    samples: list[Sample]
    """Seconds per code."""


class _LastImageSlice(nn.Module):
    """The package's head for the last position and the image codes only; other columns are zero."""

    def __init__(self, head: Any, config: ModelConfig) -> None:
        super().__init__()
        self._norm, self._linear, self._first = head[0], head[1], config.text_vocab_size

    def forward(self, hidden: Tensor) -> Tensor:
        weight, bias = self._linear.weight[self._first :], self._linear.bias[self._first :]
        logits = nn.functional.linear(self._norm(hidden[:, -1:]), weight, bias)
        return torch.cat([logits.new_zeros(*logits.shape[:-1], self._first), logits], dim=-1)


def climb(*, quick: bool, repeats: int = 10) -> Iterator[Rung]:
    """Yield all rungs, from the published package to all techniques."""
    config = QUICK if quick else PRESETS["350M-v2"].config
    network = published.transformer(config, package=published.rudolph_v2(), seed=1)
    weights = published.weights(network)
    with torch.no_grad(), published.quiet():
        yield Rung("published package, float32", _package(network, config, repeats))
        network.to_logits = _LastImageSlice(network.to_logits, config)
        yield Rung("head: last position, image codes only", _package(network, config, repeats))
    del network
    with torch.inference_mode():
        plain = _ours(config, weights, torch.float32)
        yield Rung("static keys and values, no copies of the past", _dense(plain, config, repeats))
        yield Rung("sparse reading by tables, in place", _sparse(plain, config, repeats))
        del plain
        half = _ours(config, weights, torch.bfloat16)
        if not can_run(config, half.text_embeddings.weight):
            return
        kernels = X86Network(half)
        yield Rung("all layers in one call, kernels in C", _sparse(kernels, config, repeats))
        for rows in (4, 16):
            yield Rung(f"instead: {rows} rows at once", _sparse(kernels, config, repeats, rows))
        del kernels, half
        yield _jacobi(_ours(config, weights, torch.bfloat16), config)


def _ours(config: ModelConfig, weights: dict[str, Tensor], dtype: torch.dtype) -> Transformer:
    network = Transformer(config).eval()
    network.load_state_dict(weights, strict=True)
    return network.to(dtype)


def _ids(config: ModelConfig, rows: int) -> Tensor:
    """Left text and the first half of an image."""
    generator = torch.Generator().manual_seed(2)
    left = torch.randint(4, config.bpe_vocab_size, (1, config.left_text_length), generator=generator)
    codes = torch.randint(config.image_codebook_size, (rows, config.image_length // 2), generator=generator)
    return torch.cat([left.expand(rows, -1), codes], dim=1)


def _draw(logits: Tensor, position: int) -> Tensor:
    """Sample as the engine does; shape = (rows,)."""
    rows = len(logits)
    settings = SamplingBatch.of(
        temperature=[SAMPLING.temperature] * rows,
        top_k=[SAMPLING.top_k] * rows,
        top_p=[SAMPLING.top_p] * rows,
        seeds=list(range(rows)),
        positions=[position] * rows,
    )
    return sample(logits, settings)


def _package(network: Any, config: ModelConfig, repeats: int) -> list[Sample]:
    """Time steps of the package with its own cache."""
    state: dict[str, Any] = {"ids": _ids(config, 1), "cache": None}
    mask = published.causal_mask(network, 1)

    def step() -> None:
        logits, cache = network(state["ids"], mask, cache=state["cache"], use_cache=True)[:2]
        last = logits[:, -1, config.text_vocab_size :][:, : config.image_codebook_size]
        drawn = _draw(last, state["ids"].shape[1])
        state["ids"] = torch.cat([state["ids"], drawn[:, None]], dim=1)
        state["cache"] = cache

    step()
    return results.timed(step, min(repeats, config.image_length // 2 - 2))


def _dense(network: Transformer, config: ModelConfig, repeats: int) -> list[Sample]:
    """Time steps that read every earlier key under the layer's mask, from a static cache."""
    ids, cache, slot = _prefilled(network, config, 1)

    def step(ids: Tensor, position: int) -> Tensor:
        return network.prefill(ids[:, None], cache, slot, slot, start=position - 1)[:, -1]

    return _steps(network, config, step, ids[:, -1], repeats)


def _sparse(
    network: Transformer | X86Network, config: ModelConfig, repeats: int, rows: int = 1
) -> list[Sample]:
    ids, cache, slots = _prefilled(network, config, rows)
    left_slots, layout = torch.zeros(rows, dtype=torch.int64), StepLayout(num_image=rows)

    def step(ids: Tensor, position: int) -> Tensor:
        positions = torch.full((rows,), position - 1)
        return network.decode(ids, positions, cache, left_slots, slots, layout=layout)

    return _steps(network, config, step, ids[:, -1], repeats)


def _prefilled(
    network: Transformer | X86Network, config: ModelConfig, rows: int
) -> tuple[Tensor, KeyValueCache, Tensor]:
    ids = _ids(config, rows)
    dtype = network.hidden_dtype if isinstance(network, Transformer) else torch.bfloat16
    cache = KeyValueCache(config, 1, rows, "cpu", dtype)
    slots = torch.arange(rows)
    network.prefill(ids[:, :-1], cache, torch.zeros(rows, dtype=torch.int64), slots)
    return ids, cache, slots


def _steps(
    network: Transformer | X86Network,
    config: ModelConfig,
    step: Callable[[Tensor, int], Tensor],
    last: Tensor,
    repeats: int,
) -> list[Sample]:
    """Time steps in order; seconds per code."""
    state = {"ids": last, "position": config.image_start + config.image_length // 2}

    def one() -> None:
        position = cast(int, state["position"])
        logits = network.image_logits(step(cast(Tensor, state["ids"]), position), config.image_codebook_size)
        state["ids"], state["position"] = _draw(logits, position), position + 1

    one()
    return results.timed(one, min(repeats, config.image_length // 2 - 2), len(last))


def _jacobi(network: Transformer, config: ModelConfig) -> Rung:
    """Time a whole image with Jacobi decoding in the engine, its prompt included."""
    rudolph = Rudolph(
        config=config,
        transformer=network,
        text_tokenizer=cast(TextTokenizer, None),
        image_tokenizer=cast(ImageTokenizer, None),
        device=torch.device("cpu"),
        dtype=network.text_embeddings.weight.dtype,
        name="bench",
        revision="random",
        tasks=frozenset(),
    )
    engine = Engine(rudolph, EngineSettings(num_slots=2))
    left = tuple(_ids(config, 1)[0, : config.left_text_length].tolist())
    steps: list[int] = []

    def draw() -> None:
        engine.submit("bench", Generate(Segment.IMAGE, left, (1,), SAMPLING))
        steps.clear()
        while engine.has_work:
            steps.append(engine.step().statistics.tokens)

    samples = results.timed(draw, 3, config.image_length)
    engine.close()
    return Rung(f"Jacobi decoding ({config.image_length / len(steps):.2f} codes per step here)", samples)
