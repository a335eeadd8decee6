"""Reads a checkpoint folder into a `Rudolph`, and writes one.

Knows the folder layout and which parts must fit together. `model/files/weights.py` knows the formats,
`model/files/config_json.py` the field names.

A folder holds the transformer (`model.safetensors` or the official `pytorch_model.bin`), the image tokenizer
(`vqgan.safetensors`, or the official file, plain or `-dwt`), `bpe.model`, `config.json`, which an official
folder may lack, and optionally `generation_config.json`.
"""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from model.backends.precision import choose_decoder_dtype, choose_dtype
from model.config import PRESETS, ModelConfig, Preset, VqganConfig
from model.files.config_json import (
    MAX_CONFIG_BYTES,
    MAX_NAME_CHARACTERS,
    CheckpointConfig,
    ConfigError,
    dump_config,
    parse_config,
)
from model.files.generation_config import AUTO, read_generation_config
from model.files.weights import CheckpointError, assign, hash_files, read_tensors
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from model.rudolph import Rudolph
from model.text_normalization import Normalization
from model.text_tokenizer import TextTokenizer, VocabularyError

__all__ = ["CheckpointError", "load_rudolph", "save_checkpoint"]

CONFIG_FILE = "config.json"
VOCABULARY_FILE = "bpe.model"
TRANSFORMER_FILES = ("model.safetensors", "pytorch_model.bin")
VQGAN_SAFE_FILE = "vqgan.safetensors"
VQGAN_PLAIN_FILE = "vqgan.gumbelf8-sber.model.ckpt"
VQGAN_DWT_FILE = "vqgan.gumbelf8-sber-dwt.model.ckpt"
VQGAN_WRAPPER_KEY = "state_dict"

# Derived data in the official files.
MASK_NAMES = frozenset(f"transformer.{kind}_mask" for kind in ("row", "col", "conv", "last_conv"))
# The plain file comes from a training run, and may hold the discriminator's weights.
PLAIN_IGNORED_PREFIX = "loss."
DWT_PREFIX = "model."
DECODER_PREFIXES = ("decoder.", "post_quant_conv.", "quantize.embed.")
CELL_PIXELS = 8
READABLE = 0o644


def load_rudolph(
    path: Path | str,
    *,
    preset: str | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    generation_config: str = AUTO,
    normalization: Normalization = "unicode",
) -> Rudolph:
    """Load a checkpoint folder.

    preset: name of the published architecture. It is needed for a folder without config.json whose tensor
    shapes fit several. dtype: None or "auto" for the best format of the device, or a name or a torch dtype.
    The encoder of the image tokenizer stays in float32, so codes do not depend on dtype. The decoder uses
    dtype, except on a CPU that is faster in float32. generation_config: see `read_generation_config`.
    normalization: see `TextTokenizer`.

    Raises CheckpointError for parts that are missing, damaged or do not fit together, and ValueError for an
    unknown dtype.
    """
    folder, device = Path(path), torch.device(device)
    transformer_dtype = choose_dtype(device, dtype)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder. Give the folder of a checkpoint.")
    transformer_path = _first_present(folder, TRANSFORMER_FILES)
    vocabulary_path = folder / VOCABULARY_FILE
    if not vocabulary_path.is_file():
        raise CheckpointError(f"{VOCABULARY_FILE} is missing in {folder}. Download it again.")
    described = _read_config(folder)
    generation = read_generation_config(folder, generation_config)
    vqgan_path = _first_present(folder, _vqgan_files(described))
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Reading and hashing run in parallel; hashing is the slower of the two if files are cached.
        revision = pool.submit(hash_files, (transformer_path, vqgan_path, vocabulary_path))
        tensors = read_tensors(transformer_path)
        config = _settle_config(described, preset, tensors, folder)
        transformer = _load_transformer(
            config.model, tensors, transformer_path.name, device, transformer_dtype
        )
        image_tokenizer = _load_image_tokenizer(config, vqgan_path, device, transformer_dtype)
        text_tokenizer = _load_text_tokenizer(vocabulary_path, config.model, normalization)
        return Rudolph(
            config=config.model,
            transformer=transformer,
            text_tokenizer=text_tokenizer,
            image_tokenizer=image_tokenizer,
            device=device,
            dtype=transformer_dtype,
            name=config.name or _name_of(folder),
            revision=revision.result(),
            tasks=config.tasks,
            generation=generation,
        )


