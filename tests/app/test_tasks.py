"""The native routes end to end: real sockets, real queue, a worker that answers from the request."""

import base64
import json
import math

import httpx
import pytest

from jobs.contract.probabilities import class_probabilities
from tests.app.conftest import Running
from tests.app.worker import picture

PICTURE = base64.b64encode(picture(200)).decode()


def post(http: httpx.Client, path: str, body: object, **headers: str) -> httpx.Response:
    return http.post(path, json=body, headers=headers)


def ok(reply: httpx.Response) -> dict[str, object]:
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body["id"].startswith("job_")
    assert body["model"] == "tiny"
    assert body["usage"] == {"input_tokens": 8, "output_tokens": 16, "total_tokens": 24}
    timings = body["timings"]
    assert timings["total_ms"] == pytest.approx(timings["queue_ms"] + timings["compute_ms"], abs=0.01)
    assert reply.headers["x-request-id"]
    return body


def test_text2image_returns_a_picture_and_the_seed_that_draws_it_again(http: httpx.Client) -> None:
    first = ok(post(http, "/v1/text2image", {"prompt": "рыжий кот"}))
    image = first["images"][0]
    assert base64.b64decode(image["b64_json"]).startswith(b"\x89PNG")
    assert 0 <= image["seed"] < 2**53
    assert set(image) == {"b64_json", "seed"}
    again = ok(post(http, "/v1/text2image", {"prompt": "рыжий кот", "seed": image["seed"]}))
    assert again["images"][0]["b64_json"] == image["b64_json"]


def test_candidates_above_n_come_back_scored(http: httpx.Client) -> None:
    body = ok(post(http, "/v1/text2image", {"prompt": "кот", "n": 2, "candidates": 4, "return_codes": True}))
    assert len(body["images"]) == 2
    assert {"score", "ppl_text", "ppl_image", "codes"} <= set(body["images"][0])
    assert body["images"][0]["codes"] == list(range(16))


def test_rerank_scores_even_a_single_picture(http: httpx.Client) -> None:
    body = ok(post(http, "/v1/text2image", {"prompt": "кот", "rerank": True}))
    assert "score" in body["images"][0]


@pytest.mark.parametrize(("accept", "magic"), [("image/png", b"\x89PNG"), ("image/webp", b"RIFF")])
def test_accept_image_answers_with_the_bytes(http: httpx.Client, accept: str, magic: bytes) -> None:
    reply = post(http, "/v1/text2image", {"prompt": "кот", "seed": 5}, accept=accept)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == accept
    assert reply.headers["x-seed"] == "5"
    assert reply.content.startswith(magic)


def test_accept_image_refuses_more_than_one_picture(http: httpx.Client) -> None:
    reply = post(http, "/v1/text2image", {"prompt": "кот", "n": 2}, accept="image/png")
    assert reply.status_code == 422
    assert reply.json()["error"]["param"] == "n"


def test_a_curl_that_accepts_anything_gets_json(http: httpx.Client) -> None:
    reply = post(http, "/v1/text2image", {"prompt": "кот"}, accept="*/*")
    assert reply.headers["content-type"] == "application/json"


def test_image2text_takes_base64_and_data_uri_alike(http: httpx.Client) -> None:
    bare = ok(post(http, "/v1/image2text", {"image": PICTURE, "n": 2, "seed": 3, "return_tokens": True}))
    uri = f"data:image/png;base64,{PICTURE}"
    named = ok(post(http, "/v1/image2text", {"image": uri, "n": 2, "seed": 3, "return_tokens": True}))
    assert bare["texts"] == named["texts"]
    assert bare["texts"][0]["tokens"] == [2, 7, 3]
    assert bare["texts"][0]["count"] == 8
    assert bare["seed"] == 3


def test_image2text_takes_a_file_with_form_fields(http: httpx.Client) -> None:
    files = {"image": ("cat.png", picture(10), "image/png")}
    body = ok(http.post("/v1/image2text", files=files, data={"n": "2", "rerank": "false", "seed": "9"}))
    assert [text["text"] for text in body["texts"]] == ["текст 0 9", "текст 1 9"]
    assert "score" not in body["texts"][0]


def test_image2text_takes_a_file_with_a_json_part(http: httpx.Client) -> None:
    files = {
        "image": ("cat.jpg", picture(10, "jpeg"), "image/jpeg"),
        "request": (None, json.dumps({"n": 1, "seed": 9, "template": "на картинке"}), "application/json"),
    }
    assert ok(http.post("/v1/image2text", files=files))["seed"] == 9


