"""Makes the larger demo checkpoint: cut-outs, vocabulary, image tokenizer, codes, transformer, folder.

Each stage stores its result in the work folder, and is skipped if the result exists. So a stopped run
resumes. The codes are computed at every start. Run with `make demo-scenes`.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
import youtokentome
from torch import Generator, Tensor

from examples.demo_checkpoint.card import plain_value
from examples.demo_scenes.batches import SceneBatches
from examples.demo_scenes.card import write_card
from examples.demo_scenes.drawing import Cast, SceneCodes, encode_scenes, scene_codes
from examples.demo_scenes.generation import example_scenes, prompt_of, write_generation_config
from examples.demo_scenes.phrases import all_texts
from examples.demo_scenes.rows import SceneMixture, SceneRows
from examples.demo_scenes.scenes import CELLS, Scene, SceneSampler
from examples.demo_scenes.sets import load_sprites
from examples.demo_scenes.things import load_things
from model.config import ModelConfig
from model.files.checkpoint import save_checkpoint
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from model.text_tokenizer import TextTokenizer
from training.augment import STRONG
from training.image_tokenizer_trainer import ImageTokenizerTrainer, TokenizerTraining
from training.initialization import fresh_image_tokenizer, small_image_tokenizer
from training.loop import LoopSettings, Trainer, run_loop
from training.optimizer import OptimizerSettings
from training.run_folder import StateMismatch
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
    image_width=CELLS,
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
FULL_MINUTES = 120
"""Minutes of the default steps on two cores."""
CPU = torch.device("cpu")
Report = Callable[[str], None]
Stage = TypeVar("Stage", TokenizerTraining, TransformerTraining)


def _tokenizer_settings() -> TokenizerTraining:
    optimizer = OptimizerSettings(learning_rate=1.5e-3, warm_up_steps=30, muon=True)
    return TokenizerTraining(3000, optimizer, unquantised_steps=200)


def _decoder_settings() -> TokenizerTraining:
    optimizer = OptimizerSettings(learning_rate=7e-4, warm_up_steps=20, muon=True)
    return TokenizerTraining(1600, optimizer, fixed_codes=True, log_error=0.3)


def _transformer_settings() -> TransformerTraining:
    return TransformerTraining(5200, OptimizerSettings(learning_rate=1.5e-3, warm_up_steps=60, muon=True))


def _final_settings() -> TransformerTraining:
    return TransformerTraining(120, OptimizerSettings(learning_rate=5e-4, warm_up_steps=10, muon=True))


@dataclass(frozen=True)
class Recipe:
    """Sizes of a run; the defaults take FULL_MINUTES."""

    tokenizer: TokenizerTraining = field(default_factory=_tokenizer_settings)
    decoder: TokenizerTraining = field(default_factory=_decoder_settings)
    moved: int = 8
    """Strongly moved images in a batch of the image tokenizer."""
    hardly_moved: int = 4
    composed: int = 6
    """Images in the batch that are drawn from composed codes."""
    transformer: TransformerTraining = field(default_factory=_transformer_settings)
    mixture: SceneMixture = field(default_factory=SceneMixture)
    final_stage: TransformerTraining = field(default_factory=_final_settings)
    """The last steps of the transformer, which bring the scores of wrong captions closer together."""
    final_mixture: SceneMixture = field(
        default_factory=lambda: SceneMixture(name_smoothing=Smoothing(image=0.3, right=0.75))
    )
    num_things: int | None = None
    """Things of the table; None for all."""
    seed: int = 0

    def within(self, minutes: float) -> "Recipe":
        """Return the recipe with steps for another length of the run."""
        share = minutes / FULL_MINUTES

        def scaled(stage: Stage) -> Stage:
            warm_up = round(stage.optimizer.warm_up_steps * share)
            optimizer = replace(stage.optimizer, warm_up_steps=warm_up)
            total = max(1, round(stage.total_steps * share))
            if isinstance(stage, TokenizerTraining):
                unquantised = round(stage.unquantised_steps * share)
                return replace(stage, optimizer=optimizer, total_steps=total, unquantised_steps=unquantised)
            return replace(stage, optimizer=optimizer, total_steps=total)

        return replace(
            self,
            tokenizer=scaled(self.tokenizer),
            decoder=scaled(self.decoder),
            transformer=scaled(self.transformer),
            final_stage=scaled(self.final_stage),
        )


@dataclass(frozen=True)
class Run:
    """A run of the recipe."""

    cast: Cast
    work: Path
    recipe: Recipe
    device: torch.device
    report: Report

    def batches(self, *, moved: int, hardly_moved: int) -> SceneBatches:
        """Return batches of the image tokenizer."""
        return SceneBatches(
            self.cast,
            side=SIDE,
            moved=moved,
            hardly_moved=hardly_moved,
            composed=self.recipe.composed,
            seed=self.recipe.seed,
            device=self.device,
        )

    def train(self, trainer: Trainer, name: str, steps: int, **fingerprint: object) -> None:
        """Train or resume a stage in its folder."""
        settings = LoopSettings(total_steps=steps, sheet_every_steps=200)
        identity = {**fingerprint, "things": len(self.cast.things), "seed": self.recipe.seed}
        run_loop(trainer, self.work / name, settings, identity, self.report, device=self.device)


def make_scenes(
    work: Path,
    output: Path,
    recipe: Recipe | None = None,
    *,
    device: torch.device = CPU,
    report: Report = print,
) -> None:
    """Run all stages without a result in `work`, and write the checkpoint to `output`.

    The packages are downloaded to `work`. Raises PackageError, and StateMismatch if `work` has results of
    another recipe.
    """
    recipe = recipe or Recipe()
    work.mkdir(parents=True, exist_ok=True)
    _require_own(work / "recipe.json", recipe)
    things = load_things(recipe.num_things)
    cast = Cast(things, load_sprites(things, work, report))
    report(f"{len(things)} things in {cast.sprites.shape[1]} styles, on {device}")
    run = Run(cast, work, recipe, device, report)
    vocabulary = make_vocabulary(cast, work / "bpe.model")
    image_tokenizer = train_image_tokenizer(run)
    codes = scene_codes(cast, image_tokenizer, SIDE)
    image_tokenizer = train_decoder(run, image_tokenizer)
    transformer = train_transformer(run, codes, image_tokenizer, vocabulary)
    save_checkpoint(
        output,
        transformer=transformer.cpu(),
        image_tokenizer=image_tokenizer.cpu(),
        vocabulary=vocabulary,
        name="rudolph-demo",
        dtype=torch.float16,
    )
    write_generation_config(output, cast, SIDE)
    num_parameters = sum(parameter.numel() for parameter in transformer.parameters())
    write_card(output, num_things=len(things), num_parameters=num_parameters, settings=asdict(recipe))
    report(f"the checkpoint is in {output}")


def _require_own(path: Path, recipe: Recipe) -> None:
    """Store the recipe of a new run. Raises StateMismatch if it has another one."""
    settings = json.dumps(asdict(recipe), default=plain_value, sort_keys=True)
    if path.is_file() and path.read_text(encoding="utf-8") != settings:
        raise StateMismatch(f"{path.parent} has a run of another recipe. Choose another folder with --work.")
    path.write_text(settings, encoding="utf-8")


def make_vocabulary(cast: Cast, path: Path) -> Path:
    """Train the BPE vocabulary."""
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder, replace_file(path) as temporary:
            corpus = Path(folder) / "corpus.txt"
            corpus.write_text("\n".join(all_texts(cast.things)), encoding="utf-8")
            youtokentome.BPE.train(data=str(corpus), model=str(temporary), vocab_size=BPE_SIZE, n_threads=1)
    return path


def train_image_tokenizer(run: Run) -> ImageTokenizer:
    """Train or resume; the result is rounded to the stored number format."""
    recipe = run.recipe
    tokenizer = fresh_image_tokenizer(VQGAN, recipe.seed).to(run.device)
    finished = load_state(run.work / "image_tokenizer.pt")
    if finished is not None:
        tokenizer.load_state_dict(finished)
        return tokenizer.eval()
    settings, counts = recipe.tokenizer, {"moved": recipe.moved, "hardly_moved": recipe.hardly_moved}
    trainer = ImageTokenizerTrainer(tokenizer, run.batches(**counts), settings)
    run.train(trainer, "image-tokenizer", settings.total_steps, training=asdict(settings), batch=counts)
    # Rounded here, so that the transformer learns the codes of the stored tokenizer.
    tokenizer = trainer.finish().half().float()
    save_state(run.work / "image_tokenizer.pt", tokenizer.state_dict())
    return tokenizer


def train_decoder(run: Run, tokenizer: ImageTokenizer) -> ImageTokenizer:
    """Train the decoder only, with fixed codes."""
    # Composed images are the unmoved ones, so all others can be moved.
    counts = {"moved": run.recipe.moved + run.recipe.hardly_moved, "hardly_moved": 0}
    settings = run.recipe.decoder
    trainer = ImageTokenizerTrainer(tokenizer, run.batches(**counts), settings, resume_codebook=True)
    run.train(trainer, "decoder", settings.total_steps, training=asdict(settings), batch=counts)
    return trainer.finish()


def train_transformer(
    run: Run, codes: SceneCodes, image_tokenizer: ImageTokenizer, vocabulary: Path
) -> Transformer:
    """Train or resume."""
    cast, recipe = run.cast, run.recipe
    text_tokenizer = TextTokenizer(vocabulary)
    transformer = Transformer(replace(MODEL, bpe_vocab_size=text_tokenizer.vocab_size))
    initialise(transformer, recipe.seed)
    transformer.to(run.device)
    builder = RowBuilder(transformer.config, text_tokenizer)

    def encode(scenes: Sequence[Scene], random: Generator) -> Tensor:
        return encode_scenes(cast, image_tokenizer, scenes, SIDE, strength=STRONG, random=random)

    prompts = [prompt_of(scene, cast.things) for scene in example_scenes(cast.things)]

    def draw(path: Path) -> None:
        draw_prompts(path, transformer, image_tokenizer, builder, prompts)

    for name, settings, mixture in (
        ("transformer", recipe.transformer, recipe.mixture),
        ("final_stage", recipe.final_stage, recipe.final_mixture),
    ):
        rows = SceneRows(SceneSampler(cast.things), codes, encode, builder, mixture, seed=recipe.seed)
        trainer = TransformerTrainer(transformer, rows, settings, draw=draw)
        run.train(trainer, name, settings.total_steps, training=asdict(settings), mixture=asdict(mixture))
    return transformer
