"""Makes the demo checkpoint: images, vocabulary, image tokenizer, codes, transformer, folder.

Each stage stores its result in the work folder, and is skipped if the result exists. So a stopped run
resumes. Run with `make demo-checkpoint`.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import youtokentome
from torch import Generator, Tensor

from examples.demo_checkpoint.batches import EmojiBatches
from examples.demo_checkpoint.card import write_card
from examples.demo_checkpoint.codes import EmojiCodes, emoji_codes, encode_pairs
from examples.demo_checkpoint.generation import write_generation_config
from examples.demo_checkpoint.images import DEFAULT_FONT, EmojiSet, load_emoji_set
from examples.demo_checkpoint.names import ALIASES, BACKGROUNDS, COLOURED, phrase
from examples.demo_checkpoint.rows import EmojiMixture, EmojiRows
from model.config import ModelConfig
from model.files.checkpoint import save_checkpoint
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from model.text_tokenizer import TextTokenizer
from training.augment import STRONG
from training.image_tokenizer_trainer import ImageTokenizerTrainer, TokenizerTraining
from training.initialization import fresh_image_tokenizer, small_image_tokenizer
from training.loop import LoopSettings, run_loop
from training.optimizer import OptimizerSettings
from training.samples import draw_prompts
from training.sequences import RowBuilder, Smoothing
from training.state import load_state, replace_file, save_state
from training.transformer_trainer import TransformerTrainer, TransformerTraining, initialise

BPE_SIZE = 1024
MODEL = ModelConfig(
    num_layers=6,
    hidden_size=256,
    num_heads=8,
    left_text_length=20,
    image_width=8,
    right_text_length=20,
    kernel_size=7,
    last_kernel_size=9,
    bpe_vocab_size=BPE_SIZE,
    image_codebook_size=2048,
    text_special_tokens=8,
    image_special_tokens=8,
)
VQGAN = small_image_tokenizer(64, MODEL.image_codebook_size)
SIDE = MODEL.image_width * VQGAN.upsampling
"""Side of an image in pixels; the encoder reads half of it."""
SHEET_PROMPTS = (
    "клубника",
    "кот на синем фоне",
    "морда панды",
    "автомобиль на желтом фоне",
    "банан на розовом фоне",
    "дом",
    "сова на зеленом фоне",
    "красное яблоко на голубом фоне",
)


@dataclass(frozen=True)
class Recipe:
    """Sizes of a run; the defaults make the checkpoint of the repository."""

    tokenizer: TokenizerTraining = field(
        default_factory=lambda: TokenizerTraining(
            total_steps=3800,
            optimizer=OptimizerSettings(learning_rate=1.5e-3, warm_up_steps=30, muon=True),
            unquantised_steps=200,
        )
    )
    decoder: TokenizerTraining = field(
        default_factory=lambda: TokenizerTraining(
            total_steps=2500,
            optimizer=OptimizerSettings(learning_rate=7e-4, warm_up_steps=20, muon=True),
            fixed_codes=True,
            log_error=0.3,
        )
    )
    moved: int = 8
    """Strongly moved images in a batch of the image tokenizer."""
    hardly_moved: int = 4
    composed: int = 6
    """Images in the batch that are drawn from composed codes."""
    transformer: TransformerTraining = field(
        default_factory=lambda: TransformerTraining(
            total_steps=1700,
            optimizer=OptimizerSettings(learning_rate=1.5e-3, warm_up_steps=60, muon=True),
        )
    )
    mixture: EmojiMixture = field(default_factory=EmojiMixture)
    final_stage: TransformerTraining = field(
        default_factory=lambda: TransformerTraining(
            total_steps=120,
            optimizer=OptimizerSettings(learning_rate=5e-4, warm_up_steps=10, muon=True),
        )
    )
    """The last steps of the transformer, which bring the scores of wrong captions closer together."""
    final_mixture: EmojiMixture = field(
        default_factory=lambda: EmojiMixture(name_smoothing=Smoothing(image=0.3, right=0.75))
    )
    seed: int = 0


def make_demo(
    work: Path,
    output: Path,
    recipe: Recipe | None = None,
    *,
    font: Path = DEFAULT_FONT,
    report: Callable[[str], None] = print,
) -> None:
    """Run all stages without a result in `work`, and write the checkpoint to `output`."""
    recipe = recipe or Recipe()
    work.mkdir(parents=True, exist_ok=True)
    emoji = load_emoji_set(font)
    report(f"{len(emoji)} emoji, {len(emoji.training_pairs())} pairs, {len(emoji.held_out_pairs())} held out")
    vocabulary = make_vocabulary(emoji, work / "bpe.model")
    image_tokenizer = train_image_tokenizer(emoji, work, recipe, report)
    codes = emoji_codes(emoji, image_tokenizer, SIDE, work / "codes.pt")
    image_tokenizer = train_decoder(emoji, work, recipe, image_tokenizer, report)
    transformer = train_transformer(
        emoji, codes, work, recipe, image_tokenizer=image_tokenizer, vocabulary=vocabulary, report=report
    )
    save_checkpoint(
        output,
        transformer=transformer,
        image_tokenizer=image_tokenizer,
        vocabulary=vocabulary,
        name="rudolph-demo",
        dtype=torch.float16,
    )
    write_generation_config(output, emoji, SIDE)
    num_parameters = sum(parameter.numel() for parameter in transformer.parameters())
    write_card(output, num_emoji=len(emoji), num_parameters=num_parameters, settings=asdict(recipe))
    report(f"the checkpoint is in {output}")


def texts_of(emoji: EmojiSet) -> list[str]:
    """Return every name and alias on every background, for the vocabulary."""
    texts: list[str] = []
    for item in emoji.emoji:
        for name in (item.name, *ALIASES.get(item.name, ())):
            texts += [phrase(name, background) for background in BACKGROUNDS]
            # Names count as much as the few words that follow all of them.
            texts += [name] * len(BACKGROUNDS)
    for background in COLOURED:
        texts += list(background.spellings) * len(emoji)
    return texts


def make_vocabulary(emoji: EmojiSet, path: Path) -> Path:
    """Train the BPE vocabulary."""
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder, replace_file(path) as temporary:
            corpus = Path(folder) / "corpus.txt"
            corpus.write_text("\n".join(texts_of(emoji)), encoding="utf-8")
            youtokentome.BPE.train(data=str(corpus), model=str(temporary), vocab_size=BPE_SIZE, n_threads=1)
    return path


def train_image_tokenizer(
    emoji: EmojiSet, work: Path, recipe: Recipe, report: Callable[[str], None]
) -> ImageTokenizer:
    """Train or resume; the result is rounded to the stored number format."""
    tokenizer = fresh_image_tokenizer(VQGAN, recipe.seed)
    finished = load_state(work / "image_tokenizer.pt")
    if finished is not None:
        tokenizer.load_state_dict(finished)
        return tokenizer.eval()
    trainer = ImageTokenizerTrainer(tokenizer, _batches(emoji, recipe), recipe.tokenizer)
    _run(trainer, work / "image-tokenizer", recipe.tokenizer.total_steps, asdict(recipe.tokenizer), report)
    # Rounded here, so that the transformer learns the codes of the stored tokenizer.
    tokenizer = trainer.finish().half().float()
    save_state(work / "image_tokenizer.pt", tokenizer.state_dict())
    return tokenizer


def train_decoder(
    emoji: EmojiSet, work: Path, recipe: Recipe, tokenizer: ImageTokenizer, report: Callable[[str], None]
) -> ImageTokenizer:
    """Train the decoder only, with fixed codes."""
    # Composed images are the unmoved ones, so all others can be moved.
    batches = _batches(emoji, replace(recipe, moved=recipe.moved + recipe.hardly_moved, hardly_moved=0))
    trainer = ImageTokenizerTrainer(tokenizer, batches, recipe.decoder, resume_codebook=True)
    _run(trainer, work / "decoder", recipe.decoder.total_steps, asdict(recipe.decoder), report)
    return trainer.finish()


def _batches(emoji: EmojiSet, recipe: Recipe) -> EmojiBatches:
    return EmojiBatches(
        emoji,
        side=SIDE,
        cells=MODEL.image_width,
        moved=recipe.moved,
        hardly_moved=recipe.hardly_moved,
        composed=recipe.composed,
        seed=recipe.seed,
    )


def train_transformer(
    emoji: EmojiSet,
    codes: EmojiCodes,
    work: Path,
    recipe: Recipe,
    *,
    image_tokenizer: ImageTokenizer,
    vocabulary: Path,
    report: Callable[[str], None],
) -> Transformer:
    """Train or resume."""
    text_tokenizer = TextTokenizer(vocabulary)
    transformer = Transformer(MODEL)
    initialise(transformer, recipe.seed)
    builder = RowBuilder(MODEL, text_tokenizer)

    def encode(pairs: Sequence[tuple[int, int]], random: Generator) -> Tensor:
        return encode_pairs(emoji, image_tokenizer, pairs, SIDE, strength=STRONG, random=random)

    def draw(path: Path) -> None:
        draw_prompts(path, transformer, image_tokenizer, builder, SHEET_PROMPTS)

    for name, settings, mixture in (
        ("transformer", recipe.transformer, recipe.mixture),
        ("final_stage", recipe.final_stage, recipe.final_mixture),
    ):
        rows = EmojiRows(emoji, codes, encode, builder, mixture, seed=recipe.seed)
        trainer = TransformerTrainer(transformer, rows, settings, draw=draw)
        fingerprint = {"training": asdict(settings), "mixture": asdict(mixture)}
        _run(trainer, work / name, settings.total_steps, fingerprint, report)
    return transformer


def _run(
    trainer: Any, directory: Path, steps: int, fingerprint: dict[str, Any], report: Callable[[str], None]
) -> None:
    settings = LoopSettings(total_steps=steps, sheet_every_steps=200)
    run_loop(trainer, directory, settings, fingerprint, report)
