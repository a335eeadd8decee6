"""The official MCP client, in the current version of the protocol and in the one with a handshake."""

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from harness import PICTURE_URI, URL, WORD, is_png, run
from mcp import Client

Call = Callable[[Client], Any]


def with_client(call: Call, mode: str = "auto") -> Any:
    async def inner() -> Any:
        async with Client(f"{URL}/mcp", mode=mode) as client:
            return await call(client)

    return asyncio.run(inner())


def content(name: str, arguments: dict[str, Any]) -> Any:
    reply = with_client(lambda client: client.call_tool(name, arguments))
    assert not reply.is_error, reply.content
    return reply


def list_tools() -> None:
    for mode in ("auto", "legacy"):
        tools = with_client(lambda client: client.list_tools(), mode).tools
        assert {tool.name for tool in tools} == {"draw", "describe", "classify", "rank", "continue"}


def draw() -> None:
    reply = content("draw", {"prompt": "клубника на синем фоне", "n": 2, "size": "128x128"})
    images = [part for part in reply.content if part.type == "image"]
    assert len(images) == len(reply.structured_content["seeds"]) == 2
    assert is_png(images[0].data)


def describe() -> None:
    assert WORD in content("describe", {"image": PICTURE_URI}).structured_content["texts"][0]


def classify() -> None:
    arguments = {"image": PICTURE_URI, "classes": ["сова", "банан"], "template": "{} на зелёном фоне"}
    assert content("classify", arguments).structured_content["class"] == "сова"


def rank() -> None:
    texts = ["банан на красном фоне", "сова на зелёном фоне"]
    ranking = content("rank", {"image": PICTURE_URI, "texts": texts}).structured_content["ranking"]
    assert ranking[0]["index"] == 1
    images = {"text": texts[1], "images": [PICTURE_URI, PICTURE_URI]}
    assert len(content("rank", images).structured_content["ranking"]) == 2


def proceed() -> None:
    assert content("continue", {"prompt": "морда"}).structured_content["texts"][0].startswith("морда")


def fault() -> str:
    reply = with_client(lambda client: client.call_tool("draw", {"prompt": "кот", "n": 99}))
    assert reply.is_error
    assert "n must be between 1 and 4" in reply.content[0].text
    return "an error that names the field"


run(
    f"mcp {version('mcp')}",
    {
        "tools/list, both versions of the protocol": list_tools,
        "draw": draw,
        "describe": describe,
        "classify": classify,
        "rank": rank,
        "continue": proceed,
        "a wrong argument": fault,
    },
)
