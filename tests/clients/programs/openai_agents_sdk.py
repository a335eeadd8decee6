"""OpenAI's Agents SDK, which uses the Responses API by default."""

import asyncio
from importlib.metadata import version

from agents import (
    Agent,
    ImageGenerationTool,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from harness import BASE, PICTURE_URI, WORD, is_png, refused, run
from openai import AsyncOpenAI

set_tracing_disabled(True)
MESSAGE = [
    {
        "role": "user",
        "content": [
            {"type": "input_image", "detail": "auto", "image_url": PICTURE_URI},
            {"type": "input_text", "text": "What do you see in this image?"},
        ],
    }
]


def client() -> AsyncOpenAI:
    return AsyncOpenAI(base_url=BASE, api_key="none", max_retries=0)


def agent(**options: object) -> Agent:
    options.setdefault("model", OpenAIResponsesModel("rudolph", client()))
    return Agent(name="Assistant", instructions="You are a helpful assistant.", **options)


def responses() -> str:
    assert WORD in Runner.run_sync(agent(), MESSAGE).final_output
    return "works; the text is ignored, with a warning"


def responses_stream() -> None:
    async def follow() -> str:
        result = Runner.run_streamed(agent(), MESSAGE)
        pieces = [
            event.data.delta
            async for event in result.stream_events()
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
        ]
        return "".join(pieces)

    assert WORD in asyncio.run(follow())


def draw() -> None:
    tool = ImageGenerationTool(tool_config={"type": "image_generation", "quality": "low"})
    result = Runner.run_sync(agent(tools=[tool]), "клубника на синем фоне")
    calls = [item.raw_item for item in result.new_items if item.type == "tool_call_item"]
    assert is_png(calls[0].result)


def chat() -> str:
    model = OpenAIChatCompletionsModel("rudolph", client())
    assert WORD in Runner.run_sync(agent(model=model), MESSAGE).final_output
    return "works; the text is ignored, with a warning"


def tools() -> str:
    @function_tool
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return city

    return refused(lambda: Runner.run_sync(agent(tools=[weather]), MESSAGE), "unsupported_parameter")


run(
    f"openai-agents {version('openai-agents')}",
    {
        "Agent, text and image": responses,
        "Agent, streamed": responses_stream,
        "ImageGenerationTool": draw,
        "Agent with chat completions": chat,
        "function_tool": tools,
    },
)