def test_text2text_continues_a_text(http: httpx.Client) -> None:
    body = ok(post(http, "/v1/text2text", {"prompt": "однажды", "n": 2, "candidates": 3, "seed": 1}))
    fields = {"text", "continuation", "finish_reason", "num_tokens", "count", "ppl_text"}
    assert [set(text) for text in body["texts"]] == [fields] * 2


def test_rank_images_mixes_files_and_codes(http: httpx.Client) -> None:
    images = [PICTURE, {"codes": list(range(16))}, PICTURE]
    body = ok(post(http, "/v1/rank/images", {"text": "красный", "images": images}))
    assert [item["index"] for item in body["ranking"]] == [2, 1, 0]
    assert set(body["ranking"][0]) == {"index", "probability", "score", "ppl_text", "ppl_image"}


def test_rank_images_takes_several_files(http: httpx.Client) -> None:
    files = [("images", (f"{place}.png", picture(place), "image/png")) for place in range(3)]
    assert len(ok(http.post("/v1/rank/images", files=files, data={"text": "красный"}))["ranking"]) == 3


def test_rank_texts_returns_every_text(http: httpx.Client) -> None:
    body = ok(post(http, "/v1/rank/texts", {"image": PICTURE, "texts": ["один", "два"]}))
    assert len(body["ranking"]) == 2


def test_classify_names_the_winner_and_all_scores(http: httpx.Client) -> None:
    asked = {"image": PICTURE, "classes": ["кот", "собака"], "template": "это {}"}
    body = ok(post(http, "/v1/classify", asked))
    assert (body["class"], body["label"]) == ("собака", 1)
    assert [set(item) for item in body["scores"]] == [{"class", "probability", "score", "ppl_text"}] * 2


def test_classify_takes_repeated_form_fields(http: httpx.Client) -> None:
    files = {"image": ("a.png", picture(1), "image/png")}
    body = ok(http.post("/v1/classify", files=files, data={"classes": ["кот", "пёс", "лев"]}))
    assert body["class"] == "лев"


def test_answer_is_refused_clearly_by_a_checkpoint_that_cannot(http: httpx.Client) -> None:
    reply = post(http, "/v1/answer", {"question": "Что это?"})
    assert reply.status_code == 409
    error = reply.json()["error"]
    assert error["code"] == "unsupported_task"
    assert "fine-tuned" in error["message"]


def test_image_prompt_keeps_borders_in_json_and_in_a_form(http: httpx.Client, api: Running) -> None:
    prompt = {"image": PICTURE, "borders": {"up": 2}}
    ok(post(http, "/v1/text2image", {"prompt": "кот", "image_prompt": prompt}))
    files = {"image": ("a.png", picture(1), "image/png")}
    ok(http.post("/v1/text2image", files=files, data={"prompt": "кот", "borders": '{"left": 1}'}))


def test_the_seed_at_the_top_of_the_range_is_accepted(http: httpx.Client) -> None:
    body = ok(post(http, "/v1/text2image", {"prompt": "кот", "seed": 2**63 - 1}))
    assert body["images"][0]["seed"] == 2**63 - 1


def test_many_requests_at_once_each_get_their_own_answer(http: httpx.Client, api: Running) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(seed: int) -> str:
        return post(http, "/v1/text2text", {"prompt": "раз", "seed": seed}).json()["texts"][0]["text"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(64))) == [f"текст 0 {seed}" for seed in range(64)]


def test_probabilities_are_higher_for_the_better_and_add_up_to_one(http: httpx.Client) -> None:
    ranked = ok(post(http, "/v1/rank/texts", {"image": PICTURE, "texts": ["один", "два", "три"]}))
    shares = [item["probability"] for item in ranked["ranking"]]
    assert sum(shares) == pytest.approx(1)
    classes = ok(post(http, "/v1/classify", {"image": PICTURE, "classes": ["кот", "собака"]}))
    assert sum(score["probability"] for score in classes["scores"]) == pytest.approx(1)


def test_a_probability_is_the_softmax_of_the_negative_log_perplexity() -> None:
    shares = class_probabilities((2.0, 4.0, 8.0), 1.0)
    assert shares == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert class_probabilities((2.0, 4.0, 8.0), 0.5) == pytest.approx([16 / 21, 4 / 21, 1 / 21])
    assert class_probabilities((2.0, math.inf), 1.0) == pytest.approx([1, 0])
    assert class_probabilities((0.0, math.nan), 1.0) == [0.5, 0.5]
    assert class_probabilities((2.0, 0.0), 1.0) == pytest.approx([1, 0])
