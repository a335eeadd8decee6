"""The interface of a backend. This docstring explains serving on one page.

A sequence is left text, image and right text at fixed positions. It runs in a slot. A slot holds the keys and
values of the image and the right text, and a row of the token board. The board has the id at every position
and whether it is forced. Left texts have slots of their own, because the sequences of a prompt share theirs.

The engine decides which sequence has which slot, and what runs in each step. A backend computes:

1. `warmup` allocates the cache and the board once, and runs the largest work once. Work that is too large for
   the device fails here and not while serving. Later steps allocate only temporary memory.
2. `prefill` computes a prompt and stores its keys, values and last hidden state. `copy` repeats a stored
   prompt in another slot: a second candidate of a prompt costs a copy instead of a pass.
3. `start` draws the first token of sequences from the stored hidden states of their prompts.
4. `decode` is the step that repeats. Every sequence reads its last token from the board. Its layers read the
   keys that their kind of sparse attention allows. A slice of the head gives logits; a token is drawn and
   written to the board. A forced token is never overwritten. `decode_forced` reads a run of forced tokens in
   one pass.
5. `codes` returns the image codes of slots; drawn text is returned by each step.
6. `score` returns perplexities of given sequences. Nothing is drawn.

The reference network (model/network) defines the probabilities of a token, and the reference sampler what is
drawn from them. A backend may store the weights in its own layout and round differently. Tests compare each
with the reference. Results are read through `HostCopy`, so that the host can launch the next step while the
device runs this one. A `Mark` after each step bounds how far the host is in front.

The engine reads the `Traits` of a backend, and branches on nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor

from model.backends.batches import DecodeBatch, Prompt, PromptCopy, ScoreBatch
from model.backends.host_copy import HostCopy, Mark
from model.image_tokenizer import ImageTokenizer


@dataclass(frozen=True)
class Traits:
    """The properties of a backend that the engine uses."""

    num_slots: int
    """Default number of sequences that run at once."""
    step_tokens: int
    """Default number of positions that prompts and scoring may compute between two decode steps."""
    steps_in_flight: int
    """Launched steps that the device may still run when the next step is launched."""
    drafts_tokens: bool
    """Whether `decode` may draw several tokens of a sequence in a step (Jacobi decoding)."""
    image_batch: int
    """Images that the image tokenizer encodes or decodes at once."""
    images_in_thread: bool
    """Whether the image tokenizer runs in its own thread, at the same time as decoding."""
    step_limit_s: float
    """A step that takes longer counts as hung."""


@dataclass(frozen=True)
class DrawnTokens:
    """The tokens that a step drew."""

    text_ids: HostCopy | None
    """Ids of the text sequences in the order of the batch, int64; None without text sequences."""
    lengths: tuple[int, ...] = ()
    """Number of new tokens of each sequence; empty: one per sequence."""


@dataclass(frozen=True)
class Scores:
    """Perplexities, float64, shape = (sequences,); None for a part that was not requested."""

    left: HostCopy | None
    image: HostCopy | None
    right: HostCopy | None


class Backend(ABC):
    """One network on one device, with its cache and its token board. Not thread-safe."""

    traits: Traits

    @abstractmethod
    def warmup(self, num_slots: int, num_spare_left: int, step_tokens: int) -> int:
        """Allocate everything; return the number of slots, fewer than `num_slots` if memory is short.

        There are `num_spare_left` left slots more than slots, for scoring. `step_tokens`: the largest work of
        a step. Raises torch.OutOfMemoryError if not even a guided sequence fits.
        """

    @abstractmethod
    def prefill(self, prompts: Sequence[Prompt]) -> None:
        """Compute prompts and store their keys, values and last hidden states; left texts first."""

    @abstractmethod
    def copy(self, left: Sequence[PromptCopy], body: Sequence[PromptCopy]) -> None:
        """Copy stored prompts between left slots, and between slots."""

    @abstractmethod
    def start(self, batch: DecodeBatch, known_codes: Sequence[Sequence[int | None]]) -> DrawnTokens:
        """Draw the first token of sequences whose prompts are stored.

        `known_codes`: for each sequence the W² codes to force, None where one is drawn; or nothing.
        """

    @abstractmethod
    def decode(self, batch: DecodeBatch) -> DrawnTokens:
        """Draw the next token of every sequence, or several where drafts were accepted."""

    @abstractmethod
    def decode_forced(self, batch: DecodeBatch, length: int) -> DrawnTokens:
        """Read `length` known tokens of every sequence in one pass, then draw the next one.

        All sequences are at the same position; the tokens after the first are forced codes.
        """

    @abstractmethod
    def score(self, batch: ScoreBatch) -> Scores:
        """Compute the perplexities that the batch selects."""

    @abstractmethod
    def codes(self, slots: Sequence[int]) -> HostCopy:
        """Return the image codes of slots, shape = (slots, W²); undefined where none is drawn yet."""

    @abstractmethod
    def mark(self) -> Mark:
        """Return a mark after all work that was launched so far."""

    def memory(self) -> dict[str, int]:
        """Return bytes of the device: allocated and reserved by this process, and total; 0 on a CPU."""
        return {"allocated": 0, "reserved": 0, "total": 0}

    def image_context(self) -> AbstractContextManager[object]:
        """Return the context in which the image tokenizer runs."""
        return nullcontext()

    def image_decoder(self, tokenizer: ImageTokenizer) -> Callable[[Tensor], Tensor]:
        """Return what decodes images in that context, as `ImageTokenizer.decode` does.

        A result is valid until the next call.
        """
        return tokenizer.decode
