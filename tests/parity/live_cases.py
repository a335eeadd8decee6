"""Random small networks, the same in the reference and in a session."""

import contextlib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.config import ModelConfig, TaskToken
from model.image_tokenizer import ImageTokenizer
from model.images import encode_image
from model.network.transformer import Transformer
from model.text_tokenizer import TextTokenizer
from tests.conftest import FIXTURES
from tests.parity.test_live_vqgan import reference_tokenizer
from tests.support import reference
from tests.support.sessions import bundle, vqgan_config
from workers.engine.settings import EngineSettings
from workers.session import Session

VOCABULARY = FIXTURES / "tiny-v2" / "bpe.model"


class Recorder:
    """A reference network that remembers the longest ids it continued: all but the last drawn token."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.seen = torch.zeros(1, 0, dtype=torch.int64)

    def get_param(self, name: str) -> Any:
        return self._network.get_param(name)

    def __call__(self, ids: Tensor, *arguments: Any, **options: Any) -> Any:
        if options["use_cache"] and ids.shape[1] > self.seen.shape[1]:
            self.seen = ids
        return self._network(ids, *arguments, **options)


class Vae:
    """The reference's image tokenizer without its noise, which the first generation leaves in."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.model = tokenizer.model

    def get_codebook_indices(self, pixels: Tensor, disable_gumbel_softmax: bool = True) -> Tensor:
        return self._tokenizer.get_codebook_indices(pixels, disable_gumbel_softmax=True)


@dataclass
class Case:
    """The same weights twice: in the reference, and in a session."""

    config: ModelConfig
    network: Recorder
    vae: Vae
    tokenizer: Any
    session: Session
    picture: Image.Image

    @property
    def file(self) -> bytes:
        return encode_image(np.asarray(self.picture))

    @property
    def api(self) -> Any:
        """The second generation's entry point."""
        tokens = {f"<{token.name}>": self.config.task_token(token) for token in list(TaskToken)[:6]}
        package = reference.rudolph_v2()
        return package.api.ruDolphApi(
            self.network, self.tokenizer, self.vae, spc_tokens=tokens, quite=True, bs=8
        )

    @property
    def pipelines(self) -> Any:
        """The first generation's entry points, without their progress bars."""
        pipelines = reference.rudolph_v1().pipelines
        pipelines.tqdm = lambda iterable: iterable
        return pipelines


@contextlib.contextmanager
def case(generation: int, seed: int) -> Iterator[Case]:
    config = _config(generation, seed)
    package = reference.rudolph_v1() if generation == 1 else reference.rudolph_v2()
    network = reference.transformer(config, package=package, seed=seed)
    ours = Transformer(config).eval()
    ours.load_state_dict(reference.weights(network), strict=True)
    vae = reference_tokenizer(vqgan_config(config), seed)
    image_tokenizer = ImageTokenizer(vqgan_config(config)).eval()
    image_tokenizer.load_state_dict(vae.model.state_dict(), strict=True)
    generator = np.random.default_rng(seed)
    size = generator.integers(20, 60, 2)
    noise = generator.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    session = Session(
        bundle(ours, image_tokenizer, TextTokenizer(VOCABULARY, normalization="none")),
        EngineSettings(3, max_step_tokens=60),
    )
    try:
        with torch.no_grad(), reference.quiet():
            yield Case(
                config,
                Recorder(network),
                Vae(vae),
                _tokenizer(VOCABULARY),
                session,
                Image.fromarray(noise).resize((int(size[0]), int(size[1]))),
            )
    finally:
        session.close()


def _config(generation: int, seed: int) -> ModelConfig:
    draw = np.random.default_rng(seed)
    left = int(draw.integers(6, 12))
    # Both regions are of one length in the first generation, whose code takes one for the other.
    right = left if generation == 1 else int(draw.integers(5, 12))
    special = {"text_special_tokens": 8, "image_special_tokens": int(draw.choice([0, 8]))}
    return ModelConfig(
        num_layers=int(draw.integers(3, 7)),
        hidden_size=32,
        num_heads=2,
        left_text_length=left,
        image_width=int(draw.integers(3, 6)),
        right_text_length=right,
        kernel_size=int(draw.choice([3, 5])),
        last_kernel_size=int(draw.choice([3, 5, 7])),
        bpe_vocab_size=TextTokenizer(VOCABULARY).vocab_size,
        image_codebook_size=64,
        **(special if generation == 2 else {}),
    )


def _tokenizer(path: Path) -> Any:
    tokenizer: types.ModuleType = reference.rudalle().tokenizer
    return tokenizer.YTTMTokenizerWrapper(tokenizer.yttm.BPE(model=str(path)))
