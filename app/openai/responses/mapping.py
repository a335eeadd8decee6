"""Translates the body of `/v1/responses` to the bodies of a chat or of an image route. Knows no HTTP."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from app.bodies import check_body
from app.errors import ApiError, invalid
from app.field_errors import FieldNames
from app.openai.parameters import PARAMETERS, check_table
from app.openai.responses.schemas import ImageTool, ResponsesBody
from app.openai.schemas import ChatBody, EditsBody, GenerationsBody, PromptedImagesBody
from app.openai.text_mapping import Chat, ChatText, map_chat
from app.tasks.base import WarningReply
from jobs.contract.requests import Task
from jobs.contract.worker_info import ModelInfo

_TEXT_PARTS = ("input_text", "output_text", "text")
_ROLES = ("user", "assistant", "system", "developer")
_SKIPPED = ("reasoning",)
_ECHOED = {"type", "action", "size", "output_format", "output_compression", "partial_images"}
MAX_METADATA = 16
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass
class Conversation:
    """The messages of a request in the form of a chat, and what drawing needs of them."""

    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    """The client's names of the fields of `messages`."""
    prompt: list[str] = field(default_factory=list[str])
    images: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    """Path and data URI of each image, also of those that were drawn before."""
    ignored: bool = False
    """There are texts that are not of the user."""

    def add(self, role: str, parts: list[dict[str, Any]], path: str) -> None:
        index = len(self.messages)
        self.messages.append({"role": role, "content": parts})
        self.aliases[f"messages[{index}].content"] = path
        for number, part in enumerate(parts):
            where = path if path == "input" else f"{path}[{number}]"
            self.aliases[f"messages[{index}].content[{number}].text"] = where
            self.aliases[f"messages[{index}].content[{number}].image_url.url"] = where
            if part["type"] == "image_url":
                self.images.append((where, part["image_url"]["url"]))
            elif role == "user":
                self.prompt.append(str(part["text"]))
            elif part["text"]:
                self.ignored = True


def read_input(body: ResponsesBody) -> Conversation:
    """Return the conversation. Raises ApiError for items that the model has no use for."""
    found = Conversation()
    if body.instructions:
        found.add("system", [{"type": "text", "text": body.instructions}], "instructions")
    if isinstance(body.input, str):
        found.add("user", [{"type": "text", "text": body.input}], "input")
        return found
    for index, item in enumerate(body.input):
        path = f"input[{index}]"
        kind = item.get("type", "message")
        if kind == "image_generation_call" and item.get("result"):
            found.images.append((f"{path}.result", item["result"]))
        elif kind == "message":
            role = item.get("role")
            if role not in _ROLES:
                message = f"{path}.role must be one of {', '.join(_ROLES)}."
                raise invalid(message, param=f"{path}.role", code="unsupported_input")
            found.add(str(role), list(_parts(item.get("content"), f"{path}.content")), f"{path}.content")
        elif kind not in _SKIPPED:
            message = (
                f"{path} is of a type that is not supported here. Send messages; an image_generation_call "
                "needs its result, because no response is stored with its image."
            )
            raise ApiError(400, "unsupported_parameter", message, param=path)
    return found


def _parts(content: Any, path: str) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    if not isinstance(content, list):
        message = f"{path} must be a text or a list of parts."
        raise invalid(message, param=path, code="unsupported_input")
    for index, part in enumerate(cast(list[Any], content)):
        where = f"{path}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            yield {"type": "text", "text": part["text"]}
        elif kind == "input_image" and isinstance(part.get("image_url"), str):
            yield {"type": "image_url", "image_url": {"url": part["image_url"]}}
        elif kind == "refusal":
            yield {"type": "text", "text": str(part.get("refusal", ""))}
        else:
            message = (
                f"{where} must be input_text with a text, or input_image with image_url, a data URI. Files "
                "and audio are not supported."
            )
            raise invalid(message, param=where, code="unsupported_input")


def image_tool(body: ResponsesBody) -> tuple[ImageTool | None, list[WarningReply]]:
    """Return the tool that draws, if it is there and may be used. Raises ApiError for any other tool."""
    for index, tool in enumerate(body.tools or ()):
        if tool.get("type") != "image_generation" or index:
            message = (
                "The only tool here is one image_generation, which the server runs itself. Omit the others."
            )
            raise ApiError(400, "unsupported_parameter", message, param=f"tools[{index}]")
    choice = body.tool_choice
    kind = cast(dict[str, Any], choice).get("type") if isinstance(choice, dict) else choice
    if kind not in (None, "auto", "none", "required", "image_generation"):
        message = "tool_choice must be auto, none, required, or of the type image_generation."
        raise ApiError(400, "unsupported_parameter", message, param="tool_choice")
    if not body.tools:
        if kind in ("required", "image_generation"):
            message = "tool_choice needs the tool image_generation in tools."
            raise invalid(message, param="tool_choice", code="invalid_tool_choice")
        return None, []
    tool = check_body(ImageTool, body.tools[0], names=FieldNames(prefix="tools[0]"))
    warnings = check_table(tool, PARAMETERS[GenerationsBody], "tools[0].")
    return (None if kind == "none" else tool), warnings


