"""What there is to tell of a work item on its way. Knows positions and counts; sends nothing itself."""

from collections.abc import Iterable

from model.layout import Segment
from workers.engine.pictures import Partial
from workers.engine.score_group import ScoreGroup
from workers.engine.sequence import GenerateGroup, Row
from workers.engine.work import PartialTokens, WorkProgress

STREAM_EVERY = 4
"""Tokens of a text between two looks at it."""


def progress_of(group: GenerateGroup | ScoreGroup) -> WorkProgress | None:
    """How far the group is, if that is news; remembers what it told."""
    if isinstance(group, ScoreGroup):
        done, total = group.num_done, len(group.work.sequences)
    elif group.work.target is Segment.IMAGE:
        width = group.config.image_width
        done = sum(rows_drawn(row) for row in group.active) + width * len(group.finished)
        total = width * len(group.work.seeds)
    else:
        done, total = len(group.finished), len(group.work.seeds)
    if done <= group.progress:
        return None
    group.progress = done
    return WorkProgress(group.owner, group.work, done, total)


def rows_drawn(row: Row) -> int:
    """Finished rows of a picture."""
    config = row.group.config
    return max(0, row.position + 1 - config.image_start) // config.image_width


def due_partials(rows: Iterable[Row]) -> list[tuple[Row, int]]:
    """Rows of which a partial picture is due, with the number of finished rows of cells.

    The k partial pictures of a row are due after 1/(k+1), 2/(k+1) … of its height.
    """
    due: list[tuple[Row, int]] = []
    for row in rows:
        work = row.group.work
        if not work.partial_pictures or row.candidate >= work.partial_candidates or row.is_complete:
            continue
        drawn = rows_drawn(row)
        passed = min(
            drawn * (work.partial_pictures + 1) // row.group.config.image_width, work.partial_pictures
        )
        if passed > row.partials_due:
            row.partials_due = passed
            due.append((row, drawn))
    return due


def partial_of(row: Row, codes: tuple[int, ...], num_rows: int) -> Partial:
    """The row's next partial picture."""
    row.partials_sent += 1
    return Partial(row.candidate, row.partials_sent - 1, codes, num_rows, row.group.work.partial_format)


def streamed(row: Row) -> PartialTokens | None:
    """The text so far, every few tokens, of a work that asked for it."""
    group = row.group
    if not group.work.stream_tokens or len(row.ids) % STREAM_EVERY:
        return None
    return PartialTokens(group.owner, row.candidate, (*group.prompt_ids, *row.ids))