def _name_of(folder: Path) -> str:
    """Return the folder's name as a name of a model, which appears in logs, metrics and replies."""
    name = "".join(character if character.isprintable() else "?" for character in folder.resolve().name)
    return name[:MAX_NAME_CHARACTERS] or "model"


def save_checkpoint(
    directory: Path | str,
    *,
    transformer: Transformer,
    image_tokenizer: ImageTokenizer,
    vocabulary: Path,
    name: str | None = None,
    tasks: frozenset[str] = frozenset(),
    dtype: torch.dtype | None = None,
) -> None:
    """Write a folder that `load_rudolph` reads: safetensors, config.json and a copy of the vocabulary.

    dtype: number format of the stored weights; None keeps each tensor's. Each file appears whole or not.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    config = CheckpointConfig(transformer.config, image_tokenizer.config, name, tasks)
    _write_tensors(folder / TRANSFORMER_FILES[0], transformer, "", dtype)
    prefix = DWT_PREFIX if image_tokenizer.config.dwt else ""
    _write_tensors(folder / VQGAN_SAFE_FILE, image_tokenizer, prefix, dtype)
    if vocabulary.resolve() != (folder / VOCABULARY_FILE).resolve():
        shutil.copyfile(vocabulary, folder / VOCABULARY_FILE)
    write_config(folder, config)


def write_config(folder: Path, config: CheckpointConfig) -> None:
    """Write config.json."""
    partial = folder / f".{CONFIG_FILE}.partial"
    partial.write_text(json.dumps(dump_config(config), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, folder / CONFIG_FILE)


def _write_tensors(path: Path, module: nn.Module, prefix: str, dtype: torch.dtype | None) -> None:
    tensors = {
        prefix + name: tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous()
        for name, tensor in module.state_dict().items()
    }
    partial = path.with_name(f".{path.name}.partial")
    safetensors.torch.save_file(tensors, partial)
    partial.chmod(READABLE)  # the library lets only the owner read, and a container serves as another user
    os.replace(partial, path)


def _first_present(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{' or '.join(names)} is missing in {folder}. Download it, or correct the path.")


def _read_config(folder: Path) -> CheckpointConfig | None:
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(f"The file is larger than {MAX_CONFIG_BYTES} bytes. Shorten it.")
        return parse_config(json.loads(path.read_text(encoding="utf-8")))
    except ConfigError as error:
        raise CheckpointError(f"{CONFIG_FILE}: {error}") from error
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{CONFIG_FILE} is not valid JSON. Correct it.") from error


def _vqgan_files(described: CheckpointConfig | None) -> tuple[str, ...]:
    if described is None or described.vqgan is None:
        return (VQGAN_SAFE_FILE, VQGAN_PLAIN_FILE, VQGAN_DWT_FILE)
    return (VQGAN_SAFE_FILE, VQGAN_DWT_FILE if described.vqgan.dwt else VQGAN_PLAIN_FILE)


def _settle_config(
    described: CheckpointConfig | None, preset: str | None, tensors: dict[str, Tensor], folder: Path
) -> CheckpointConfig:
    """Return config.json, the given preset, or the only preset that fits the shapes of the file."""
    if preset is not None:
        if preset not in PRESETS:
            raise CheckpointError(f"There is no preset {preset!r}. Presets: {', '.join(PRESETS)}.")
        published = PRESETS[preset]
        if described is None:
            return _of_preset(published)
        if described.model != published.config:
            raise CheckpointError(
                f"{CONFIG_FILE} in {folder} is of another architecture than preset {preset}. Omit --preset."
            )
        return described
    if described is not None:
        return described
    fitting = [name for name, candidate in PRESETS.items() if _has_shapes_of(candidate.config, tensors)]
    if len(fitting) != 1:
        found = f"its tensors fit {' and '.join(fitting)}" if fitting else "its tensors fit no preset"
        raise CheckpointError(
            f"{folder} has no {CONFIG_FILE}, and {found}. Add it, or name the preset with --preset."
        )
    return _of_preset(PRESETS[fitting[0]])


def _of_preset(preset: Preset) -> CheckpointConfig:
    return CheckpointConfig(preset.config, None, preset.repo_id.rpartition("/")[2], preset.tasks)


def _has_shapes_of(config: ModelConfig, tensors: dict[str, Tensor]) -> bool:
    expected = {
        "text_embeddings.weight": (config.text_vocab_size, config.hidden_size),
        "image_embeddings.weight": (config.image_vocab_size, config.hidden_size),
        "l_text_pos_embeddings.weight": (config.left_text_length + 1, config.hidden_size),
        "r_text_pos_embeddings.weight": (config.right_text_length + 1, config.hidden_size),
        "image_row_embeddings.weight": (config.image_width, config.hidden_size),
    }
    layers = {name.split(".")[2] for name in tensors if name.startswith("transformer.layers.")}
    shapes = {name: tuple(tensors[name].shape) for name in expected if name in tensors}
    return shapes == expected and len(layers) == config.num_layers


def _load_transformer(
    config: ModelConfig, tensors: dict[str, Tensor], file_name: str, device: torch.device, dtype: torch.dtype
) -> Transformer:
    with torch.device("meta"):
        transformer = Transformer(config)
    for name in MASK_NAMES:
        tensors.pop(name, None)
    assign(transformer, tensors, file_name, device=device, dtype_of=lambda _: dtype)
    return transformer


def _load_image_tokenizer(
    config: CheckpointConfig, path: Path, device: torch.device, dtype: torch.dtype
) -> ImageTokenizer:
    tensors = read_tensors(path, wrapper_key=VQGAN_WRAPPER_KEY)
    is_dwt = any(name.startswith(DWT_PREFIX) for name in tensors)
    sizes = config.vqgan or VqganConfig(dwt=is_dwt)
    _check_vqgan(sizes, config.model)
    if sizes.dwt and is_dwt:
        tensors = {name.removeprefix(DWT_PREFIX): tensor for name, tensor in tensors.items()}
    elif not sizes.dwt:
        tensors = {n: tensor for n, tensor in tensors.items() if not n.startswith(PLAIN_IGNORED_PREFIX)}
    try:
        with torch.device("meta"):
            image_tokenizer = ImageTokenizer(sizes)
    except ValueError as error:
        raise CheckpointError(
            f"{CONFIG_FILE}: vae is impossible: {str(error).rstrip('.')}. Correct it."
        ) from error

    decoder_dtype = choose_decoder_dtype(device, dtype)

    def dtype_of(name: str) -> torch.dtype:
        return decoder_dtype if name.startswith(DECODER_PREFIXES) else torch.float32

    assign(image_tokenizer, tensors, path.name, device=device, dtype_of=dtype_of)
    return image_tokenizer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _check_vqgan(sizes: VqganConfig, model: ModelConfig) -> None:
    if sizes.codebook_size != model.image_codebook_size:
        raise CheckpointError(
            f"The image tokenizer has {sizes.codebook_size} codes (vae.n_embed), "
            f"but the transformer has {model.image_codebook_size} (image_vocab_size). "
            "Use the files of one checkpoint."
        )
    if CELL_PIXELS not in (sizes.downsampling, sizes.upsampling):
        raise CheckpointError(
            f"The image tokenizer reads cells of {sizes.downsampling} pixels and draws {sizes.upsampling} "
            f"(vae.ch_mult, vae.dwt). One of the two must be {CELL_PIXELS}."
        )


def _load_text_tokenizer(path: Path, model: ModelConfig, normalization: Normalization) -> TextTokenizer:
    try:
        text_tokenizer = TextTokenizer(path, normalization=normalization)
    except VocabularyError as error:
        raise CheckpointError(str(error)) from error
    if text_tokenizer.vocab_size != model.bpe_vocab_size:
        raise CheckpointError(
            f"{path.name} has {text_tokenizer.vocab_size} tokens, but the transformer needs "
            f"{model.bpe_vocab_size} (vocab_size less l_text_seq_length). Use the files of one checkpoint."
        )
    return text_tokenizer
