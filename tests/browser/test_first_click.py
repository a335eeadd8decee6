"""The untouched first click of every tab: what comes out is right on the bundled checkpoint."""

import base64
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from examples.demo_checkpoint.phrases import all_texts
from examples.demo_checkpoint.things import STYLES, load_things
from tests.browser.conftest import EXAMPLES, GENERATION
from tests.support.playground import caption_of, go, images_of, open_tab, same, sent_bodies, settings
from tests.support.servers import Server

PROMPTS = [example["prompt"] for example in EXAMPLES["text2image"] if "image_prompt" not in example]
REDRAWN = next(example for example in EXAMPLES["text2image"] if "image_prompt" in example)
STYLE_WORDS = {same(style.adjective.stem + ending) for style in STYLES for ending in style.adjective.endings}
KNOWN_WORDS = {word for text in all_texts(load_things()) for word in same(text).split()}


def caption_for(prompt: str) -> str:
    """Return the caption of what a prompt draws: captions have no word for the style."""
    first, _, rest = same(prompt).partition(" ")
    return rest if first in STYLE_WORDS else same(prompt)


@pytest.fixture(scope="module")
def bundled(server: Server) -> dict[str, Any]:
    """What the server says of its model; the page has nothing else to go by."""
    return server.client.get("/v1/models").json()["data"][0]["generation_config"]


def test_drawing(page: Page, server: Server, bundled: dict[str, Any]) -> None:
    assert bundled["examples"] == EXAMPLES
    panel = open_tab(page, "draw")
    go(panel)
    prompt = panel.locator("[name=prompt]").input_value()
    assert prompt == PROMPTS[0]
    expect(panel.locator("figcaption").first).to_contain_text("Лучшая из 8")
    assert same(caption_of(server, images_of(panel)[0])) == caption_for(prompt)


def test_every_prompt_that_the_page_offers_is_drawn(page: Page, server: Server) -> None:
    panel = open_tab(page, "draw")
    offered = panel.locator("[data-examples] button")
    expect(offered.first).to_be_visible()
    prompts = offered.all_inner_texts()
    assert prompts == PROMPTS
    assert len(prompts) >= 6
    for place, prompt in enumerate(prompts):
        offered.nth(place).click()
        go(panel)
        assert panel.locator("[name=prompt]").input_value() == prompt
        assert same(caption_of(server, images_of(panel)[0])) == caption_for(prompt)


def test_describing(page: Page) -> None:
    """The first image shows the scene of the first prompt."""
    panel = open_tab(page, "caption")
    go(panel)
    assert panel.locator("[name=template]").input_value() == ""
    assert same(panel.locator(".results li > span").first.inner_text()) == caption_for(PROMPTS[0])


def test_describing_an_image_that_the_server_has_drawn(page: Page, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "drawn.png"
    panel = open_tab(page, "caption")
    for prompt in PROMPTS[:2]:
        body = {"prompt": prompt, "candidates": 8, "seed": 1}
        reply = server.client.post("/v1/text2image", json=body, headers={"Accept": "image/png"})
        file.write_bytes(reply.content)
        panel.locator("[name=image]").set_input_files(file)
        go(panel)
        assert same(panel.locator(".results li > span").first.inner_text()) == caption_for(prompt)
        expect(panel.locator("[aria-pressed=true][data-examples] button")).to_have_count(0)


def test_naming(page: Page, server: Server, tmp_path: Path) -> None:
    """The image shows the scene of the first prompt, whose name is the first class."""
    (example,) = EXAMPLES["classify"]
    panel = open_tab(page, "classify")
    go(panel)
    classes = panel.locator("[name=classes]").input_value().split("\n")
    assert classes == example["classes"]
    best = panel.locator(".best td").nth(1)
    expect(best).to_have_text(classes[0])
    file = tmp_path / "drawn.png"
    for name in classes:
        reply = server.client.post(
            "/v1/text2image", json={"prompt": name, "candidates": 8}, headers={"Accept": "image/png"}
        )
        file.write_bytes(reply.content)
        panel.locator("[name=image]").set_input_files(file)
        go(panel)
        expect(best).to_have_text(name)


def test_ranking(page: Page) -> None:
    """By the text of the first scene, its image is right; by the image of the last scene, its text."""
    (images,), (texts,) = EXAMPLES["rank_images"], EXAMPLES["rank_texts"]
    panel = open_tab(page, "rank")
    go(panel)
    assert panel.locator("[name=text]").input_value() == images["text"]
    assert same(images["text"]) == caption_for(PROMPTS[0])
    assert panel.locator(".best img").get_attribute("src") == images["images"][1]
    panel.get_by_label("тексты по картинке").check()
    go(panel)
    assert panel.locator("[name=texts]").input_value().split("\n") == texts["texts"]
    assert same(texts["texts"][-1]) == caption_for(PROMPTS[-1])
    expect(panel.locator(".best td").nth(1)).to_have_text(texts["texts"][-1])


def test_continuing(page: Page) -> None:
    panel = open_tab(page, "continue")
    go(panel)
    prompt = panel.locator("[name=prompt]").input_value()
    assert prompt == EXAMPLES["text2text"][0]["prompt"]
    texts = panel.locator(".results li > span").all_inner_texts()
    assert texts
    assert all(same(text).startswith(f"{same(prompt)} ") for text in texts)
    assert {word for text in texts for word in same(text).split()} <= KNOWN_WORDS


def test_redrawing(page: Page, server: Server) -> None:
    panel = open_tab(page, "redraw")
    expect(page.locator("#canvas")).to_be_visible()
    go(panel)
    prompt = panel.locator("[name=prompt]").input_value()
    assert prompt == REDRAWN["prompt"]
    assert same(caption_of(server, images_of(panel)[0])) == caption_for(prompt)


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
    own = GENERATION["text2image"]["temperature"]
    expect(temperature).to_have_attribute("placeholder", f"как в модели: {own}")
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
