"""LiteLLM's SDK with an endpoint of OpenAI's shape."""

import os
from importlib.metadata import version

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from harness import BASE, PICTURE, PICTURE_URI, WORD, is_png, refused, run

PLACE = {"api_base": BASE, "api_key": "none", "num_retries": 0, "max_retries": 0}
MESSAGE = {
    "role": "user",
    "content": [
        {"type": "text", "text": "What's in this image?"},
        {"type": "image_url", "image_url": {"url": PICTURE_URI}},
    ],
}


def draw() -> None:
    reply = litellm.image_generation(prompt="клубника", model="openai/rudolph", size="1024x1024", **PLACE)
    assert is_png(reply.data[0].b64_json)


def edit() -> None:
    reply = litellm.image_edit(image=PICTURE, prompt="клубника", model="openai/rudolph", **PLACE)
    assert is_png(reply.data[0].b64_json)


def chat() -> str:
    reply = litellm.completion(model="openai/rudolph", messages=[MESSAGE], **PLACE)
    assert WORD in reply.choices[0].message.content
    return "works; the text is ignored, with a warning"


def chat_stream() -> None:
    chunks = litellm.completion(model="openai/rudolph", messages=[MESSAGE], stream=True, **PLACE)
    assert WORD in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def complete() -> None:
    reply = litellm.text_completion(
        model="text-completion-openai/rudolph", prompt="морда", max_tokens=8, **PLACE
    )
    assert reply.choices[0].text


def rerank() -> None:
    reply = litellm.rerank(
        model="hosted_vllm/rudolph",
        query="сова на зелёном фоне",
        documents=[PICTURE_URI, PICTURE_URI],
        api_base=BASE,
        api_key="none",
    )
    assert len(reply.results) == 2


def responses() -> str:
    content = [
        {"type": "input_text", "text": "What's in this image?"},
        {"type": "input_image", "image_url": PICTURE_URI},
    ]
    reply = litellm.responses(model="openai/rudolph", input=[{"role": "user", "content": content}], **PLACE)
    assert WORD in reply.output[0].content[0].text
    return "works; the text is ignored, with a warning"


def tools() -> str:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    return refused(
        lambda: litellm.completion(model="openai/rudolph", messages=[MESSAGE], tools=[tool], **PLACE),
        "unsupported_parameter",
        words="tools is not supported",
    )


def embedding() -> str:
    return refused(
        lambda: litellm.embedding(model="openai/rudolph", input=["кот"], **PLACE),
        "not_found",
        words="nothing at /v1/embeddings",
    )


run(
    f"litellm {version('litellm')}",
    {
        "image_generation with size": draw,
        "image_edit": edit,
        "completion, text and image": chat,
        "completion, streamed": chat_stream,
        "text_completion": complete,
        "rerank": rerank,
        "responses": responses,
        "tools": tools,
        "embedding": embedding,
    },
)
