"""The event stream of text-generation: pieces of the text as tokens, the whole text at the end."""

from collections.abc import AsyncIterable, Iterable

from sse_starlette import ServerSentEvent

from app.errors import ApiError
from app.huggingface.mapping import echoed, generation_details
from app.huggingface.replies import StreamedText, StreamToken
from app.huggingface.schemas import TextGeneration
from app.openai.streams import TextPieces
from app.sse import sse
from jobs.contract.events import Event, PartialText
from jobs.contract.results import Result, TextsResult
from jobs.contract.status import JobStatus


class HubTextEvents:
    """Events as text-generation-inference sends them."""

    def __init__(self, body: TextGeneration) -> None:
        self._body = body
        self._pieces = TextPieces(body.parameters.stop or ())
        self._num_sent = 0

    def start(self) -> Iterable[ServerSentEvent]:
        if text := echoed(self._body):
            yield self._event(StreamToken(text=text))

    async def event(self, event: Event) -> AsyncIterable[ServerSentEvent]:
        match event.body:
            case PartialText(index=0, continuation=continuation):
                if piece := self._pieces.grown(continuation):
                    yield self._event(StreamToken(text=piece))
            case _:
                pass

    async def result(self, status: JobStatus, result: Result) -> AsyncIterable[ServerSentEvent]:
        assert isinstance(result, TextsResult)
        text = result.texts[0]
        continuation = text.continuation or ""
        token = StreamToken(text=self._pieces.rest(continuation))
        details = generation_details(text.finish_reason, text.num_tokens, self._body.parameters)
        yield self._event(token, generated_text=echoed(self._body) + continuation, details=details)

    def error(self, error: ApiError) -> ServerSentEvent:
        return sse(None, error.reply())

    def _event(self, token: StreamToken, **more: object) -> ServerSentEvent:
        self._num_sent += 1
        fields = {"index": self._num_sent, "token": token, **more}
        return sse(None, StreamedText.model_validate(fields))