def echoed_fields(body: ResponsesBody) -> dict[str, Any]:
    """Return the fields of the request that the reply repeats, without large ones."""
    tools = [check_body(ImageTool, tool) for tool in body.tools or ()]
    metadata = (body.model_extra or {}).get("metadata")
    return {
        "tools": [tool.model_dump(include=_ECHOED, exclude_none=True) for tool in tools],
        "tool_choice": "auto" if body.tool_choice is None else _choice(body.tool_choice),
        "temperature": body.temperature,
        "top_p": body.top_p,
        "metadata": metadata if _is_short(metadata) else {},
    }


def _choice(choice: Any) -> Any:
    """Return a choice of the tool without its other fields."""
    return {"type": "image_generation"} if isinstance(choice, dict) else choice


def _is_short(metadata: Any) -> bool:
    """Return whether metadata are within the bounds of OpenAI's API: 16 texts of 512 characters."""
    return (
        isinstance(metadata, dict)
        and len(metadata) <= MAX_METADATA
        and all(
            len(name) <= 64
            and isinstance(text, str)
            and len(text) <= 512
            and not _SURROGATES.search(name + text)  # JSON cannot hold them in UTF-8
            for name, text in metadata.items()
        )
    )


def map_image(
    body: ResponsesBody, tool: ImageTool, conversation: Conversation
) -> tuple[PromptedImagesBody, FieldNames]:
    """Return the body of an image route: an edit of the last image if there is one, else a generation."""
    prompt = " ".join(text for text in conversation.prompt if text.strip())
    edits = bool(conversation.images) and tool.action != "generate"
    if tool.action == "edit" and not edits:
        message = "tools[0].action is edit, but input holds no image."
        raise invalid(message, param="input", code="unsupported_input")
    image_path, image = conversation.images[-1] if conversation.images else ("input", None)
    names = FieldNames(
        aliases={
            "prompt": "input",
            "image": image_path,
            "image[0]": image_path,
            "image_prompt.image": image_path,
            "image_prompt.mask": "tools[0].input_image_mask",
            "size": "tools[0].size",
        }
    )
    fields = {
        "prompt": prompt,
        "stream": body.stream,
        **{name: getattr(tool, name) for name in ("size", "output_format", "output_compression")},
        **{name: getattr(body, name) for name in ("temperature", "top_p", "top_k", "min_p")},
        **{name: getattr(body, name) for name in ("seed", "candidates")},
        "partial_images": tool.partial_images,
    }
    if edits:
        return check_body(
            EditsBody, {**fields, "image": [image], "mask": tool.input_image_mask}, names=names
        ), names
    return check_body(GenerationsBody, fields, names=names), names


def image_warnings(tool: ImageTool, conversation: Conversation) -> list[WarningReply]:
    found: list[WarningReply] = []
    if conversation.ignored:
        message = "Only texts of the user are drawn; instructions and other texts were ignored."
        found.append(WarningReply(code="text_ignored", message=message, param="input"))
    if len(conversation.images) > 1 or (conversation.images and tool.action == "generate"):
        used = "no image" if tool.action == "generate" else "the last image"
        message = f"Of {len(conversation.images)} images {used} was used."
        found.append(WarningReply(code="images_ignored", message=message, param="input"))
    if tool.model is not None:
        message = "tools[0].model has no effect; the loaded model draws."
        found.append(WarningReply(code="no_effect", message=message, param="tools[0].model"))
    return found


def map_text(body: ResponsesBody, conversation: Conversation, model: ModelInfo, chat_text: ChatText) -> Chat:
    """Return the task of the chat. Raises ApiError with the fields of this route."""
    if not conversation.images and Task.ANSWER not in model.tasks:
        message = (
            "input holds no image. The loaded checkpoint describes images: send one input_image with a data "
            "URI. To draw, send the tool image_generation; to continue a text, use /v1/completions."
        )
        raise invalid(message, param="input", code="invalid_messages")
    fields = {
        "messages": conversation.messages,
        "max_tokens": body.max_output_tokens,
        **{name: getattr(body, name) for name in ("temperature", "top_p", "top_k", "min_p", "seed")},
        **{name: getattr(body, name) for name in ("candidates", "template", "stream")},
    }
    names = FieldNames(
        aliases={**conversation.aliases, "messages": "input", "max_tokens": "max_output_tokens"}
    )
    chat_body = check_body(ChatBody, fields, names=names)
    try:
        chat = map_chat(chat_body, model, chat_text)
    except ApiError as error:
        error.param = "input" if error.param == "messages" else error.param
        raise
    for warning in chat.warnings:
        warning.param = "input" if warning.param == "messages" else warning.param
    return chat
