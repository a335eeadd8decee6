"""Measures a network on examples that it does not train on: losses, exact texts, right classes."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from model.network.transformer import Transformer
from model.tasks import Prompts
from model.text_tokenizer import TextTokenizer
from training.distributed import Processes
from training.generate import exact_matches, greedy_texts
from training.losses import Objective, plan_batch, summed_losses
from training.mixture import TaskExamples, rows_of
from training.precision import Precision, autocast
from training.sequences import RowBuilder, Rows

ROWS = 16
"""Sequences that are measured at once."""
MAX_TEXTS = 64
"""Examples per task whose texts are generated."""
WRITTEN = ("caption", "classify", "answer")


@dataclass(frozen=True)
class Validator:
    """Measures the network of a run."""

    transformer: Transformer
    tokenizer: TextTokenizer
    sources: Sequence[TaskExamples]
    objective: Objective
    precision: Precision
    processes: Processes
    weights: Callable[[], dict[str, torch.Tensor]] | None = None
    """Weights to measure instead of the trained ones: their moving average."""

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return `loss`, the loss of each segment, and `exact_…` by task."""
        builder = RowBuilder(self.transformer.config, self.tokenizer)
        values: dict[str, float] = {"loss": 0.0}
        share = sum(source.data.share for source in self.sources)
        with _weights_of(self.transformer, self.weights):
            for source in self.sources:
                batches = [
                    part
                    for first in range(0, len(source.examples), ROWS)
                    for part in rows_of(
                        builder, source, range(first, min(first + ROWS, len(source.examples)))
                    )
                ]
                for name, value in self._losses(batches).items():
                    if name == "loss":
                        values["loss"] += value * source.data.share / share
                    else:
                        values[name] = value
                if source.data.task in WRITTEN:
                    values[f"exact_{source.data.task}"] = self._exact(batches)
        return values

    def _losses(self, batches: Sequence[Rows]) -> dict[str, float]:
        plan = plan_batch(self.transformer.config, batches, self.objective)
        values = {f"{kind}_{name}": 0.0 for kind, share in plan.items() for name in share.counts}
        values["loss"] = 0.0
        device = self.transformer.text_embeddings.weight.device
        for batch in batches[self.processes.rank :: self.processes.size]:
            # Label smoothing is no property of the data.
            plain = replace(batch, smoothing=type(batch.smoothing)())
            with autocast(device, self.precision):
                losses = summed_losses(self.transformer, plain, self.objective)
            for targets, summed in losses:
                share = plan[batch.kind]
                values["loss"] += share.factor(targets) * float(summed)
                values[f"{batch.kind}_{targets.name}"] += float(summed) / share.counts[targets.name]
        return self.processes.add_values(values, device)

    def _exact(self, batches: Sequence[Rows]) -> float:
        prompts = Prompts(self.transformer.config, self.tokenizer)
        found: list[str] = []
        expected: list[str] = []
        for batch in batches:
            if len(found) >= MAX_TEXTS:
                break
            opened = len(prompts.image2text_right())
            found += greedy_texts(self.transformer, prompts, batch, opened)
            right = batch.right
            assert right is not None
            # Texts that were cut, or have unknown letters, are compared as the model sees them.
            expected += [prompts.text_of(ids[opened:]) for ids in right.tolist()]
        return exact_matches(found, expected)


@contextmanager
def _weights_of(
    transformer: Transformer, other: Callable[[], dict[str, torch.Tensor]] | None
) -> Generator[None]:
    """Give a network other weights for a while."""
    own = dict(transformer.named_parameters())
    kept: dict[str, torch.Tensor] = {}
    for name, weight in (other() if other is not None else {}).items():
        kept[name] = own[name].data
        own[name].data = weight.to(kept[name])
    try:
        yield
    finally:
        for name, weight in kept.items():
            own[name].data = weight
