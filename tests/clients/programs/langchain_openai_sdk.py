"""LangChain's models for OpenAI's API."""

from importlib.metadata import version

from harness import BASE, PICTURE_URI, WORD, refused, run
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

chat_model = ChatOpenAI(base_url=BASE, api_key="none", model="rudolph", max_retries=0)
MESSAGE = {
    "role": "user",
    "content": [
        {"type": "text", "text": "Describe the weather in this image"},
        {"type": "image_url", "image_url": {"url": PICTURE_URI}},
    ],
}


def invoke() -> str:
    assert WORD in chat_model.invoke([MESSAGE]).content
    return "works; the text is ignored, with a warning"


def standard_block() -> None:
    block = {"type": "image", "base64": PICTURE_URI.partition(",")[2], "mime_type": "image/png"}
    assert WORD in chat_model.invoke([{"role": "user", "content": [block]}]).content


def stream() -> None:
    assert WORD in "".join(chunk.content for chunk in chat_model.stream([MESSAGE]))


def batch() -> None:
    replies = chat_model.batch([[MESSAGE], [MESSAGE]])
    assert all(WORD in reply.content for reply in replies)


def complete() -> None:
    model = OpenAI(base_url=BASE, api_key="none", model="rudolph", max_tokens=8)
    assert model.invoke("морда")
    assert all(model.batch(["морда", "красное"]))


def structured() -> str:
    class Weather(BaseModel):
        sky: str

    return refused(
        lambda: chat_model.with_structured_output(Weather).invoke([MESSAGE]), "unsupported_parameter"
    )


def tools() -> str:
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return city

    return refused(lambda: chat_model.bind_tools([weather]).invoke([MESSAGE]), "unsupported_parameter")


def responses() -> str:
    model = ChatOpenAI(base_url=BASE, api_key="none", model="rudolph", max_retries=0, use_responses_api=True)
    content = model.invoke([MESSAGE]).content
    assert WORD in content[0]["text"]
    return "works; the text is ignored, with a warning"


def embeddings() -> str:
    model = OpenAIEmbeddings(base_url=BASE, api_key="none", model="rudolph", check_embedding_ctx_length=False)
    return refused(lambda: model.embed_query("кот"), "not_found")


run(
    f"langchain-openai {version('langchain-openai')}",
    {
        "ChatOpenAI, text and image": invoke,
        "ChatOpenAI, LangChain's own image block": standard_block,
        "ChatOpenAI.stream": stream,
        "ChatOpenAI.batch": batch,
        "ChatOpenAI with the Responses API": responses,
        "OpenAI.invoke and batch": complete,
        "with_structured_output": structured,
        "bind_tools": tools,
        "OpenAIEmbeddings": embeddings,
    },
)
