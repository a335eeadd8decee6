"""What happens on the way, in the words of the queue."""

from jobs.events import EventBody, PartialImage, PartialText, Progress
from model.layout import Segment
from model.rudolph import Rudolph
from model.tasks import Prompts
from workers.engine.work import Generate, PartialPicture, PartialTokens, WorkProgress

DRAWING = "drawing"
WRITING = "writing"
SCORING = "scoring"


def narrate(event: WorkProgress | PartialPicture | PartialTokens, rudolph: Rudolph) -> EventBody:
    """An event of the engine as the body of a job's event."""
    match event:
        case WorkProgress(work=Generate(target=Segment.IMAGE)):
            return Progress(DRAWING, event.done, event.total)
        case WorkProgress(work=Generate()):
            return Progress(WRITING, event.done, event.total)
        case WorkProgress():
            return Progress(SCORING, event.done, event.total)
        case PartialPicture():
            return PartialImage(event.candidate, event.partial_index, event.data)
        case PartialTokens():
            prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
            return PartialText(event.candidate, prompts.text_of(event.ids))
