"""Tabs follow the tasks of the loaded model, and classes and rankings show probabilities."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.support.answering import answering
from tests.support.playground import go, open_tab, wait_for_examples
from tests.support.servers import Server, serving


@pytest.fixture(scope="module")
def answers(tiny_v2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a checkpoint that accepts questions."""
    folder = tmp_path_factory.mktemp("answers")
    with serving(answering(tiny_v2, folder / "checkpoint"), folder / "data") as running:
        yield running


def test_a_tab_of_a_task_that_the_model_cannot_do_is_hidden_and_its_link_says_why(
    page: Page, server: Server
) -> None:
    wait_for_examples(page)
    expect(page.locator("#tab-answer")).to_be_hidden()
    page.locator("#tab-draw").focus()
    page.keyboard.press("End")
    expect(page.locator("#tab-redraw")).to_be_focused()
    page.goto(f"{server.url}/#answer")
    expect(page.locator("#unsupported")).to_have_text(
        "Загруженная модель rudolph-demo не умеет этого: «Ответить»."
    )
    expect(page.locator("#panel-draw")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.locator("#unsupported")).to_have_text(
        "The loaded model rudolph-demo cannot do this task: Answer."
    )
    page.goto(f"{server.url}/#caption")
    expect(page.locator("#unsupported")).to_be_hidden()
    page.goto(f"{server.url}/#answer")
    expect(page.locator("#unsupported")).to_be_visible()
    page.locator("#tab-caption").click()
    expect(page.locator("#unsupported")).to_be_hidden()


@pytest.mark.parametrize("has_image", [True, False])
def test_a_model_that_answers_has_the_tab(
    open_page: OpenPage, answers: Server, tiny_v2: Path, has_image: bool
) -> None:
    with open_page(f"{answers.url}/#answer") as page:
        expect(page.locator("#tab-answer")).to_have_attribute("aria-selected", "true")
        panel = open_tab(page, "answer")
        if has_image:
            panel.locator("[name=image]").set_input_files(tiny_v2 / "picture0.png")
        go(panel)
        body = {"question": "Что на картинке?"}
        files = {"image": (tiny_v2 / "picture0.png").read_bytes()} if has_image else None
        reply = (
            answers.client.post("/v1/answer", data=body, files=files)
            if files
            else (answers.client.post("/v1/answer", json=body))
        )
        expect(panel.locator(".answer")).to_have_text(reply.json()["answer"] or "(пусто)")
        panel.locator("details.code summary").click()
        expect(panel.locator("pre")).to_contain_text("/v1/answer")
        assert Axe().run(page).response["violations"] == []


def test_classes_and_rankings_show_probabilities_that_add_up(page: Page) -> None:
    for name in ("classify", "rank"):
        panel = open_tab(page, name)
        wait_for_examples(page)
        go(panel)
        expect(panel.locator(".results thead")).to_contain_text("Вероятность")
        texts = panel.locator(".results tbody td:nth-child(3)").all_inner_texts()
        shares = [float(text.replace("%", "").replace(",", ".").strip()) for text in texts]
        assert shares == sorted(shares, reverse=True)
        assert abs(sum(shares) - 100) < 0.5


def test_captions_say_how_many_candidates_they_were_chosen_from(page: Page) -> None:
    panel = open_tab(page, "caption")
    wait_for_examples(page)
    go(panel)
    expect(panel.locator(".chosen")).to_have_text("Лучшие 3 из 8")
