"""Pydantic AI with an image, as in its guide to multimodal input."""

from importlib.metadata import version

from harness import BASE, PICTURE, WORD, refused, run
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=BASE, api_key="none")
model = OpenAIChatModel("rudolph", provider=provider)
PROMPT = ["What company is this logo from?", BinaryContent(data=PICTURE, media_type="image/png")]


def describe() -> str:
    assert WORD in Agent(model=model).run_sync(PROMPT).output
    return "works; the text is ignored, with a warning"


def with_instructions() -> None:
    agent = Agent(model=model, instructions="Be concise.")
    assert WORD in agent.run_sync([PROMPT[1]]).output


def structured() -> str:
    class Company(BaseModel):
        name: str

    agent = Agent(model=model, output_type=Company)
    return refused(lambda: agent.run_sync(PROMPT), "unsupported_parameter")


def responses() -> str:
    agent = Agent(model=OpenAIResponsesModel("rudolph", provider=provider))
    assert WORD in agent.run_sync(PROMPT).output
    return "works; the text is ignored, with a warning"


run(
    f"pydantic-ai {version('pydantic-ai-slim')}",
    {
        "Agent, text and image": describe,
        "Agent with instructions": with_instructions,
        "Agent with the Responses API": responses,
        "Agent with an output type": structured,
    },
)
