"""One set of random weights twice: in the published package and in a session of ours.

Knows how both are driven; measures nothing. The package comes from `.venv/reference`, as in the parity tests.
"""

import contextlib
import dataclasses
import io
import random
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import youtokentome
from PIL import Image

from bench import results
from jobs.job import Job, Task
from jobs.requests import Request
from jobs.results import JobFailure, Result
from model.config import EOS_ID, ModelConfig, TaskToken, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.precision import choose_decoder_dtype
from model.rudolph import Rudolph
from model.text_tokenizer import TextTokenizer
from model.transformer import Transformer
from tests.parity import reference
from workers.engine.settings import EngineSettings
from workers.engine.statistics import StepStatistics
from workers.session import Finished, Session

PROMPT = "большой красный круг на белом фоне"
REFERENCE_BATCH = 4
NEVER = 100.0


class _CodesOnly:
    """Stands where the reference wants its image tokenizer: its encoder's time is left out, to its favour."""

    def __init__(self, codes: torch.Tensor) -> None:
        self._codes = codes

    def get_codebook_indices(self, pixels: torch.Tensor, disable_gumbel_softmax: bool = True) -> torch.Tensor:
        return self._codes.repeat(len(pixels), 1)


@dataclass
class Spent:
    """Seconds of a job by the engine's phases, its decode steps, and the tokens drawn in them."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])
    steps: int = 0
    tokens: int = 0

    def add(self, step: StepStatistics) -> None:
        for phase, spent in step.seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
        self.steps += bool(step.rows.get("decode"))
        self.tokens += step.tokens


@dataclass
class Peers:
    """Both sides, ready."""

    config: ModelConfig
    api: Any
    """The published package's second-generation entry point, float32."""
    rudolph: Rudolph
    session: Session
    codes: torch.Tensor
    int8: bool
    """Whether our layers are in whole numbers."""
    open: Callable[[bool], Session]
    """A session of ours with the same weights, in whole numbers or not."""
    our_bytes: int
    """Memory of our weights and slots, as laid out for this processor."""
    their_bytes: int
    """Memory of the package's weights and masks."""
    spent: Spent = field(default_factory=Spent)
    """Where the time of our last job went."""

    def caption_tokens(self, template: str) -> int:
        """Tokens that both sides draw for one caption: all of the right text behind the template."""
        template_tokens = len(self.rudolph.text_tokenizer.encode(template)) + 2
        return self.config.right_text_length - template_tokens

    def use(self, *, int8: bool) -> None:
        """Go on with our layers in whole numbers, or not. RuntimeError where there is no way to do so."""
        if int8 != self.int8:
            other = self.open(int8)
            self.session.close()
            self.session, self.int8 = other, int8

    def run(self, task: Task, request: Request) -> Result:
        """One job through the session, alone; raises RuntimeError if it fails."""
        self.session.submit(Job("bench", task, request))
        self.spent = Spent()
        while True:
            step = self.session.step()
            self.spent.add(step.statistics)
            for event in step.events:
                if isinstance(event, Finished):
                    if isinstance(event.outcome, JobFailure):
                        raise RuntimeError(event.outcome.message)
                    return event.outcome


@contextlib.contextmanager
def peers(
    config: ModelConfig, vqgan: VqganConfig, dtype: torch.dtype, settings: EngineSettings
) -> Generator[Peers]:
    """Random weights of this shape in both, the reference in float32, ours in `dtype`."""
    with tempfile.TemporaryDirectory() as place:
        yield from _peers(config, vqgan, dtype, settings, Path(place))


def _peers(
    config: ModelConfig, vqgan: VqganConfig, dtype: torch.dtype, settings: EngineSettings, place: Path
) -> Generator[Peers]:
    at_start = results.resident_bytes()
    network = reference.transformer(config, package=reference.rudolph_v2(), seed=1)
    _never_ends(network, config)
    their_bytes = results.resident_bytes() - at_start
    words_file = vocabulary(config.bpe_vocab_size, place)
    rudolph = Rudolph(
        config=config,
        transformer=_transformer(network, config, dtype),
        text_tokenizer=TextTokenizer(words_file),
        image_tokenizer=_image_tokenizer(vqgan, dtype),
        device=torch.device("cpu"),
        dtype=dtype,
        name="bench",
        revision="random",
        tasks=frozenset(),
    )

    def opened(int8: bool) -> Session:
        fresh = dataclasses.replace(rudolph, transformer=_transformer(network, config, dtype))
        return Session(fresh, dataclasses.replace(settings, int8_weights=int8))

    codes = torch.randint(
        config.image_codebook_size, (1, config.image_length), generator=torch.Generator().manual_seed(2)
    )
    wrapper = reference.rudalle().tokenizer
    tokenizer = wrapper.YTTMTokenizerWrapper(wrapper.yttm.BPE(model=str(words_file)))
    tokens = {f"<{token.name}>": config.task_token(token) for token in list(TaskToken)[:6]}
    api = reference.rudolph_v2().api.ruDolphApi(
        network, tokenizer, _CodesOnly(codes), spc_tokens=tokens, quite=True, bs=REFERENCE_BATCH
    )
    session = Session(rudolph, settings)
    our_bytes = results.resident_bytes() - at_start - their_bytes
    int8 = settings.int8_weights
    both = Peers(config, api, rudolph, session, codes, int8, opened, our_bytes, their_bytes)
    try:
        with torch.no_grad(), reference.quiet():
            yield both
    finally:
        both.session.close()


def _transformer(network: Any, config: ModelConfig, dtype: torch.dtype) -> Transformer:
    """Ours, with the package's weights."""
    ours = Transformer(config).eval()
    ours.load_state_dict(reference.weights(network), strict=True)
    return ours.to(dtype)


def _never_ends(network: Any, config: ModelConfig) -> None:
    """No text ends before its region does: random weights would end ours early, and the package's never."""
    bias = network.to_logits[1].bias
    with torch.no_grad():
        bias[EOS_ID] = bias[config.bpe_vocab_size : config.text_vocab_size] = -NEVER


def _image_tokenizer(vqgan: VqganConfig, dtype: torch.dtype) -> ImageTokenizer:
    """As a checkpoint is loaded: the decoder in its faster format, the encoder in float32."""
    tokenizer = ImageTokenizer(vqgan).eval()
    for part in (tokenizer.decoder, tokenizer.post_quant_conv, tokenizer.quantize.embed):
        part.to(choose_decoder_dtype(torch.device("cpu"), dtype))
    return tokenizer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def picture(side: int, number: int) -> tuple[Image.Image, bytes]:
    """A picture of coloured clouds, another one for every number, and its PNG file."""
    draw = random.Random(number)
    image = Image.frombytes("RGB", (8, 8), draw.randbytes(8 * 8 * 3)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return image, buffer.getvalue()


def words(count: int) -> list[str]:
    """Made-up words, always the same."""
    draw = random.Random(1)
    letters = "абвгдежзиклмнопрстуфхцчшщыьэюя"
    return ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(count)]


def vocabulary(size: int, place: Path) -> Path:
    """The file of a tokenizer of this size, learnt from made-up words around the prompt's."""
    text = place / "words.txt"
    content = [" ".join(words(60_000)), *([PROMPT, "на картинке круг"] * 50)]
    text.write_text("\n".join(content), encoding="utf-8")
    model = place / "bpe.model"
    youtokentome.BPE.train(data=str(text), model=str(model), vocab_size=size)
    return model
