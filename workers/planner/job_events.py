"""Translates events of the engine into events of a job."""

from jobs.contract.events import EventBody, PartialImage, PartialText, Progress
from model.network.layout import Segment
from model.rudolph import Rudolph
from model.tasks import Prompts
from workers.engine.work import Generate, PartialImageFile, PartialTokens, WorkProgress

DRAWING = "drawing"
WRITING = "writing"
SCORING = "scoring"


def to_job_event(event: WorkProgress | PartialImageFile | PartialTokens, rudolph: Rudolph) -> EventBody:
    """Return the body of the job's event for an event of the engine."""
    match event:
        case WorkProgress(work=Generate(target=Segment.IMAGE)):
            return Progress(DRAWING, event.done, event.total)
        case WorkProgress(work=Generate()):
            return Progress(WRITING, event.done, event.total)
        case WorkProgress():
            return Progress(SCORING, event.done, event.total)
        case PartialImageFile():
            return PartialImage(event.candidate, event.partial_index, event.data)
        case PartialTokens():
            prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
            text, continuation = prompts.split_text(event.ids, event.num_prompt)
            return PartialText(event.candidate, (text + continuation).strip(), continuation)
