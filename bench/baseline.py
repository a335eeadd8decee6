"""The published package and a session of ours with the same random weights.

Drives both sides; measures nothing. The package comes from `bench/published.py`.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench import published, results, weights
from jobs.contract.job import Job
from jobs.contract.requests import Request, Task
from jobs.contract.results import JobFailure, Result
from model.config import EOS_ID, ModelConfig, TaskToken, VqganConfig
from model.network.transformer import Transformer
from model.rudolph import Rudolph
from workers.engine.settings import EngineSettings
from workers.engine.statistics import StepStatistics
from workers.session import Finished, Session

PACKAGE_BATCH = 4
NEVER = 100.0
"""Subtracted from the logit of a token that must not be drawn."""


class _FixedCodes:
    """Replaces the package's image tokenizer. Its encoder takes no time, in the package's favour."""

    def __init__(self, codes: torch.Tensor) -> None:
        self._codes = codes

    def get_codebook_indices(self, pixels: torch.Tensor, disable_gumbel_softmax: bool = True) -> torch.Tensor:
        return self._codes.repeat(len(pixels), 1)


@dataclass
class JobTiming:
    """Seconds of a job by the engine's phases, its decode steps, and the tokens drawn in them."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])
    steps: int = 0
    tokens: int = 0

    def add(self, step: StepStatistics) -> None:
        for phase, spent in step.seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
        self.steps += bool(step.sequences.get("decode"))
        self.tokens += step.tokens


@dataclass
class BothSides:
    """Our session and the published package, ready to run."""

    config: ModelConfig
    api: Any
    """The published package's second-generation entry point, float32."""
    rudolph: Rudolph
    session: Session
    codes: torch.Tensor
    int8: bool
    """Whether our session runs int8 layers."""
    open: Callable[[bool], Session]
    """Opens a session of ours with the same weights; the argument chooses int8 layers."""
    our_bytes: int
    """Memory of our weights and slots, in the layout of this processor."""
    their_bytes: int
    """Memory of the package's weights and masks."""
    timing: JobTiming = field(default_factory=JobTiming)
    """Timing of our last job."""

    def caption_tokens(self, template: str) -> int:
        """Tokens that both sides draw for one caption: the right text after the template."""
        template_tokens = len(self.rudolph.text_tokenizer.encode(template)) + 2
        return self.config.right_text_length - template_tokens

    def use(self, *, int8: bool) -> None:
        """Switch our session to int8 layers, or back. Raises RuntimeError where int8 is not supported."""
        if int8 != self.int8:
            other = self.open(int8)
            self.session.close()
            self.session, self.int8 = other, int8

    def run(self, task: Task, request: Request) -> Result:
        """Run one job alone through our session. Raises RuntimeError if it fails."""
        self.session.submit(Job("bench", task, request))
        self.timing = JobTiming()
        while True:
            step = self.session.step()
            self.timing.add(step.statistics)
            for event in step.events:
                if isinstance(event, Finished):
                    if isinstance(event.outcome, JobFailure):
                        raise RuntimeError(event.outcome.message)
                    return event.outcome


@contextlib.contextmanager
def both_sides(
    config: ModelConfig, vqgan: VqganConfig, dtype: torch.dtype, settings: EngineSettings
) -> Generator[BothSides]:
    """Give both sides the same random weights: the package in float32, our session in `dtype`."""
    with tempfile.TemporaryDirectory() as folder:
        both = _open(config, vqgan, dtype, settings, Path(folder))
        try:
            with torch.no_grad(), published.quiet():
                yield both
        finally:
            both.session.close()


def _open(
    config: ModelConfig, vqgan: VqganConfig, dtype: torch.dtype, settings: EngineSettings, folder: Path
) -> BothSides:
    at_start = results.resident_bytes()
    network = published.transformer(config, package=published.rudolph_v2(), seed=1)
    _never_end_texts(network, config)
    their_bytes = results.resident_bytes() - at_start
    vocabulary_file = weights.vocabulary(config.bpe_vocab_size, folder)
    rudolph = weights.bundle(_transformer(network, config, dtype), vqgan, vocabulary_file)

    def open_session(int8: bool) -> Session:
        fresh = dataclasses.replace(rudolph, transformer=_transformer(network, config, dtype))
        return Session(fresh, dataclasses.replace(settings, weight_format="int8" if int8 else "auto"))

    codes = torch.randint(
        config.image_codebook_size, (1, config.image_length), generator=torch.Generator().manual_seed(2)
    )
    session = Session(rudolph, settings)
    our_bytes = results.resident_bytes() - at_start - their_bytes
    api = _api(network, config, vocabulary_file, codes)
    int8 = settings.weight_format == "int8"
    return BothSides(config, api, rudolph, session, codes, int8, open_session, our_bytes, their_bytes)


def _api(network: Any, config: ModelConfig, vocabulary_file: Path, codes: torch.Tensor) -> Any:
    """The package's entry point around its network."""
    wrapper = published.rudalle().tokenizer
    tokenizer = wrapper.YTTMTokenizerWrapper(wrapper.yttm.BPE(model=str(vocabulary_file)))
    tokens = {f"<{token.name}>": config.task_token(token) for token in list(TaskToken)[:6]}
    return published.rudolph_v2().api.ruDolphApi(
        network, tokenizer, _FixedCodes(codes), spc_tokens=tokens, quite=True, bs=PACKAGE_BATCH
    )


def _transformer(network: Any, config: ModelConfig, dtype: torch.dtype) -> Transformer:
    """Our transformer with the package's weights."""
    ours = Transformer(config).eval()
    ours.load_state_dict(published.weights(network), strict=True)
    return ours.to(dtype)


def _never_end_texts(network: Any, config: ModelConfig) -> None:
    """Forbid the end of a text: with random weights ours would end early and the package's never."""
    bias = network.to_logits[1].bias
    with torch.no_grad():
        bias[EOS_ID] = bias[config.bpe_vocab_size : config.text_vocab_size] = -NEVER
