"""Types of fields that several replies share, with what they mean."""

from typing import Annotated, TypeVar

from pydantic import Field

from jobs.contract.results import FinishReason

T = TypeVar("T")

Kind = Annotated[T, Field(description="The kind of this object; always this value.")]
AlwaysNull = Annotated[T | None, Field(description="Always null.")]
AlwaysZero = Annotated[int, Field(description="Always 0.")]
Assistant = Annotated[T, Field(description="Who speaks; always `assistant`.")]
Opaque = Annotated[T, Field(description="Always `opaque`: images have no transparency.")]
AnyQuality = Annotated[T, Field(description="Always `auto`: the model has one quality.")]
JobId = Annotated[str, Field(description="The job of the request; /v1/jobs/{id} has it for a limited time.")]
Created = Annotated[int, Field(description="When the request was accepted, in seconds since 1970.")]
ModelName = Annotated[str, Field(description="A name that /v1/models/{id} has.")]
ImageSize = Annotated[T, Field(description="Width x height of each image in pixels.", examples=["128x128"])]
ReadTokens = Annotated[int, Field(description="Tokens that the network read, image codes included.")]
TotalTokens = Annotated[int, Field(description="Tokens that were read and generated, together.")]
WrittenTokens = Annotated[int, Field(description="Generated tokens of this text, the end token included.")]
FINISH_REASON = (
    "`stop`: the model ended the text, or a stop sequence was found. `length`: the text was cut, at the "
    "maximum number of tokens or because the text region was full."
)
Finish = Annotated[FinishReason, Field(description=FINISH_REASON)]
