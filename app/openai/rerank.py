"""/v1/rerank in the shapes of Cohere and Jina: images ordered by a text, or texts by an image."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from app.bodies import read_body
from app.errors import invalid, json_response
from app.example_images import EXAMPLE_IMAGE, OTHER_IMAGE
from app.field_errors import FieldNames
from app.fields import IMAGE, ImageFile, Text
from app.openai.jobs import open_request, reply_headers, submit
from app.openai.parameters import check_parameters
from app.openai.replies import result_warnings
from app.openai.schemas import OpenAIBody
from app.openapi import BODY_ERRORS, COMPATIBLE_HEADERS, IDEMPOTENCY_KEY, body_operation, errors, response
from app.reply_fields import JobId, ModelName, ReadTokens
from app.services import services_of
from app.tasks.base import WarningReply
from jobs.contract.requests import Task
from jobs.contract.results import RankingResult

MAX_DOCUMENTS = 256
_HEADERS = {name: header for name, header in COMPATIBLE_HEADERS.items() if name != "x-warnings"}
RERANK_EXAMPLE: dict[str, Any] = {
    "query": "клубника",
    "documents": [{"image": OTHER_IMAGE}, {"image": EXAMPLE_IMAGE}],
}


class Item(BaseModel):
    """A query or a document: a text or an image."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("text", "image")
            ]
        }
    )

    text: Text | None = Field(None, description="A text, in Russian.")
    image: ImageFile | None = Field(None, description=IMAGE)


def _item(value: Any) -> Any:
    """Return the text or the image of a plain text, an object of one, or a message with `content`.

    A text may be the data URI of an image: Cohere's SDK sends nothing but texts.
    """
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, dict):
        return value
    parts = value.get("content", [value])
    if isinstance(parts, str):
        return _text(parts)
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
        raise PydanticCustomError("text_parts", "must hold one text or one image")
    part = parts[0]
    url = part.get("image_url", part.get("image"))
    url = url.get("url") if isinstance(url, dict) else url
    if (url is None) == (part.get("text") is None):
        raise PydanticCustomError("text_parts", "must hold one text or one image")
    return _text(part.get("text")) if url is None else {"image": url}


def _text(value: Any) -> dict[str, Any]:
    """Return a text as it is, and one that is a data URI as an image."""
    is_image = isinstance(value, str) and value.startswith("data:image/")
    return {"image" if is_image else "text": value}


_DataUri = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "format": "picture-uri",
            "description": "The data URI of an image.",
            "examples": [EXAMPLE_IMAGE],
        }
    ),
]
AnyItem = Annotated[Item, BeforeValidator(_item, json_schema_input_type=Text | _DataUri | Item)]


class RerankBody(OpenAIBody):
    """Order documents by how well they match a query; one of the two is a text, the other an image."""

    query: AnyItem = Field(description="A text or an image. A plain text may be the data URI of an image.")
    documents: list[AnyItem] = Field(
        min_length=1,
        max_length=MAX_DOCUMENTS,
        description="1–256 images if the query is a text, or texts if it is an image; each as `query`.",
    )
    top_n: Annotated[int | None, Field(ge=1)] = Field(
        None, description="Number of documents to return, best first. Omitted: all."
    )
    return_documents: bool = Field(False, description="Also return each document that is a text.")


class RerankedItem(BaseModel):
    index: int = Field(description="Index in `documents`, from 0.")
    relevance_score: float = Field(description="Probability among all documents, 0–1; higher is better.")
    document: Annotated[
        dict[str, str] | None,
        Field(
            description="`text`: the text of the document. Absent for an image, and without "
            "`return_documents`.",
            exclude_if=lambda value: value is None,
        ),
    ] = None


class RerankUsage(BaseModel):
    """Tokens that the request read; none are generated."""

    prompt_tokens: ReadTokens
    total_tokens: int = Field(description="The same number.")


class RerankReply(BaseModel):
    id: JobId
    model: ModelName
    results: list[RerankedItem] = Field(description="Best first; at most `top_n`.")
    usage: RerankUsage
    meta: dict[str, Any] = Field(
        description='Always `{"billed_units": {"search_units": 1}}`, as in Cohere\'s API.'
    )
    warnings: list[WarningReply] = Field(description="What of the request had no effect; usually empty.")


def rerank_router() -> APIRouter:
    router = APIRouter(tags=["openai"])
    for path, name in (("/v1/rerank", "rerank"), ("/v2/rerank", "rerank_v2"), ("/rerank", "rerank_short")):
        router.add_api_route(
            path,
            rerank,
            methods=["POST"],
            name=name,
            summary="Order images by a text, or texts by an image",
            response_model=RerankReply,
            response_description="As in Cohere's and Jina's API.",
            responses={200: response(headers=_HEADERS)} | errors(*BODY_ERRORS, 404),
            openapi_extra={**body_operation(RerankBody, RERANK_EXAMPLE), "parameters": [IDEMPOTENCY_KEY]},
        )
    return router


async def rerank(request: Request) -> Response:
    services = services_of(request)
    submission = await open_request(request, FieldNames())
    with services.bodies.hold(request) as counted:
        body = await read_body(counted, RerankBody, None)
        services.names.check(body.model, submission.model)
        warnings = check_parameters(body)
        task, fields = _native(body)
        names = _names(task, len(body.documents))
        job = await submit(request, replace(submission, names=names), task, fields, streams=False)
        texts = [item.text for item in body.documents] if body.return_documents else []
        top_n, model = body.top_n, body.model
        # The images are in the queue now; this process does not keep them while the client waits.
        del body, fields
    status, result = await job.result(request)
    assert isinstance(result, RankingResult)
    results = [
        RerankedItem(
            index=item.index,
            relevance_score=score,
            document={"text": text} if texts and (text := texts[item.index]) is not None else None,
        )
        for item, score in zip(result.ranking[:top_n], result.probabilities(), strict=False)
    ]
    num_tokens = result.usage.input_tokens
    answer = RerankReply(
        id=status.id,
        model=services.names.reply_name(model, submission.model),
        results=results,
        usage=RerankUsage(prompt_tokens=num_tokens, total_tokens=num_tokens),
        meta={"billed_units": {"search_units": 1}},
        warnings=warnings + result_warnings(result, names.of),
    )
    return json_response(answer, headers=reply_headers(status))


def _names(task: Task, num_documents: int) -> FieldNames:
    """Return the client's names of the fields of the task."""
    single, many = ("text", "images") if task is Task.RANK_IMAGES else ("image", "texts")
    documents = {f"{many}[{index}]": f"documents[{index}]" for index in range(num_documents)}
    return FieldNames(aliases={single: "query", many: "documents", **documents})


def _native(body: RerankBody) -> tuple[Task, dict[str, Any]]:
    texts = [item.text for item in body.documents if item.text is not None]
    images = [item.image for item in body.documents if item.image is not None]
    if body.query.text is not None and len(images) == len(body.documents):
        return Task.RANK_IMAGES, {"text": body.query.text, "images": images}
    if body.query.image is not None and len(texts) == len(body.documents):
        return Task.RANK_TEXTS, {"image": body.query.image, "texts": texts}
    message = (
        "The model compares a text with images, or an image with texts. Send a text as query and images as "
        "documents, or the other way round."
    )
    raise invalid(message, param="documents", code="unsupported_documents")
