"""One set of random weights twice: in the published package and in a session of ours.

Knows how both are driven; measures nothing. The package comes from `.venv/reference`, as in the parity tests.
"""

import contextlib
import io
import random
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import youtokentome
from PIL import Image

from jobs.job import Job, Task
from jobs.requests import Request
from jobs.results import JobFailure, Result
from model.config import ModelConfig, TaskToken, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.rudolph import Rudolph
from model.text_tokenizer import TextTokenizer
from model.transformer import Transformer
from tests.parity import reference
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session

PROMPT = "большой красный круг на белом фоне"
REFERENCE_BATCH = 4


class _CodesOnly:
    """Stands where the reference wants its image tokenizer: its encoder's time is left out, to its favour."""

    def __init__(self, codes: torch.Tensor) -> None:
        self._codes = codes

    def get_codebook_indices(self, pixels: torch.Tensor, disable_gumbel_softmax: bool = True) -> torch.Tensor:
        return self._codes.repeat(len(pixels), 1)


@dataclass
class Peers:
    """Both sides, ready."""

    config: ModelConfig
    api: Any
    """The published package's second-generation entry point, float32."""
    rudolph: Rudolph
    session: Session
    codes: torch.Tensor

    def run(self, task: Task, request: Request) -> Result:
        """One job through the session, alone; raises RuntimeError if it fails."""
        self.session.submit(Job("bench", task, request))
        while True:
            for event in self.session.step().events:
                if isinstance(event, Finished):
                    if isinstance(event.outcome, JobFailure):
                        raise RuntimeError(event.outcome.message)
                    return event.outcome


@contextlib.contextmanager
def peers(config: ModelConfig, vqgan: VqganConfig, dtype: torch.dtype, num_slots: int) -> Generator[Peers]:
    """Random weights of this shape in both, the reference in float32, ours in `dtype`."""
    with tempfile.TemporaryDirectory() as place:
        yield from _peers(config, vqgan, dtype, num_slots, Path(place))


def _peers(
    config: ModelConfig, vqgan: VqganConfig, dtype: torch.dtype, num_slots: int, place: Path
) -> Generator[Peers]:
    network = reference.transformer(config, package=reference.rudolph_v2(), seed=1)
    ours = Transformer(config).eval()
    ours.load_state_dict(reference.weights(network), strict=True)
    vocabulary = _vocabulary(config.bpe_vocab_size, place)
    text_tokenizer = TextTokenizer(vocabulary)
    rudolph = Rudolph(
        config=config,
        transformer=ours.to(dtype),
        text_tokenizer=text_tokenizer,
        image_tokenizer=ImageTokenizer(vqgan).eval().to(memory_format=torch.channels_last),  # pyright: ignore[reportCallIssue]
        device=torch.device("cpu"),
        dtype=dtype,
        name="bench",
        revision="random",
        tasks=frozenset(),
    )
    codes = torch.randint(
        config.image_codebook_size, (1, config.image_length), generator=torch.Generator().manual_seed(2)
    )
    wrapper = reference.rudalle().tokenizer
    tokenizer = wrapper.YTTMTokenizerWrapper(wrapper.yttm.BPE(model=str(vocabulary)))
    tokens = {f"<{token.name}>": config.task_token(token) for token in list(TaskToken)[:6]}
    api = reference.rudolph_v2().api.ruDolphApi(
        network, tokenizer, _CodesOnly(codes), spc_tokens=tokens, quite=True, bs=REFERENCE_BATCH
    )
    session = Session(rudolph, EngineSettings(num_slots=num_slots))
    try:
        with torch.no_grad(), reference.quiet():
            yield Peers(config, api, rudolph, session, codes)
    finally:
        session.close()


def picture(side: int) -> tuple[Image.Image, bytes]:
    """A picture and its PNG file."""
    image = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return image, buffer.getvalue()


def _vocabulary(size: int, place: Path) -> Path:
    """A tokenizer of this size, learnt from made-up words around the prompt's."""
    draw = random.Random(1)
    words = [
        "".join(draw.choices("абвгдежзиклмнопрстуфхцчшщыьэюя", k=draw.randint(2, 9))) for _ in range(60_000)
    ]
    text = place / "words.txt"
    text.write_text("\n".join([" ".join(words), *([PROMPT, "на картинке круг"] * 50)]), encoding="utf-8")
    model = place / "bpe.model"
    youtokentome.BPE.train(data=str(text), model=str(model), vocab_size=size)
    return model
