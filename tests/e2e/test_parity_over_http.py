"""Every native route of a real server in float32, against what the published packages computed."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.support.servers import Server

GREEDY = {"top_k": 1, "top_p": 1.0, "temperature": 1.0}
PROMPTS = ("красный круг на белом фоне", "старый кот у моря", "большой синий мяч")
PICTURES = range(3)


@dataclass(frozen=True)
class Served:
    """A server with a checkpoint, and the expected values."""

    server: Server
    folder: Path
    values: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    def post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self.server.client.post(route, json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def picture(self, number: int) -> str:
        return encoded(self.folder / f"picture{number}.png")


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def serve(server: Server, folder: Path) -> Served:
    values = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return Served(server, folder, values, load_file(folder / "expected.safetensors"))


@pytest.fixture(scope="module")
def second(server_v2: Server, tiny_v2: Path) -> Served:
    return serve(server_v2, tiny_v2)


@pytest.fixture(scope="module", params=["v1", "v2"])
def served(request: pytest.FixtureRequest, tiny_v1: Path, tiny_v2: Path) -> Served:
    folder = tiny_v1 if request.param == "v1" else tiny_v2
    return serve(request.getfixturevalue(f"server_{request.param}"), folder)


def test_greedy_pictures_have_the_reference_codes(served: Served) -> None:
    for number, prompt in enumerate(PROMPTS):
        body = {"prompt": prompt, "return_codes": True, **GREEDY}
        (image,) = served.post("/v1/text2image", body)["images"]
        assert image["codes"] == served.tensors[f"text2image.greedy.{number}"][0].tolist()


def test_kept_rows_of_a_picture_have_the_reference_codes(served: Served) -> None:
    side = int(served.tensors["vae.codes"].shape[1] ** 0.5)
    for number in PICTURES:
        prompt = {"image": served.picture(number), "borders": {"up": side - 1}}
        body = {"prompt": PROMPTS[0], "image_prompt": prompt, "return_codes": True, **GREEDY}
        (image,) = served.post("/v1/text2image", body)["images"]
        kept = (side - 1) * side
        assert image["codes"][:kept] == served.tensors["vae.codes"][number].tolist()[:kept]


def test_picture_has_the_size_that_the_model_draws(served: Served) -> None:
    expected = served.tensors["vae.decoded"].shape[-2:]
    (image,) = served.post("/v1/text2image", {"prompt": PROMPTS[0], "seed": 1})["images"]
    picture = Image.open(io.BytesIO(base64.b64decode(image["b64_json"])))
    assert picture.format == "PNG"
    assert picture.size == (expected[1], expected[0])


def test_guidance_of_one_draws_the_unprompted_picture(second: Served) -> None:
    for number, prompt in enumerate(PROMPTS):
        body = {"prompt": prompt, "guidance": 1.0, "return_codes": True, **GREEDY}
        (image,) = second.post("/v1/text2image", body)["images"]
        assert image["codes"] == second.tensors[f"guidance.w1.greedy.{number}"][0].tolist()


def test_image_prompt_keeps_the_borders_and_draws_the_rest_as_the_reference(second: Served) -> None:
    prompt = {
        "image": encoded(second.folder / "prompt_picture.png"),
        "borders": second.values["image_prompt"]["borders"],
    }
    body = {"prompt": PROMPTS[0], "image_prompt": prompt, "return_codes": True, **GREEDY}
    (image,) = second.post("/v1/text2image", body)["images"]
    assert image["codes"] == second.tensors["image_prompt.greedy"][0].tolist()


def test_captions_are_the_reference_texts(served: Served) -> None:
    for number in PICTURES:
        expected = served.values[f"image2text.greedy.{number}"]
        body = {
            "image": served.picture(number),
            "template": expected["template"],
            "candidates": 2,
            "return_tokens": True,
            **GREEDY,
        }
        (text,) = served.post("/v1/image2text", body)["texts"]
        assert [text["text"]] == expected["texts"]
        assert text["count"] == 2
        if "tokens" in expected:
            # The reference continues after eos; its tokens there are cut off.
            assert text["tokens"] == expected["tokens"][: len(text["tokens"])]


def test_continued_texts_are_the_reference_texts(served: Served) -> None:
    for expected in served.values["text2text.greedy"]:
        body = {"prompt": expected["template"], "candidates": 2, **GREEDY}
        (text,) = served.post("/v1/text2text", body)["texts"]
        if "out" in expected:
            assert text["text"] == expected["out"][0]["text"]
            # The reference rounds to two decimals.
            assert text["ppl_text"] == pytest.approx(expected["out"][0]["ppl_txt"], rel=1e-4, abs=0.006)
        else:
            assert text["text"] == expected["text"]


def assert_ranking(ranking: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    by_index = sorted(ranking, key=lambda item: item["index"])
    assert [item["ppl_text"] for item in by_index] == pytest.approx(expected["ppl_txt"], rel=1e-4)
    assert [item["ppl_image"] for item in by_index] == pytest.approx(expected["ppl_img"], rel=1e-4)
    scores = [item["score"] for item in ranking]
    assert scores == sorted(scores)
    if "scores" in expected:
        order = torch.tensor(expected["scores"]).argsort().tolist()
        assert [item["index"] for item in ranking] == order


def test_pictures_are_ranked_as_the_reference_ranks_them(served: Served) -> None:
    pictures = [{"codes": codes} for codes in served.tensors["rank_images.codes"].tolist()]
    for number in range(3):
        expected = served.values[f"rank_images.{number}"]
        reply = served.post("/v1/rank/images", {"text": expected["text"], "images": pictures})
        assert_ranking(reply["ranking"], expected)


def test_texts_are_ranked_as_the_reference_ranks_them(served: Served) -> None:
    for number in PICTURES:
        expected = served.values[f"rank_texts.{number}"]
        body = {"image": served.picture(number), "texts": expected["texts"]}
        assert_ranking(served.post("/v1/rank/texts", body)["ranking"], expected)


def test_classes_are_scored_as_the_reference_scores_them(served: Served) -> None:
    for number in PICTURES:
        expected = served.values[f"classify.{number}"]
        body = {
            "image": served.picture(number),
            "classes": expected["classes"],
            "template": expected["template"],
        }
        reply = served.post("/v1/classify", body)
        assert reply["class"] == expected["class"]
        assert reply["label"] == expected["classes"].index(expected["class"])
        assert [item["score"] for item in reply["scores"]] == pytest.approx(expected["scores"], rel=1e-4)


def test_mixed_batch_changes_no_result(second: Served) -> None:
    """Eight different requests at once: each answers as it does alone."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/v1/text2image", {"prompt": prompt, "seed": seed, "return_codes": True, "n": 2})
        for seed, prompt in enumerate(PROMPTS)
    ]
    calls += [("/v1/image2text", {"image": second.picture(number), "seed": number}) for number in PICTURES]
    calls += [("/v1/text2text", {"prompt": prompt, "seed": 5}) for prompt in PROMPTS[:2]]

    def answer(call: tuple[str, dict[str, Any]]) -> object:
        reply = second.post(*call)
        return [image["codes"] for image in reply["images"]] if "images" in reply else reply["texts"]

    alone = [answer(call) for call in calls]
    with ThreadPoolExecutor(len(calls)) as pool:
        together = list(pool.map(answer, calls))
    for one, other in zip(alone, together, strict=True):
        assert comparable(one) == comparable(other)


def comparable(answer: object) -> object:
    """Codes and texts exactly; perplexities as far as float32 sums of another shape agree."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        return [(text["text"], text["count"]) for text in answer]
    return answer
