"""The untouched first click of every tab: what comes out is right on the bundled checkpoint."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.playground import caption_of, go, images_of, open_tab, sent_bodies, settings
from tests.support.servers import Server

DEMO = Path(__file__).parents[2] / "checkpoints" / "demo"
EXAMPLES = json.loads((DEMO / "generation_config.json").read_text(encoding="utf-8"))["examples"]
KNOWN_WORDS = {"морда", "собаки", "кошки", "коровы", "панды", "тигра", "на", "фоне"}


def same(text: str) -> str:
    """The checkpoint writes captions without «ё»."""
    return text.lower().replace("ё", "е")


@pytest.fixture(scope="module")
def bundled(server: Server) -> dict[str, Any]:
    """What the server says of its model; the page has nothing else to go by."""
    return server.client.get("/v1/models").json()["data"][0]["generation_config"]


def test_drawing(page: Page, server: Server, bundled: dict[str, Any]) -> None:
    assert bundled["examples"] == EXAMPLES
    panel = open_tab(page, "draw")
    go(panel)
    prompt = panel.locator("[name=prompt]").input_value()
    assert prompt == EXAMPLES["text2image"][0]["prompt"]
    expect(panel.locator("figcaption").first).to_contain_text("Лучшая из 8")
    assert caption_of(server, images_of(panel)[0]) == same(prompt)


def test_every_prompt_that_the_page_offers_is_drawn(page: Page, server: Server) -> None:
    panel = open_tab(page, "draw")
    offered = panel.locator("[data-examples] button")
    expect(offered.first).to_be_visible()
    prompts = offered.all_inner_texts()
    assert len(prompts) >= 6
    for place, prompt in enumerate(prompts):
        offered.nth(place).click()
        go(panel)
        assert panel.locator("[name=prompt]").input_value() == prompt
        assert caption_of(server, images_of(panel)[0]) == same(prompt)


def test_describing(page: Page) -> None:
    panel = open_tab(page, "caption")
    go(panel)
    assert panel.locator("[name=template]").input_value() == ""
    expect(panel.locator(".results li").first).to_contain_text("сова на зеленом фоне")


def test_describing_an_image_that_the_server_has_drawn(page: Page, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "drawn.png"
    panel = open_tab(page, "caption")
    for prompt in ("клубника", "кошка на синем фоне"):
        body = {"prompt": prompt, "candidates": 8, "seed": 1}
        reply = server.client.post("/v1/text2image", json=body, headers={"Accept": "image/png"})
        file.write_bytes(reply.content)
        panel.locator("[name=image]").set_input_files(file)
        go(panel)
        expect(panel.locator(".results li").first).to_contain_text(prompt)
        expect(panel.locator("[aria-pressed=true][data-examples] button")).to_have_count(0)


def test_naming(page: Page, server: Server, tmp_path: Path) -> None:
    panel = open_tab(page, "classify")
    go(panel)
    expect(panel.locator(".best")).to_contain_text("кошка")
    file = tmp_path / "drawn.png"
    for name in panel.locator("[name=classes]").input_value().split("\n"):
        reply = server.client.post(
            "/v1/text2image", json={"prompt": name, "candidates": 8}, headers={"Accept": "image/png"}
        )
        file.write_bytes(reply.content)
        panel.locator("[name=image]").set_input_files(file)
        go(panel)
        expect(panel.locator(".best")).to_contain_text(name)


def test_ranking(page: Page) -> None:
    (images,) = EXAMPLES["rank_images"]
    panel = open_tab(page, "rank")
    go(panel)
    assert panel.locator("[name=text]").input_value() == "сова на зеленом фоне"
    assert panel.locator(".best img").get_attribute("src") == images["images"][1]
    panel.get_by_label("тексты по картинке").check()
    go(panel)
    expect(panel.locator(".best")).to_contain_text("банан на розовом фоне")


def test_continuing(page: Page) -> None:
    panel = open_tab(page, "continue")
    go(panel)
    texts = panel.locator(".results li > span").all_inner_texts()
    assert texts
    words = {word for text in texts for word in text.split()}
    colours = {word for word in words if re.search("(ом|ем)$", word)}
    assert words - colours <= KNOWN_WORDS
    assert all(text.startswith("морда ") for text in texts)


def test_redrawing(page: Page, server: Server) -> None:
    panel = open_tab(page, "redraw")
    expect(page.locator("#canvas")).to_be_visible()
    go(panel)
    prompt = panel.locator("[name=prompt]").input_value()
    assert prompt == "клубника"
    assert caption_of(server, images_of(panel)[0]) == same(prompt)


def test_what_a_person_has_chosen_is_not_replaced(page: Page, tiny_v2: Path) -> None:
    panel = open_tab(page, "classify")
    panel.locator("[name=image]").set_input_files(tiny_v2 / "picture0.png")
    sent = sent_bodies(page)
    go(panel)
    data = base64.b64decode(sent[0]["input"]["image"].partition(",")[2])
    assert data == (tiny_v2 / "picture0.png").read_bytes()


def test_the_page_sends_no_setting_that_nobody_chose_but_the_seed(page: Page) -> None:
    sent = sent_bodies(page)
    panel = open_tab(page, "draw")
    temperature = settings(panel).locator("[name=temperature]")
    expect(temperature).to_have_attribute("placeholder", "как в модели: 0.5")
    go(panel)
    assert set(sent[0]["input"]) == {"prompt", "n", "candidates", "seed", "partial_images"}
    temperature.fill("0.7")
    panel.get_by_label("Top-k").fill("20")
    panel.get_by_label("Top-p").fill("0.8")
    panel.get_by_label("Ослабить подсказку").fill("0.1")
    go(panel)
    expected = {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "guidance": 0.1}
    assert {name: sent[1]["input"][name] for name in expected} == expected


@pytest.mark.parametrize(
    "entry", ['{"draw": "job_unknown"}', "{", "null", "[]", "7", '{"draw": {}}', '{"draw": "../x"}']
)
def test_a_job_that_cannot_be_followed_is_dropped_silently(page: Page, entry: str) -> None:
    page.evaluate("entry => localStorage.setItem('jobs', entry)", entry)
    page.reload()
    page.wait_for_function("() => !JSON.parse(localStorage.getItem('jobs') ?? '{}')?.draw")
    panel = open_tab(page, "draw")
    expect(panel.locator(".go")).to_have_attribute("aria-disabled", "false")
    expect(panel.locator(".error")).to_be_hidden()
    expect(panel.locator(".status")).to_have_text("")
    go(panel)


def test_a_job_that_the_server_has_forgotten_is_dropped_silently(page: Page) -> None:
    panel = open_tab(page, "draw")
    go(panel)
    page.evaluate(
        """() => new Promise((resolve) => {
        const opening = indexedDB.open('rudolph', 1);
        opening.onsuccess = () => {
            const store = opening.result.transaction('results', 'readwrite').objectStore('results');
            const entry = { id: 'job_gone', tab: 'draw', created: 1, values: { prompt: 'дом' }, images: {} };
            store.put({ ...entry, reply: null }).onsuccess = resolve;
        };
        localStorage.setItem('jobs', '{"draw": "job_gone"}');
        sessionStorage.clear();
    })"""
    )
    page.reload()
    page.wait_for_function("() => !JSON.parse(localStorage.getItem('jobs')).draw")
    expect(panel.locator(".error")).to_be_hidden()
    expect(panel.locator(".status")).to_have_text("")
    expect(panel.locator("[name=prompt]")).to_have_value("дом")
