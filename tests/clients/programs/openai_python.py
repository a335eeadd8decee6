"""The official `openai` package."""

import io
import time

import openai
from harness import BASE, PICTURE, PICTURE_URI, WORD, is_png, refused, run

client = openai.OpenAI(base_url=BASE, api_key="none", max_retries=0)
MESSAGES = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What's in this image?"},
            {"type": "image_url", "image_url": {"url": PICTURE_URI}},
        ],
    }
]


def generate() -> None:
    reply = client.images.generate(model="rudolph", prompt="клубника на синем фоне", n=2, size="1024x1024")
    assert len(reply.data) == 2
    assert is_png(reply.data[0].b64_json)
    assert reply.size == "1024x1024"


def generate_stream() -> None:
    events = list(client.images.generate(prompt="клубника", stream=True, partial_images=2))
    assert [event.type.split(".")[1] for event in events] == ["partial_image", "partial_image", "completed"]
    assert all(is_png(event.b64_json) for event in events)


def edit() -> None:
    picture = ("picture.png", io.BytesIO(PICTURE), "image/png")
    assert is_png(client.images.edit(image=[picture], prompt="клубника").data[0].b64_json)


def variation() -> None:
    picture = ("picture.png", io.BytesIO(PICTURE), "image/png")
    assert is_png(client.images.create_variation(image=picture).data[0].b64_json)


def chat() -> str:
    reply = client.chat.completions.create(model="rudolph", messages=MESSAGES)
    assert WORD in reply.choices[0].message.content
    assert "text_ignored" in str(reply.model_extra["warnings"])
    return "works; the text is ignored, with a warning"


def chat_stream() -> None:
    chunks = list(client.chat.completions.create(model="rudolph", messages=MESSAGES, stream=True))
    assert WORD in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def complete() -> None:
    reply = client.completions.create(model="rudolph", prompt=["морда", "красное"], max_tokens=8)
    assert len(reply.choices) == 2
    assert all(choice.text for choice in reply.choices)


def models() -> None:
    names = [model.id for model in client.models.list()]
    assert client.models.retrieve(names[0]).id == names[0]


def responses() -> str:
    content = [
        {"type": "input_text", "text": "what's in this image?"},
        {"type": "input_image", "image_url": PICTURE_URI},
    ]
    reply = client.responses.create(model="rudolph", input=[{"role": "user", "content": content}])
    assert WORD in reply.output_text
    return "works; the text is ignored, with a warning"


def responses_draw() -> None:
    reply = client.responses.create(model="rudolph", input="клубника", tools=[{"type": "image_generation"}])
    images = [output.result for output in reply.output if output.type == "image_generation_call"]
    assert is_png(images[0])
    again = client.responses.create(
        model="rudolph",
        input=[*(item.model_dump() for item in reply.output), {"role": "user", "content": "на синем фоне"}],
        tools=[{"type": "image_generation", "partial_images": 1}],
        stream=True,
    )
    types = [event.type for event in again]
    assert "response.image_generation_call.partial_image" in types
    assert types[-1] == "response.completed"


def responses_background() -> None:
    started = client.responses.create(
        model="rudolph", input="клубника", tools=[{"type": "image_generation"}], background=True
    )
    while (found := client.responses.retrieve(started.id)).status in ("queued", "in_progress"):
        time.sleep(0.2)
    assert is_png(found.output[0].result)


def tools() -> str:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    return refused(
        lambda: client.chat.completions.create(model="rudolph", messages=MESSAGES, tools=[tool]),
        "unsupported_parameter",
    )


def structured() -> str:
    form = {"type": "json_object"}
    return refused(
        lambda: client.chat.completions.create(model="rudolph", messages=MESSAGES, response_format=form),
        "unsupported_parameter",
    )


def other_model() -> str:
    return refused(
        lambda: client.chat.completions.create(model="gpt-4o", messages=MESSAGES), "model_not_found"
    )


def embeddings() -> str:
    return refused(lambda: client.embeddings.create(model="rudolph", input="кот"), "not_found")


run(
    f"openai (Python) {openai.__version__}",
    {
        "images.generate with size": generate,
        "images.generate, streamed": generate_stream,
        "images.edit without mask": edit,
        "images.create_variation": variation,
        "chat.completions, text and image": chat,
        "chat.completions, streamed": chat_stream,
        "completions of several prompts": complete,
        "responses, text and image": responses,
        "responses with image_generation, then an edit": responses_draw,
        "responses in the background": responses_background,
        "models.list and retrieve": models,
        "tools": tools,
        "response_format json_object": structured,
        "another model's name": other_model,
        "embeddings": embeddings,
    },
)
