"""What each technique brought: milliseconds a code in the middle of a picture, rung by rung.

Each rung keeps what the one above has. Knows the published package and the bare network; of the engine only
that it guesses ahead. Weights are random, of the 350M shape; codes are drawn as the engine draws them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench import results
from bench.results import Sample
from model.config import PRESETS, ModelConfig
from model.image_tokenizer import ImageTokenizer
from model.kv_cache import KeyValueCache
from model.layout import RowGroups, Segment
from model.precision import has_native_bfloat16
from model.rudolph import Rudolph
from model.sampler import SamplingRows, sample
from model.text_tokenizer import TextTokenizer
from model.transformer import Transformer
from tests.parity import reference
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import Generate, Sampling

SAMPLING = Sampling(1.0, 768, 0.99)
QUICK = ModelConfig(3, 64, 4, 16, 4, 24, 3, 5, text_special_tokens=384, image_special_tokens=8)


@dataclass(frozen=True)
class Rung:
    name: str
    samples: list[Sample]
    """Seconds a code."""


class _LastImageSlice(nn.Module):
    """The package's head, for the last position and the image codes only; other columns are left empty."""

    def __init__(self, head: Any, config: ModelConfig) -> None:
        super().__init__()
        self._norm, self._linear, self._first = head[0], head[1], config.text_vocab_size

    def forward(self, hidden: Tensor) -> Tensor:
        weight, bias = self._linear.weight[self._first :], self._linear.bias[self._first :]
        logits = nn.functional.linear(self._norm(hidden[:, -1:]), weight, bias)
        return torch.cat([logits.new_zeros(*logits.shape[:-1], self._first), logits], dim=-1)


def climb(*, quick: bool, repeats: int = 10) -> Iterator[Rung]:
    """All rungs, from the package to everything at once."""
    config = QUICK if quick else PRESETS["350M-v2"].config
    network = reference.transformer(config, package=reference.rudolph_v2(), seed=1)
    weights = reference.weights(network)
    with torch.no_grad(), reference.quiet():
        yield Rung("published package, float32", _package(network, config, repeats))
        network.to_logits = _LastImageSlice(network.to_logits, config)
        yield Rung("head: last position, image codes only", _package(network, config, repeats))
    del network
    with torch.inference_mode():
        plain = _ours(config, weights, torch.float32)
        yield Rung("static keys and values, no copies of the past", _dense(plain, config, repeats))
        yield Rung("sparse reading by tables, in place", _sparse(plain, config, repeats))
        plain.pack()
        yield Rung("packed products, GELU inside", _sparse(plain, config, repeats))
        del plain
        if has_native_bfloat16():
            packed = _ours(config, weights, torch.bfloat16)
            packed.pack(as_one=False)
            yield Rung("bfloat16", _sparse(packed, config, repeats))
        packed = _ours(config, weights, torch.bfloat16)
        packed.pack()
        yield Rung("all layers in one call, kernels in C", _sparse(packed, config, repeats))
        yield _ahead(packed, config)
        for rows in (4, 16):
            yield Rung(f"instead: {rows} rows at once", _sparse(packed, config, repeats, rows))


def _ours(config: ModelConfig, weights: dict[str, Tensor], dtype: torch.dtype) -> Transformer:
    network = Transformer(config).eval()
    network.load_state_dict(weights, strict=True)
    return network.to(dtype)


def _ids(config: ModelConfig, rows: int) -> Tensor:
    """Left text and the first half of a picture."""
    generator = torch.Generator().manual_seed(2)
    left = torch.randint(4, config.bpe_vocab_size, (1, config.left_text_length), generator=generator)
    codes = torch.randint(config.image_codebook_size, (rows, config.image_length // 2), generator=generator)
    return torch.cat([left.expand(rows, -1), codes], dim=1)


def _draw(logits: Tensor, position: int) -> Tensor:
    """As the engine draws; shape = (rows,)."""
    rows = len(logits)
    settings = SamplingRows.of(
        temperature=[SAMPLING.temperature] * rows,
        top_k=[SAMPLING.top_k] * rows,
        top_p=[SAMPLING.top_p] * rows,
        seeds=list(range(rows)),
        positions=[position] * rows,
    )
    return sample(logits, settings)


def _package(network: Any, config: ModelConfig, repeats: int) -> list[Sample]:
    """Steps of the package with its own cache."""
    state: dict[str, Any] = {"ids": _ids(config, 1), "cache": None}
    mask = reference.causal_mask(network, 1)

    def step() -> None:
        logits, cache = network(state["ids"], mask, cache=state["cache"], use_cache=True)[:2]
        last = logits[:, -1, config.text_vocab_size :][:, : config.image_codebook_size]
        drawn = _draw(last, state["ids"].shape[1])
        state["ids"] = torch.cat([state["ids"], drawn[:, None]], dim=1)
        state["cache"] = cache

    step()
    return results.timed(step, min(repeats, config.image_length // 2 - 2))


def _dense(network: Transformer, config: ModelConfig, repeats: int) -> list[Sample]:
    """Every earlier key is read, under the layer's mask, from slots that never move."""
    ids, cache, slot = _prefilled(network, config, 1)

    def step(ids: Tensor, position: int) -> Tensor:
        return network.prefill(ids[:, None], cache, slot, slot, start=position - 1)[:, -1]

    return _steps(network, config, step, ids[:, -1], repeats)


def _sparse(network: Transformer, config: ModelConfig, repeats: int, rows: int = 1) -> list[Sample]:
    ids, cache, slots = _prefilled(network, config, rows)
    left_slots, groups = torch.zeros(rows, dtype=torch.int64), RowGroups(num_image=rows)

    def step(ids: Tensor, position: int) -> Tensor:
        positions = torch.full((rows,), position - 1)
        return network.decode(ids, positions, cache, left_slots, slots, groups=groups)

    return _steps(network, config, step, ids[:, -1], repeats)


def _prefilled(network: Transformer, config: ModelConfig, rows: int) -> tuple[Tensor, KeyValueCache, Tensor]:
    ids = _ids(config, rows)
    cache = KeyValueCache(config, 1, rows, "cpu", network.text_embeddings.weight.dtype)
    slots = torch.arange(rows)
    network.prefill(ids[:, :-1], cache, torch.zeros(rows, dtype=torch.int64), slots)
    return ids, cache, slots


def _steps(
    network: Transformer,
    config: ModelConfig,
    step: Callable[[Tensor, int], Tensor],
    last: Tensor,
    repeats: int,
) -> list[Sample]:
    """Seconds a code of one step after the other."""
    state = {"ids": last, "position": config.image_start + config.image_length // 2}

    def one() -> None:
        position = cast(int, state["position"])
        logits = network.image_logits(step(cast(Tensor, state["ids"]), position), config.image_codebook_size)
        state["ids"], state["position"] = _draw(logits, position), position + 1

    one()
    return results.timed(one, min(repeats, config.image_length // 2 - 2), len(last))


def _ahead(network: Transformer, config: ModelConfig) -> Rung:
    """A whole picture by the engine, its prompt included, and how many codes held a step."""
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
    return Rung(f"guessing ahead ({config.image_length / len(steps):.2f} codes a step here)", samples)
