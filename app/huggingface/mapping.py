"""Translates the hub's bodies to native ones, and results to the hub's replies. Knows no HTTP."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from app.field_errors import FieldNames
from app.huggingface import schemas
from app.huggingface.replies import GeneratedTextReply, GenerationDetails, HubAnswerReply, LabelReply
from app.huggingface.schemas import HubBody
from app.openai.image_mapping import KEPT_SHARE
from app.openai.parameters import Parameters
from app.openai.sampling import given
from jobs.contract.requests import Task
from jobs.contract.results import AnswerResult, ClassifyResult, FinishReason, Result, TextsResult
from jobs.contract.worker_info import ModelInfo

ResultReplies = Callable[[Result], Sequence[BaseModel]]
_NO_LIMIT = 10**6
_DRAWN = frozenset({"width", "height", "num_inference_steps", "guidance_scale", "negative_prompt"})
_HARMLESS = frozenset({"options", "use_cache"})
_DRAWING = Parameters(
    _HARMLESS,
    {"guidance_scale": (), "num_inference_steps": (), "scheduler": ()},
    {"negative_prompt": (), "num_images_per_prompt": (1,), "n": (1,), "image": (), "mask_image": ()},
)
_WRITING = Parameters(
    _HARMLESS,
    {},
    {
        name: neutral
        for names, neutral in (
            (("adapter_id", "grammar", "epsilon_cutoff", "eta_cutoff", "penalty_alpha"), ()),
            (("truncate", "max_length"), ()),
            (("decoder_input_details", "early_stopping", "watermark"), (False,)),
            (("frequency_penalty", "top_n_tokens", "min_length", "min_new_tokens"), (0,)),
            (("repetition_penalty", "typical_p"), (1,)),
            (("num_beams", "num_beam_groups", "num_return_sequences"), (1,)),
        )
        for name in names
    },
)


@dataclass(frozen=True)
class HubCall:
    """A native task for a body of the hub."""

    task: Task
    fields: dict[str, Any]
    names: FieldNames
    replies: ResultReplies | None = None
    """None: the reply is the image file."""


@dataclass(frozen=True)
class HubTask:
    """A task of the hub: its name, its body, and its fields that the body lacks."""

    name: str
    summary: str
    body: type[HubBody]
    call: Callable[[Any, ModelInfo], HubCall]
    reply: type[BaseModel] | None
    parameters: Parameters = field(default_factory=lambda: Parameters(_HARMLESS))


def _draw(body: schemas.TextToImage, model: ModelInfo) -> HubCall:
    names = FieldNames(aliases={"prompt": "inputs"})
    return HubCall(Task.TEXT2IMAGE, {"prompt": body.inputs, **_drawn(body.parameters)}, names)


def _redraw(body: schemas.ImageToImage, model: ModelInfo) -> HubCall:
    names = FieldNames(aliases={"image_prompt.image": "inputs", "prompt": "parameters.prompt"})
    hint = {"image": body.inputs, "keep_share": KEPT_SHARE}
    fields = {"prompt": body.parameters.prompt, "image_prompt": hint, **_drawn(body.parameters)}
    return HubCall(Task.TEXT2IMAGE, fields, names)


def _describe(body: schemas.ImageToText, model: ModelInfo) -> HubCall:
    outer, inner = body.parameters, body.parameters.generation_parameters
    sampling = inner.sampling() | outer.sampling()
    fields = {"image": body.inputs, **sampling, **_max_tokens(outer, inner, length=model.right_text_length)}
    if sampling.get("top_k") == 1:
        fields["candidates"] = 1  # all candidates would be equal

    def replies(result: Result) -> Sequence[BaseModel]:
        assert isinstance(result, TextsResult)
        return [GeneratedTextReply(generated_text=text.text) for text in result.texts]

    return HubCall(Task.IMAGE2TEXT, fields, FieldNames(aliases={"image": "inputs"}), replies)


def _classify(body: schemas.ZeroShotImageClassification, model: ModelInfo) -> HubCall:
    template = body.parameters.hypothesis_template
    fields = {"image": body.inputs, "classes": body.parameters.candidate_labels}
    aliases = {"image": "inputs", "template": "parameters.hypothesis_template"}
    for index in range(len(body.parameters.candidate_labels)):
        aliases[f"classes[{index}]"] = f"parameters.candidate_labels[{index}]"

    def replies(result: Result) -> list[LabelReply]:
        assert isinstance(result, ClassifyResult)
        found = zip(result.scores, result.probabilities(), strict=True)
        labels = [LabelReply(label=score.class_name, score=share) for score, share in found]
        return sorted(labels, key=lambda label: label.score, reverse=True)

    fields |= {} if template is None else {"template": template}
    return HubCall(Task.CLASSIFY, fields, FieldNames(aliases=aliases), replies)


def _answer(body: schemas.VisualQuestionAnswering, model: ModelInfo) -> HubCall:
    fields = {"image": body.inputs.image, "question": body.inputs.question}

    def replies(result: Result) -> Sequence[BaseModel]:
        assert isinstance(result, AnswerResult)
        return [HubAnswerReply(answer=result.answer)]

    return HubCall(Task.ANSWER, fields, FieldNames(prefix="inputs"), replies)


def _continue(body: schemas.TextGeneration, model: ModelInfo) -> HubCall:
    parameters = body.parameters
    fields = {
        "prompt": body.inputs,
        "merge": False,
        **parameters.sampling(),
        **given(parameters, "seed", "stop"),
        **_max_tokens(parameters, length=model.left_text_length),
        "candidates": parameters.best_of or 1,
    }

    def replies(result: Result) -> Sequence[BaseModel]:
        assert isinstance(result, TextsResult)
        found: list[GeneratedTextReply] = []
        for text in result.texts:
            details = generation_details(text.finish_reason, text.num_tokens, parameters)
            found.append(
                GeneratedTextReply(
                    generated_text=echoed(body) + (text.continuation or ""),
                    details=details if parameters.details else None,
                )
            )
        return found

    return HubCall(Task.TEXT2TEXT, fields, FieldNames(aliases={"prompt": "inputs"}), replies)


def echoed(body: schemas.TextGeneration) -> str:
    """Return the text before a continuation: the prompt, if the client asked for the full text."""
    return body.inputs if body.parameters.return_full_text else ""


def generation_details(
    reason: FinishReason, num_tokens: int, parameters: schemas.ContinueParameters
) -> GenerationDetails:
    """Return the details of a text. A text that ended, also at a stop sequence, is `eos_token`."""
    return GenerationDetails(
        finish_reason="length" if reason == "length" else "eos_token",
        generated_tokens=num_tokens,
        seed=parameters.seed,
    )


def _drawn(parameters: schemas.DrawParameters) -> dict[str, Any]:
    return {**given(parameters, "seed", "candidates", "guidance"), **parameters.sampling()}


def _max_tokens(*places: schemas.GenerationParameters, length: int) -> dict[str, int]:
    asked = next((place.max_new_tokens for place in places if place.max_new_tokens), _NO_LIMIT)
    return {"max_tokens": min(asked, length)}


HUB_TASKS: Mapping[str, HubTask] = {
    task.name: task
    for task in (
        HubTask("text-to-image", "Generate an image", schemas.TextToImage, _draw, None, _DRAWING),
        HubTask("image-to-image", "Draw an image again", schemas.ImageToImage, _redraw, None, _DRAWING),
        HubTask(
            "image-to-text", "Describe an image", schemas.ImageToText, _describe, GeneratedTextReply, _WRITING
        ),
        HubTask(
            "zero-shot-image-classification",
            "Choose the class of an image",
            schemas.ZeroShotImageClassification,
            _classify,
            LabelReply,
        ),
        HubTask(
            "visual-question-answering",
            "Answer a question about an image",
            schemas.VisualQuestionAnswering,
            _answer,
            HubAnswerReply,
            Parameters(_HARMLESS, {"top_k": (1,)}),
        ),
        HubTask(
            "text-generation",
            "Continue a text",
            schemas.TextGeneration,
            _continue,
            GeneratedTextReply,
            _WRITING,
        ),
    )
}


def task_of(fields: Mapping[str, Any], *, sends_file: bool, accepts_image: bool) -> HubTask:
    """Return the task of a request to an address without one, by what the client sends."""
    parameters = fields.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    inputs = fields.get("inputs")
    if "question" in fields or (isinstance(inputs, dict) and "question" in inputs):
        return HUB_TASKS["visual-question-answering"]
    if "candidate_labels" in parameters:
        return HUB_TASKS["zero-shot-image-classification"]
    if "prompt" in parameters or (accepts_image and sends_file):
        return HUB_TASKS["image-to-image"]
    # The client for JavaScript does not say in `Accept` that it expects an image.
    if accepts_image or not _DRAWN.isdisjoint(parameters):
        return HUB_TASKS["text-to-image"]
    return HUB_TASKS["image-to-text" if sends_file else "text-generation"]
