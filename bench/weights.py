"""Random weights, words and images, so that a benchmark needs no checkpoint.

The same call makes the same values.
"""

import io
import random
from pathlib import Path

import torch
from PIL import Image

from bench import published
from model.backends.precision import choose_decoder_dtype
from model.config import ModelConfig, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from model.rudolph import Rudolph
from model.text_tokenizer import TextTokenizer

PROMPT = "большой красный круг на белом фоне"
LETTERS = "абвгдежзиклмнопрстуфхцчшщыьэюя"
NUM_WORDS = 60_000
"""Words in the text that the text tokenizer is trained on; enough for the vocabulary of 16,384."""


def bundle(transformer: Transformer, vqgan: VqganConfig, vocabulary_file: Path) -> Rudolph:
    """Return a loaded model on the CPU around a transformer, with a random image tokenizer."""
    dtype = transformer.text_embeddings.weight.dtype
    return Rudolph(
        config=transformer.config,
        transformer=transformer,
        text_tokenizer=TextTokenizer(vocabulary_file),
        image_tokenizer=image_tokenizer(vqgan, dtype),
        device=torch.device("cpu"),
        dtype=dtype,
        name="bench",
        revision="random",
        tasks=frozenset(),
    )


def transformer(config: ModelConfig, dtype: torch.dtype) -> Transformer:
    """Return a transformer in evaluation mode with random weights.

    Those of a fresh `Transformer` are not initialized.
    """
    network = Transformer(config).eval().requires_grad_(False)
    published.randomise(network, 1)
    return network.to(dtype)


def image_tokenizer(vqgan: VqganConfig, dtype: torch.dtype) -> ImageTokenizer:
    """Return a random image tokenizer in the formats of a loaded checkpoint: the encoder in float32."""
    tokenizer = ImageTokenizer(vqgan).eval()
    for part in (tokenizer.decoder, tokenizer.post_quant_conv, tokenizer.quantize.embed):
        part.to(choose_decoder_dtype(torch.device("cpu"), dtype))
    return tokenizer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def image(side: int, number: int) -> tuple[Image.Image, bytes]:
    """Return an image of coloured clouds and its PNG file; every number gives another one."""
    draw = random.Random(number)
    clouds = Image.frombytes("RGB", (8, 8), draw.randbytes(8 * 8 * 3)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    buffer = io.BytesIO()
    clouds.save(buffer, "PNG")
    return clouds, buffer.getvalue()


def words(count: int) -> list[str]:
    """Return made-up Russian words."""
    draw = random.Random(1)
    return ["".join(draw.choices(LETTERS, k=draw.randint(2, 9))) for _ in range(count)]


def vocabulary(size: int, folder: Path) -> Path:
    """Train a text tokenizer of this size on made-up words and the prompt; return its file."""
    # Imported here, because the client of a server on a GPU host needs the words only.
    import youtokentome

    text = folder / "words.txt"
    content = [" ".join(words(NUM_WORDS)), *([PROMPT, "на картинке круг"] * 50)]
    text.write_text("\n".join(content), encoding="utf-8")
    model = folder / "bpe.model"
    youtokentome.BPE.train(data=str(text), model=str(model), vocab_size=size)
    return model
