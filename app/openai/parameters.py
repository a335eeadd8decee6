"""The one table of OpenAI's fields, and of those that clients of other servers send.

A field of a body's schema is done. Every other field is harmless, stated (accepted, and named in `warnings`,
because it is a hint that has no effect here), or refused unless it has a neutral value. A field that no table
has is named in `warnings` too, so that nothing is ignored silently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from app.errors import ApiError, printable
from app.openai.responses.schemas import ResponsesBody
from app.openai.schemas import (
    ChatBody,
    CompletionBody,
    EditsBody,
    GenerationsBody,
    OpenAIBody,
    VariationsBody,
)
from app.tasks.base import WarningReply

Neutral = tuple[Any, ...]


@dataclass(frozen=True)
class Parameters:
    """The fields of a route that are not in its schema, or are there only to be validated."""

    harmless: frozenset[str] = frozenset()
    """They change no answer anywhere: labels of the caller, caches, prices."""
    stated: Mapping[str, Neutral] = field(default_factory=dict[str, Neutral])
    """They are hints that have no effect on this model; with the values that need no warning."""
    refused: Mapping[str, Neutral] = field(default_factory=dict[str, Neutral])
    """They would change the answer and are not done; with the values that mean the same as none."""


_LABELS = frozenset({"user", "metadata", "safety_identifier", "store", "service_tier", "extra_headers"})
_CACHES = frozenset({"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"})
_IMAGE_HINTS: Mapping[str, Neutral] = {
    "quality": ("auto", "standard"),
    "style": (),
    "moderation": ("auto", "low"),
    "complexity": (),
    "input_fidelity": ("low",),
}
_IMAGE_REFUSED: Mapping[str, Neutral] = {
    "background": ("auto", "opaque"),
    "frame_count": (),
    "frame_duration_ms": (),
    "svg": (),
    "markup": (),
    "negative_prompt": (),
    "image_prompt": (),
}
_TEXT_REFUSED: Mapping[str, Neutral] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "logit_bias": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (0,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "stop_token_ids": (),
    "bad_words": (),
    "allowed_token_ids": (),
    "logits_processors": (),
    "use_beam_search": (False,),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "response_format": ({"type": "text"},),
    "truncate_prompt_tokens": (),
}
_CHAT_REFUSED: Mapping[str, Neutral] = {
    **_TEXT_REFUSED,
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": (),
    "tools": (),
    "tool_choice": ("none", "auto"),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "web_search_options": (),
    "chat_template": (),
    "echo": (False,),
}
PARAMETERS: Mapping[type[OpenAIBody], Parameters] = {
    GenerationsBody: Parameters(_LABELS, _IMAGE_HINTS, _IMAGE_REFUSED),
    EditsBody: Parameters(_LABELS, _IMAGE_HINTS, _IMAGE_REFUSED),
    VariationsBody: Parameters(
        _LABELS, _IMAGE_HINTS, {**_IMAGE_REFUSED, "prompt": (), "stream": (False,), "partial_images": (0,)}
    ),
    ChatBody: Parameters(
        _LABELS | _CACHES | {"parallel_tool_calls"},
        {"reasoning_effort": ("none",), "verbosity": ("medium",)},
        _CHAT_REFUSED,
    ),
    ResponsesBody: Parameters(
        _LABELS
        | _CACHES
        | {"access_programs", "parallel_tool_calls", "max_tool_calls", "stream_options", "truncation"},
        {"reasoning": ({"effort": "none"},), "include": (), "background_options": ()},
        {
            "previous_response_id": (),
            "conversation": (),
            "prompt": (),
            "context_management": (),
            "moderation": (),
            "top_logprobs": (0,),
            "image": (),
            "max_tokens": (),
            "stop": (),
        },
    ),
    CompletionBody: Parameters(_LABELS | _CACHES, {}, {**_TEXT_REFUSED, "suffix": ()}),
}


def check_parameters(body: OpenAIBody) -> list[WarningReply]:
    """Return a warning for each field that has no effect.

    Raises ApiError 400 `unsupported_parameter` for one that would change the answer and is not done.
    """
    return check_table(body, PARAMETERS.get(type(body), Parameters()))


def check_table(body: BaseModel, table: Parameters, prefix: str = "") -> list[WarningReply]:
    """Return and raise as `check_parameters`. `prefix`: the path of the body in the request, with its dot."""
    given = {name: getattr(body, name) for name in type(body).model_fields} | (body.model_extra or {})
    found: list[WarningReply] = []
    for field_name, value in given.items():
        name = field_name.partition("[")[0]  # a form writes svg[model] for a field of an object
        if _is_empty(value) or name in table.harmless:
            continue
        if name in table.refused:
            _check_neutral(prefix + name, value, table.refused[name])
        elif name in table.stated:
            if value not in table.stated[name]:
                message = f"{prefix}{name} has no effect on this model."
                found.append(WarningReply(code="no_effect", message=message, param=prefix + name))
        elif name not in type(body).model_fields:
            shown = printable((prefix + name)[:64])
            message = f"{shown} is not a field of this route and was ignored."
            found.append(WarningReply(code="unknown_field", message=message, param=shown))
    return found


def _check_neutral(name: str, value: Any, neutral: Sequence[Any]) -> None:
    # A form sends every value as text.
    if value in neutral or (
        isinstance(value, str) and value.lower() in {str(one).lower() for one in neutral}
    ):
        return
    remedy = f" or send {' or '.join(map(str, neutral))}" if neutral else ""
    message = f"{name} is not supported here, and ignoring it would change the answer. Omit it{remedy}."
    raise ApiError(400, "unsupported_parameter", message, param=name)


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})
