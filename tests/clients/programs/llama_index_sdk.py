"""LlamaIndex's model for servers of OpenAI's shape."""

from importlib.metadata import version

from harness import BASE, PICTURE, WORD, run
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.llms.openai_like import OpenAILike

PLACE = {"model": "rudolph", "api_base": BASE, "api_key": "none", "max_retries": 0}
MESSAGE = ChatMessage(
    role="user", blocks=[ImageBlock(image=PICTURE), TextBlock(text="Describe the image in a few sentences.")]
)


def chat() -> str:
    reply = OpenAILike(is_chat_model=True, **PLACE).chat([MESSAGE])
    assert WORD in reply.message.content
    return "works; the text is ignored, with a warning"


def chat_stream() -> None:
    pieces = list(OpenAILike(is_chat_model=True, **PLACE).stream_chat([MESSAGE]))
    assert WORD in pieces[-1].message.content


def complete() -> None:
    assert OpenAILike(max_tokens=8, **PLACE).complete("морда").text


def complete_stream() -> None:
    pieces = list(OpenAILike(max_tokens=8, **PLACE).stream_complete("морда"))
    assert pieces[-1].text


run(
    f"llama-index-llms-openai-like {version('llama-index-llms-openai-like')}",
    {
        "chat, text and image": chat,
        "stream_chat": chat_stream,
        "complete": complete,
        "stream_complete": complete_stream,
    },
)
