"""The text of generated ids: where it ends, and for which reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice

from jobs.contract.results import FinishReason
from model.config import EOS_ID
from model.tasks import Ids, MergedText, Prompts


@dataclass(frozen=True)
class WrittenText:
    text: str
    """Prompt and continuation, stripped."""
    continuation: str
    num_tokens: int
    """Generated tokens, eos included; with a stop sequence, those up to its end."""
    finish_reason: FinishReason


def written_text(prompts: Prompts, ids: Ids, num_prompt: int, stop: Sequence[str]) -> WrittenText:
    """Return the text of a candidate. The first `num_prompt` of its ids are those of the prompt."""
    prompt, continuation = prompts.split_text(ids, num_prompt)
    num_tokens = len(ids) - num_prompt
    has_ended = num_tokens > 0 and ids[-1] == EOS_ID
    cut = first_stop(continuation, stop)
    if cut is not None:
        num_tokens = next(
            count
            for count in range(1, num_tokens + 1)
            if first_stop(prompts.split_text(ids[: num_prompt + count], num_prompt)[1], stop) is not None
        )
        continuation, has_ended = continuation[:cut], True
    text = (prompt + continuation).strip()
    return WrittenText(text, continuation, num_tokens, "stop" if has_ended else "length")


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Return the index at which the first stop sequence begins in a text; None without one."""
    return min((index for word in stop if (index := text.find(word)) >= 0), default=None)


def choices(order: Sequence[int], merged: Sequence[MergedText], n: int) -> list[int]:
    """Return the indices of n texts: distinct ones first, in `order`; then those that occurred again."""
    most = max(item.count for item in merged)
    repeated = [[index for index in order if merged[index].count > repeat] for repeat in range(most)]
    # Empty candidates are not in `merged`, so there may be fewer texts than n.
    return list(islice(chain(chain.from_iterable(repeated), cycle(order)), n))
