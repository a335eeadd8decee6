"""What a job asks of the model: one request type a task."""

import msgspec


class Sampling(msgspec.Struct, frozen=True, omit_defaults=False):
    """How the next token is drawn. top_k 0 keeps all, top_p 1.0 keeps all, top_k 1 is greedy."""

    temperature: float
    top_k: int
    top_p: float


IMAGE_SAMPLING = Sampling(temperature=1.0, top_k=768, top_p=0.99)
TEXT_SAMPLING = Sampling(temperature=0.9, top_k=64, top_p=0.8)


class Borders(msgspec.Struct, frozen=True):
    """Rows and columns of a picture that are kept, counted in cells (one code each) from each side."""

    up: int = 0
    down: int = 0
    left: int = 0
    right: int = 0


class ImagePrompt(msgspec.Struct, frozen=True):
    """A picture of which a part is kept: either the borders, or what a mask does not mark for redrawing."""

    image: bytes
    borders: Borders | None = None
    mask: bytes | None = None
    """PNG; a cell that holds a pixel with alpha 0 is drawn anew. Exactly one of borders and mask is set."""


class Codes(msgspec.Struct, frozen=True):
    """A picture given as its image codes, row by row."""

    codes: tuple[int, ...]


Picture = bytes | Codes


class Text2ImageRequest(msgspec.Struct, frozen=True, tag="text2image"):
    """Draw `candidates` pictures; if more than `n`, self-rerank them and return the best n."""

    prompt: str
    seed: int
    n: int = 1
    candidates: int = 1
    sampling: Sampling = IMAGE_SAMPLING
    guidance: float = 0.0
    """Weight of the unprompted row in the mixed probabilities, 0 … 1; 0 runs no second row."""
    image_prompt: ImagePrompt | None = None
    format: str = "png"
    return_codes: bool = False
    rerank: bool = False
    """Score and order the pictures even when n == candidates."""
    partial_images: int = 0
    """Partial pictures (finished rows, the rest grey) to publish as events while drawing."""


class Image2TextRequest(msgspec.Struct, frozen=True, tag="image2text"):
    """Caption a picture: `candidates` texts, duplicates merged; with rerank, ordered by score ÷ count."""

    image: bytes
    seed: int
    n: int = 1
    candidates: int = 1
    template: str = ""
    max_tokens: int | None = None
    """Right-text positions to fill at most, template and special tokens included; None: all of them."""
    sampling: Sampling = TEXT_SAMPLING
    rerank: bool = False
    return_tokens: bool = False


class Text2TextRequest(msgspec.Struct, frozen=True, tag="text2text"):
    """Continue a text `candidates` times; duplicates merged, the n with the lowest ppl_text returned."""

    prompt: str
    seed: int
    n: int = 1
    candidates: int = 1
    max_tokens: int | None = None
    sampling: Sampling = TEXT_SAMPLING


class RankImagesRequest(msgspec.Struct, frozen=True, tag="rank_images"):
    text: str
    images: tuple[Picture, ...]


class RankTextsRequest(msgspec.Struct, frozen=True, tag="rank_texts"):
    image: bytes
    texts: tuple[str, ...]


class ClassifyRequest(msgspec.Struct, frozen=True, tag="classify"):
    """`template` holds one `{}` for the class name; so may `left_template`."""

    image: bytes
    classes: tuple[str, ...]
    template: str = "{}"
    left_template: str = ""


class AnswerRequest(msgspec.Struct, frozen=True, tag="answer"):
    question: str
    seed: int
    image: bytes | None = None
    max_tokens: int | None = None
    sampling: Sampling = Sampling(temperature=1.0, top_k=1, top_p=1.0)


Request = (
    Text2ImageRequest
    | Image2TextRequest
    | Text2TextRequest
    | RankImagesRequest
    | RankTextsRequest
    | ClassifyRequest
    | AnswerRequest
)
