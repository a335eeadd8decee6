"""`huggingface_hub.InferenceClient`, which posts every task to the address of the server."""

from importlib.metadata import version

from harness import BASE, IMAGE, PICTURE, PICTURE_URI, URL, WORD, refused, run
from huggingface_hub import InferenceClient

client = InferenceClient(URL, api_key="none")
LABELS = ["банан", "сова на зелёном фоне", "автомобиль"]


def hub(task: str) -> InferenceClient:
    return InferenceClient(f"{URL}/hf/{task}", api_key="none")


def draw() -> None:
    image = client.text_to_image("клубника на синем фоне", width=256, height=128, seed=3)
    assert (image.format, image.size) == ("PNG", (256, 128))
    assert hub("text-to-image").text_to_image("клубника").format == "PNG"


def redraw() -> None:
    image = client.image_to_image(PICTURE, prompt="клубника")
    assert image.format == "PNG"


def caption() -> None:
    assert WORD in client.image_to_text(str(IMAGE)).generated_text
    assert WORD in hub("image-to-text").image_to_text(PICTURE).generated_text


def classify() -> None:
    for one in (client, hub("zero-shot-image-classification")):
        found = one.zero_shot_image_classification(PICTURE, candidate_labels=LABELS)
        assert found[0].label == LABELS[1]
        assert abs(sum(item.score for item in found) - 1) < 0.001
    with_template = client.zero_shot_image_classification(
        PICTURE, candidate_labels=["сова", "банан"], hypothesis_template="{} на зелёном фоне"
    )
    assert with_template[0].label == "сова"


def question() -> str:
    return refused(
        lambda: client.visual_question_answering(PICTURE, "What is the animal doing?"), "unsupported_task"
    )


def complete() -> None:
    assert client.text_generation("морда", max_new_tokens=8)
    full = hub("text-generation").text_generation("морда", return_full_text=True, details=True)
    assert full.generated_text.startswith("морда")
    assert full.details.generated_tokens > 0


def complete_stream() -> None:
    pieces = list(client.text_generation("морда", stream=True))
    assert "".join(pieces).strip()


def grammar() -> str:
    return refused(
        lambda: client.text_generation("морда", grammar={"type": "json", "value": {}}),
        "unsupported_parameter",
    )


def chat() -> str:
    content = [
        {"type": "image_url", "image_url": {"url": PICTURE_URI}},
        {"type": "text", "text": "Describe this image in one sentence."},
    ]
    messages = [{"role": "user", "content": content}]
    assert WORD in client.chat_completion(messages).choices[0].message.content
    reply = InferenceClient(base_url=BASE, api_key="none").chat.completions.create(
        model="rudolph", messages=messages
    )
    assert WORD in reply.choices[0].message.content
    return "works; the text is ignored, with a warning"


run(
    f"huggingface_hub {version('huggingface_hub')}",
    {
        "text_to_image": draw,
        "image_to_image": redraw,
        "image_to_text": caption,
        "zero_shot_image_classification": classify,
        "visual_question_answering": question,
        "text_generation": complete,
        "text_generation, streamed": complete_stream,
        "text_generation with a grammar": grammar,
        "chat.completions": chat,
    },
)
