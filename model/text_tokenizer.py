"""Converts text to BPE ids and back, with a YouTokenToMe file.

Does not know task tokens, templates, padding or lengths.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from model.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from model.text_normalization import Normalization, normalize

MAX_CHARACTERS = 100_000
"""Longest text that is encoded, far longer than any segment of the sequence."""

NUM_SPECIAL_IDS = 4
SPACE_CODE = 0x2581
"""Stands for a space in the library's words."""
MAX_VOCABULARY_BYTES = 32 << 20
MAX_TOKEN_CHARACTERS = 1000
MAX_CODE = 0x10FFFF
_FIRST_SURROGATE, _LAST_SURROGATE = 0xD800, 0xDFFF
_ROWS = re.compile(rb"(?:[0-9]{1,7}(?: [0-9]{1,7})* ?\r?\n)*[0-9]{1,7}(?: [0-9]{1,7})*\s*")


class TextError(ValueError):
    """A text that cannot be encoded. The message gives the reason and may be shown to a client."""


class VocabularyError(ValueError):
    """A file that is not a valid BPE vocabulary."""


class TextTokenizer:
    """Encodes lower-cased, normalised text; decodes without special tokens."""

    def __init__(self, path: Path | str, *, normalization: Normalization = "unicode") -> None:
        """normalization: "none" encodes exactly as the published packages, which only lower and strip.

        Raises VocabularyError if the file is not a YouTokenToMe model with the special ids 0, 1, 2, 3.
        """
        # Imported here, because a GPU host that runs tests and benchmarks on random weights need not have it.
        import youtokentome

        _check_vocabulary_file(Path(path))
        # One thread: texts arrive one at a time, and the library would start new threads for each.
        self._bpe = youtokentome.BPE(model=str(path), n_threads=1)
        self._as_ids = youtokentome.OutputType.ID
        self.vocab_size: int = self._bpe.vocab_size()
        self._normalizes = normalization == "unicode"
        self._letters = frozenset("".join(self._bpe.vocab()[NUM_SPECIAL_IDS:]))

    def encode(self, text: str) -> list[int]:
        """Return the BPE ids of a text without bos, eos or padding. Unknown letters become `<UNK>`.

        Raises TextError for a text that is not valid Unicode, or longer than MAX_CHARACTERS.
        """
        (ids,) = self._bpe.encode([self._prepared(text)], output_type=self._as_ids)
        return cast(list[int], ids)

    def unknown_letters(self, text: str) -> str:
        """Return the characters of a text that the vocabulary lacks, each once, in their order."""
        found = dict.fromkeys("".join(self._prepared(text).split()))
        return "".join(letter for letter in found if letter not in self._letters)

    def _prepared(self, text: str) -> str:
        if len(text) > MAX_CHARACTERS:
            raise TextError(f"The text has {len(text)} characters. Send at most {MAX_CHARACTERS}.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise TextError("The text has an unpaired surrogate, which is not valid Unicode.") from None
        lowered = text.lower()
        return normalize(lowered) if self._normalizes else lowered.strip()

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids. Special ids, task tokens and ids outside the vocabulary are dropped."""
        known = [index for index in ids if NUM_SPECIAL_IDS <= index < self.vocab_size]
        return self._bpe.decode(known)[0] if known else ""


def _check_vocabulary_file(path: Path) -> None:
    """Check every number, because the library trusts them: a wrong one makes it read foreign memory.

    Layout: `characters rules`, a line per character (`code id`), a line per rule (`left right id`), then
    `unk pad bos eos`. The ids of the characters begin after the special ones, in any order. Those of the
    rules follow in the order of the file.
    """
    rows = _read_rows(path)
    if len(rows[0]) != 2:
        raise VocabularyError(f"{path.name} is not a YouTokenToMe model.")
    num_characters, num_rules = rows[0]
    characters, rules = rows[1 : 1 + num_characters], rows[1 + num_characters : -1]
    is_complete = (
        len(rows) == num_characters + num_rules + 2
        and all(len(row) == 2 for row in characters)
        and all(len(row) == 3 for row in rules)
    )
    if not is_complete:
        raise VocabularyError(f"{path.name} is truncated or damaged. Download it again.")
    if rows[-1] != (UNK_ID, PAD_ID, BOS_ID, EOS_ID):
        raise VocabularyError(f"{path.name} must have the special ids pad 0, unk 1, bos 2, eos 3.")
    fault = _fault_of_characters(characters) or _fault_of_rules(
        rules, first_id=NUM_SPECIAL_IDS + num_characters
    )
    if fault:
        raise VocabularyError(f"{path.name} is damaged: {fault}. Download it again.")


def _read_rows(path: Path) -> list[tuple[int, ...]]:
    """Return the numbers of each line. No other character is allowed: Python and C++ must read the same."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_VOCABULARY_BYTES + 1)
    except OSError as error:
        raise VocabularyError(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_VOCABULARY_BYTES:
        raise VocabularyError(f"{path.name} is larger than {MAX_VOCABULARY_BYTES} bytes.")
    if not _ROWS.fullmatch(data):
        raise VocabularyError(f"{path.name} is not a YouTokenToMe model.")
    return [tuple(map(int, line.split())) for line in data.split(b"\n") if line.strip()]


def _fault_of_characters(characters: Sequence[Sequence[int]]) -> str | None:
    codes = {code for code, _ in characters}
    if len(codes) < len(characters):
        return "a character is in it twice"
    if not all(0 < code <= MAX_CODE and not _FIRST_SURROGATE <= code <= _LAST_SURROGATE for code in codes):
        return "it has a code that is no character"
    if SPACE_CODE not in codes:
        return "it has no character for the space"
    ids = range(NUM_SPECIAL_IDS, NUM_SPECIAL_IDS + len(characters))
    if sorted(index for _, index in characters) != list(ids):
        return f"the ids of the characters are not {ids.start} to {ids.stop - 1}"
    return None


def _fault_of_rules(rules: Sequence[Sequence[int]], *, first_id: int) -> str | None:
    if len({(left, right) for left, right, _ in rules}) < len(rules):
        return "a rule is in it twice"
    # The library stores the text of each token. Rules that double a token would fill the memory.
    lengths = dict.fromkeys(range(NUM_SPECIAL_IDS, first_id), 1)
    for expected, (left, right, index) in enumerate(rules, start=first_id):
        if index != expected:
            return f"a rule has the id {index} instead of {expected}"
        if left not in lengths or right not in lengths:
            return f"the rule of {index} joins an id that is not before it"
        lengths[index] = lengths[left] + lengths[right]
        if lengths[index] > MAX_TOKEN_CHARACTERS:
            return f"the token {index} has more than {MAX_TOKEN_CHARACTERS} characters"
    return None
