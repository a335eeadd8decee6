"""Text to BPE ids and back, over the published YouTokenToMe file.

Knows the vocabulary file; does not know task tokens, templates, padding or lengths.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import youtokentome

from model.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID

MAX_CHARACTERS = 100_000
"""Longest text that is encoded; far beyond what any region of the sequence holds."""

NUM_SPECIAL_IDS = 4


class TextError(ValueError):
    """A text that cannot be encoded; the message says why and is fit for a client."""


class VocabularyError(ValueError):
    """A file that is no usable BPE vocabulary."""


class TextTokenizer:
    """Lower-cases, strips and encodes; decodes without special tokens."""

    def __init__(self, path: Path | str) -> None:
        """Raises VocabularyError if the file is no YouTokenToMe model with the special ids 0, 1, 2, 3."""
        _check_vocabulary_file(Path(path))
        # One thread: texts come one at a time, and threads would be started anew for each.
        self._bpe = youtokentome.BPE(model=str(path), n_threads=1)
        self.vocab_size: int = self._bpe.vocab_size()

    def encode(self, text: str) -> list[int]:
        """BPE ids of a text, without bos, eos or padding; unknown characters become `<UNK>`.

        Raises TextError for a text that is no valid Unicode, or longer than MAX_CHARACTERS.
        """
        if len(text) > MAX_CHARACTERS:
            raise TextError(f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are read")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise TextError("the text holds half a surrogate pair, which is no valid Unicode") from None
        (ids,) = self._bpe.encode([text.lower().strip()], output_type=youtokentome.OutputType.ID)
        return cast(list[int], ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids. Special ids, task tokens and anything else outside the vocabulary are left out."""
        known = [index for index in ids if NUM_SPECIAL_IDS <= index < self.vocab_size]
        return self._bpe.decode(known)[0] if known else ""


def _check_vocabulary_file(path: Path) -> None:
    """The library reads a broken file without complaint, so the file's own counts are checked first.

    Layout: `characters rules`, one line a character (`code id`), one line a rule (`left right id`), then
    `unk pad bos eos`.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        rows = [tuple(map(int, line.split())) for line in lines]
    except OSError as error:
        raise VocabularyError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError:
        raise VocabularyError(f"{path.name} is no YouTokenToMe model") from None
    if not rows or len(rows[0]) != 2:
        raise VocabularyError(f"{path.name} is no YouTokenToMe model")
    num_characters, num_rules = rows[0]
    characters, rules = rows[1 : 1 + num_characters], rows[1 + num_characters : -1]
    whole = (
        len(rows) == num_characters + num_rules + 2
        and all(len(row) == 2 for row in characters)
        and all(len(row) == 3 for row in rules)
    )
    if not whole:
        raise VocabularyError(f"{path.name} is cut short or damaged")
    if rows[-1] != (UNK_ID, PAD_ID, BOS_ID, EOS_ID):
        raise VocabularyError(f"{path.name} has other special ids than pad 0, unk 1, bos 2, eos 3")
