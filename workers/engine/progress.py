"""Events of work in progress, from positions and counts. Sends nothing."""

from collections.abc import Iterable

from model.network.layout import Segment
from workers.engine.image_tasks import DecodePartial
from workers.engine.score_group import ScoreGroup
from workers.engine.sequence import GenerateGroup, Sequence
from workers.engine.work import PartialTokens, WorkProgress

STREAM_EVERY = 4
"""Tokens of a text between two events."""


def progress_of(group: GenerateGroup | ScoreGroup) -> WorkProgress | None:
    """Return how far the group is, if that has changed since the last call."""
    if isinstance(group, ScoreGroup):
        done, total = group.num_done, len(group.work.sequences)
    elif group.work.target is Segment.IMAGE:
        width = group.config.image_width
        done = sum(rows_drawn(sequence) for sequence in group.active) + width * len(group.finished)
        total = width * len(group.work.seeds)
    else:
        done, total = len(group.finished), len(group.work.seeds)
    if done <= group.progress:
        return None
    group.progress = done
    return WorkProgress(group.owner, group.work, done, total)


def rows_drawn(sequence: Sequence) -> int:
    """Return the finished rows of cells of an image."""
    config = sequence.group.config
    return max(0, sequence.position + 1 - config.image_start) // config.image_width


def due_partials(sequences: Iterable[Sequence]) -> list[tuple[Sequence, int]]:
    """Return the sequences of which a partial image is due, with the number of finished rows of cells.

    The k partial images of a sequence are due after 1/(k+1), 2/(k+1) … of its height.
    """
    due: list[tuple[Sequence, int]] = []
    for sequence in sequences:
        work = sequence.group.work
        is_shown = work.partial_images and sequence.candidate < work.partial_candidates
        if not is_shown or sequence.is_complete:
            continue
        drawn = rows_drawn(sequence)
        passed = drawn * (work.partial_images + 1) // sequence.group.config.image_width
        passed = min(passed, work.partial_images)
        if passed > sequence.partials_due:
            sequence.partials_due = passed
            due.append((sequence, drawn))
    return due


def partial_of(sequence: Sequence, codes: tuple[int, ...], num_rows: int) -> DecodePartial:
    """Return the next partial image of a sequence."""
    sequence.partials_sent += 1
    index = sequence.partials_sent - 1
    return DecodePartial(sequence.candidate, index, codes, num_rows, sequence.group.work.partial_format)


def streamed(sequence: Sequence) -> PartialTokens | None:
    """Return the text so far, every few tokens, of work that asked for it."""
    group = sequence.group
    if not group.work.stream_tokens or len(sequence.ids) % STREAM_EVERY:
        return None
    prompt = group.prompt_ids
    return PartialTokens(group.owner, sequence.candidate, (*prompt, *sequence.ids), len(prompt))
