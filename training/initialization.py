"""Initial weights of training: a checkpoint, or an image tokenizer and random weights."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import youtokentome
from torch import nn

from model.config import ModelConfig, VqganConfig
from model.files.checkpoint import load_rudolph
from model.image_tokenizer import ImageTokenizer
from model.image_tokenizer.layers import AttentionBlock, ResidualBlock
from model.network.transformer import Transformer
from model.text_tokenizer import TextTokenizer
from training.state import load_state, replace_file, save_state
from training.transformer_trainer import initialise

IMAGE_TOKENIZER_FILE = "image_tokenizer.pt"
VOCABULARY_FILE = "bpe.model"


@dataclass(frozen=True)
class Start:
    """The parts of a model before training."""

    transformer: Transformer
    vocabulary: Path
    image_tokenizer: ImageTokenizer
    identity: str
    """Identifies the weights, so that a run never resumes from others."""
    image_identity: str
    """Identifies the weights of the image tokenizer, so that no codes of another are used."""
    name: str | None = None
    tasks: frozenset[str] = frozenset()
    """Tasks that not every checkpoint has."""

    @property
    def input_side(self) -> int:
        """Side in pixels of the square that is encoded."""
        return self.transformer.config.image_width * self.image_tokenizer.config.downsampling

    @property
    def text_tokenizer(self) -> TextTokenizer:
        return TextTokenizer(self.vocabulary)


@dataclass(frozen=True)
class FreshSizes:
    """Sizes of a new transformer, in the layout of the second generation."""

    num_layers: int = 6
    hidden_size: int = 256
    num_heads: int = 8
    text_length: int = 32
    """Tokens of the left text, and of the right text."""
    vocabulary_size: int = 1024
    """Largest size of the text vocabulary; few texts give a smaller one."""
    kernel_size: int = 7
    last_kernel_size: int = 9

    def config(self, *, vocabulary_size: int, image: VqganConfig) -> ModelConfig:
        """Return the architecture. Raises ValueError if the sizes do not fit together."""
        return ModelConfig(
            num_layers=self.num_layers,
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
            left_text_length=self.text_length,
            image_width=image.resolution // image.downsampling,
            right_text_length=self.text_length,
            kernel_size=self.kernel_size,
            last_kernel_size=self.last_kernel_size,
            bpe_vocab_size=vocabulary_size,
            image_codebook_size=image.codebook_size,
            text_special_tokens=8,
            image_special_tokens=8,
        )


def small_image_tokenizer(side: int, codes: int) -> VqganConfig:
    """Return sizes that train within minutes on a CPU: a code for each 8 × 8 pixels of an image.

    The decoder draws wavelet bands and the encoder reads half the side, so no layer runs at full size.
    """
    return VqganConfig(
        codebook_size=codes,
        embed_dim=64,
        z_channels=64,
        resolution=side // 2,
        channels=32,
        channel_multipliers=(1, 2, 4),
        num_res_blocks=1,
        attention_resolutions=(side // 8,),
        num_groups=4,
        dwt=True,
    )


def fresh_image_tokenizer(config: VqganConfig, seed: int) -> ImageTokenizer:
    """Return random weights; residual branches start at zero (Goyal et al., arXiv 1706.02677)."""
    torch.manual_seed(seed)
    tokenizer = ImageTokenizer(config)
    for module in tokenizer.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, AttentionBlock):
            nn.init.zeros_(module.proj_out.weight)
    return tokenizer


def from_checkpoint(folder: Path, preset: str | None) -> Start:
    """Load a checkpoint in float32. Raises CheckpointError."""
    rudolph = load_rudolph(folder, preset=preset, dtype="float32")
    return Start(
        rudolph.transformer,
        folder / VOCABULARY_FILE,
        rudolph.image_tokenizer,
        rudolph.revision,
        rudolph.revision,
        # A checkpoint without a name is called by its folder, and the new one by its own.
        rudolph.name if rudolph.name != folder.resolve().name else None,
        rudolph.tasks,
    )


def from_scratch(
    image_tokenizer: Path, sizes: FreshSizes, texts: Sequence[str], work: Path, seed: int
) -> Start:
    """Make random weights, and train a vocabulary on the texts.

    image_tokenizer: folder of `rudolph train image-tokenizer`, or of a checkpoint.
    """
    tokenizer = load_image_tokenizer(image_tokenizer)
    vocabulary = _learn_vocabulary(texts, sizes.vocabulary_size, work / VOCABULARY_FILE)
    learnt = TextTokenizer(vocabulary).vocab_size
    transformer = Transformer(sizes.config(vocabulary_size=learnt, image=tokenizer.config))
    initialise(transformer, seed)
    identity = hash_weights(tokenizer)
    return Start(transformer, vocabulary, tokenizer, f"{identity} {sizes} {seed}", identity)


def hash_weights(module: nn.Module) -> str:
    """Return a hash of the weights of a module."""
    content = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        content.update(name.encode())
        content.update(tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:16]


def save_image_tokenizer(tokenizer: ImageTokenizer, folder: Path) -> None:
    """Write a file that `load_image_tokenizer` reads."""
    state = {"config": asdict(tokenizer.config), "weights": tokenizer.state_dict()}
    save_state(folder / IMAGE_TOKENIZER_FILE, state)


def load_image_tokenizer(folder: Path) -> ImageTokenizer:
    """Load an image tokenizer. Raises CheckpointError if the folder has neither one nor a checkpoint."""
    saved = load_state(folder / IMAGE_TOKENIZER_FILE)
    if saved is None:
        return load_rudolph(folder, dtype="float32").image_tokenizer
    tokenizer = ImageTokenizer(VqganConfig(**saved["config"]))
    tokenizer.load_state_dict(saved["weights"])
    return tokenizer.eval()


def _learn_vocabulary(texts: Sequence[str], size: int, path: Path) -> Path:
    if not path.is_file():
        corpus = path.with_suffix(".txt")
        corpus.parent.mkdir(parents=True, exist_ok=True)
        corpus.write_text("\n".join(text.lower() for text in texts), encoding="utf-8")
        with replace_file(path) as temporary:
            youtokentome.BPE.train(data=str(corpus), model=str(temporary), vocab_size=size, n_threads=1)
    return path
