"""Runs in the playground as a person sees them: progress, cancel, reload, tabs, links, history."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.support.playground import (
    SLOW_MS,
    draw,
    go,
    images_of,
    open_tab,
    sent_bodies,
    settings,
    wait_for_examples,
)
from tests.support.servers import Server


def test_a_prompt_becomes_images_in_the_order_of_their_scores(page: Page) -> None:
    panel = draw(page, "красный круг", n=2, candidates=4)
    images = panel.locator(".results figure img")
    expect(images).to_have_count(2)
    assert images.first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    assert images.first.get_attribute("alt") == "красный круг"
    captions = panel.locator("figcaption").all_inner_texts()
    assert captions[0].startswith("Лучшая из 4 · зерно ")
    assert captions[1].startswith("2-я из 4 · зерно ")


def test_without_more_candidates_no_image_is_called_the_best(page: Page) -> None:
    panel = draw(page, "красный круг", n=2, candidates=2)
    assert [text.split()[0] for text in panel.locator("figcaption").all_inner_texts()] == ["зерно", "зерно"]


def test_the_number_of_candidates_is_raised_where_it_is_seen(page: Page) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator("[name=n]").fill("12")
    expect(panel.locator("[name=candidates]")).to_have_value("12")
    panel.locator("[name=candidates]").fill("3")
    panel.locator(".go").click()
    expect(panel.locator(".error")).to_have_text("«Кандидатов»: не меньше, чем результатов (12).")
    expect(panel.locator("[name=candidates]")).to_be_focused()


def test_the_image_grows_row_by_row(page: Page) -> None:
    page.evaluate(
        """() => { window.sources = {};
        new MutationObserver(() => document.querySelectorAll('#panel-draw [data-candidate]').forEach(
            figure => (window.sources[figure.dataset.candidate] ??= new Set()).add(
                figure.querySelector('img').src))).observe(
            document.querySelector('#panel-draw .results'),
            {subtree: true, childList: true, attributes: true}); }"""
    )
    draw(page, "сова", candidates=16)
    assert page.evaluate("Math.max(...Object.values(window.sources).map(seen => seen.size))") >= 2


def test_a_template_begins_every_caption(page: Page, tiny_v2: Path) -> None:
    panel = open_tab(page, "caption")
    panel.locator("[name=image]").set_input_files(tiny_v2 / "picture0.png")
    settings(panel).locator("[name=template]").fill("на картинке")
    go(panel)
    expect(panel.locator(".results li").first).to_contain_text("на картинке")


def test_images_are_ranked_with_their_thumbnails(page: Page, tiny_v2: Path) -> None:
    panel = open_tab(page, "rank")
    wait_for_examples(page)
    panel.locator("[name=images]").set_input_files([tiny_v2 / f"picture{index}.png" for index in range(3)])
    expect(panel.locator(".thumbnails li:visible")).to_have_count(3)
    go(panel)
    rows = panel.locator("tbody tr")
    expect(rows).to_have_count(3)
    assert {row.locator("img").get_attribute("alt") for row in rows.all()} == {
        f"picture{index}.png" for index in range(3)
    }


def draw_many(page: Page) -> Locator:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator("[name=candidates]").fill("256")
    panel.locator(".go").click()
    expect(panel.locator("progress")).to_be_visible(timeout=SLOW_MS)
    return panel


def test_cancel_ends_the_job_on_the_server_too(page: Page) -> None:
    panel = draw_many(page)
    job = page.evaluate("JSON.parse(localStorage.getItem('jobs')).draw")
    panel.get_by_role("button", name="Отменить").click()
    expect(panel.locator(".status")).to_have_text("Отменено.")
    expect(panel.locator(".go")).to_have_attribute("aria-disabled", "false")
    page.wait_for_function(
        "id => fetch(`/v1/jobs/${id}`).then(r => r.json()).then(job => job.state === 'cancelled')", arg=job
    )


def test_the_focus_stays_on_the_button_during_a_run(page: Page) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator(".go").focus()
    page.keyboard.press("Enter")
    expect(panel.locator(".go")).to_have_attribute("aria-disabled", "true")
    expect(panel.locator(".results")).to_have_attribute("aria-busy", "true")
    expect(panel.locator(".go")).to_be_focused()
    expect(panel.locator(".status")).to_contain_text("Готово", timeout=SLOW_MS)
    expect(panel.locator(".results")).to_have_attribute("aria-busy", "false")
    expect(panel.locator(".go")).to_be_focused()


def test_a_second_press_starts_no_second_job(page: Page) -> None:
    sent = sent_bodies(page)
    panel = draw_many(page)
    panel.locator(".go").click(force=True)
    page.locator("body").press("Control+Enter")
    panel.get_by_role("button", name="Отменить").click()
    expect(panel.locator(".status")).to_have_text("Отменено.")
    assert len(sent) == 1


def test_control_enter_runs_the_open_tab(page: Page) -> None:
    panel = open_tab(page, "continue")
    wait_for_examples(page)
    panel.locator("[name=prompt]").press("Control+Enter")
    expect(panel.locator(".status")).to_contain_text("Готово", timeout=SLOW_MS)


def test_a_job_survives_a_reload_with_its_form(page: Page) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator("[name=prompt]").fill("жёлтый дом")
    panel.locator("[name=candidates]").fill("64")
    panel.locator(".go").click()
    expect(panel.locator("progress")).to_be_visible(timeout=SLOW_MS)
    page.reload()
    expect(panel.locator("[name=prompt]")).to_have_value("жёлтый дом")
    expect(panel.locator("[name=candidates]")).to_have_value("64")
    expect(panel.locator(".results figcaption")).to_have_count(1, timeout=SLOW_MS)
    expect(panel.locator(".status")).to_contain_text("Готово")


def test_results_survive_a_reload_each_on_its_tab(page: Page) -> None:
    drawn = images_of(draw(page, "сова"))
    caption = open_tab(page, "caption")
    go(caption)
    text = caption.locator(".results li").first.inner_text()
    page.reload()
    expect(caption.locator(".results li").first).to_have_text(text)
    assert images_of(open_tab(page, "draw")) == drawn


def test_tabs_keep_their_results_and_errors_apart(page: Page) -> None:
    panel = draw(page, "сова")
    rank = open_tab(page, "rank")
    expect(rank.locator(".results")).to_be_empty()
    expect(rank.locator(".status")).to_have_text("")
    rank.locator("[name=text]").fill(" ")
    rank.locator(".go").click()
    expect(rank.locator(".error")).to_have_text("Заполните поле «Текст».")
    open_tab(page, "draw")
    expect(page.locator(".error:visible")).to_have_count(0)
    expect(panel.locator(".results figure")).to_have_count(1)


def test_two_tabs_run_at_a_time(page: Page) -> None:
    panel = draw_many(page)
    go(open_tab(page, "caption"))
    open_tab(page, "draw")
    expect(panel.locator("progress")).to_be_visible()
    panel.get_by_role("button", name="Отменить").click()
    expect(panel.locator(".status")).to_have_text("Отменено.")


def test_addresses_of_tabs_work_with_back_and_by_hand(page: Page) -> None:
    open_tab(page, "rank")
    open_tab(page, "redraw")
    assert page.url.endswith("#redraw")
    page.go_back()
    expect(page.locator("#panel-rank")).to_be_visible()
    page.evaluate("location.hash = '#continue'")
    expect(page.locator("#panel-continue")).to_be_visible()
    page.evaluate("location.hash = '#nothing'")
    expect(page.locator("#panel-draw")).to_be_visible()


def test_a_link_carries_the_form(page: Page, open_page: OpenPage) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator("[name=prompt]").fill("кот & пёс = «друзья» #1 100%")
    panel.locator("[name=n]").fill("2")
    settings(panel).locator("[name=top_k]").fill("32")
    panel.get_by_role("button", name="Скопировать ссылку").click()
    link = panel.locator(".address").inner_text()
    assert "candidates" not in link
    with open_page(link) as other:
        wait_for_examples(other)
        expect(other.locator("#panel-draw [name=prompt]")).to_have_value("кот & пёс = «друзья» #1 100%")
        expect(other.locator("#panel-draw [name=n]")).to_have_value("2")
        expect(other.locator("#panel-draw [name=top_k]")).to_be_visible()
        expect(other.locator("#panel-draw [name=top_k]")).to_have_value("32")
        expect(other.locator("#panel-draw [name=candidates]")).to_have_value("8")


def test_a_link_chooses_what_is_ranked(page: Page, open_page: OpenPage, server: Server) -> None:
    with open_page(f"{server.url}/#rank?direction=rank_texts&texts=дом%0Aкот") as other:
        wait_for_examples(other)
        expect(other.locator("#panel-rank [name=texts]")).to_have_value("дом\nкот")
        expect(other.locator("#panel-rank [name=text]")).to_be_hidden()


def test_the_history_shows_a_result_again_with_its_form(page: Page) -> None:
    expect(page.locator("#history")).to_be_hidden()
    first = images_of(draw(page, "сова", n=2, candidates=4, seed=5))
    draw(page, "клубника", candidates=2, seed=6)
    page.locator("#history summary").click()
    entries = page.locator("#history-list button")
    expect(entries).to_have_count(2)
    expect(entries.first).to_contain_text("клубника")
    open_tab(page, "rank")
    entries.nth(1).click()
    panel = page.locator("#panel-draw")
    expect(panel).to_be_visible()
    expect(panel.locator("[name=prompt]")).to_have_value("сова")
    expect(panel.locator("[name=seed]")).to_have_value("5")
    assert images_of(panel) == first
    page.get_by_role("button", name="Очистить историю").click()
    expect(page.locator("#history")).to_be_hidden()


def test_the_history_keeps_the_last_fifty(page: Page) -> None:
    draw(page, "сова")
    page.evaluate(
        """() => new Promise((resolve) => {
        const opening = indexedDB.open('rudolph', 1);
        opening.onsuccess = () => {
            const changing = opening.result.transaction('results', 'readwrite');
            const store = changing.objectStore('results');
            store.getAll().onsuccess = ({ target }) => {
                for (let index = 0; index < 60; index += 1) {
                    store.put({ ...target.result[0], id: `old-${index}`, created: index });
                }
            };
            changing.oncomplete = resolve;
        };
    })"""
    )
    draw(page, "клубника")
    expect(page.locator("#history-count")).to_have_text("(50)")
    page.locator("#history summary").click()
    expect(page.locator("#history-list button").first).to_contain_text("клубника")


def test_tabs_are_reached_with_the_keyboard(page: Page) -> None:
    page.locator("#tab-draw").focus()
    for key, name in (("End", "redraw"), ("ArrowRight", "draw"), ("ArrowLeft", "redraw"), ("Home", "draw")):
        page.keyboard.press(key)
        expect(page.locator(f"#tab-{name}")).to_be_focused()
        expect(page.locator(f"#panel-{name}")).to_be_visible()


def test_the_position_in_the_queue_is_shown_with_seconds(page: Page, server: Server) -> None:
    body = {"task": "text2image", "input": {"prompt": "сова", "candidates": 256}}
    jobs = [server.client.post("/v1/jobs", json=body).json()["id"] for _ in range(3)]
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator("[name=candidates]").fill("256")
    panel.locator(".go").click()
    expect(panel.locator(".status")).to_have_text(
        re.compile(r"впереди заданий: \d+\. .* \d+ с\."), timeout=SLOW_MS
    )
    for job in jobs:
        server.client.delete(f"/v1/jobs/{job}")
    panel.get_by_role("button", name="Отменить").click()
    expect(panel.locator(".status")).to_have_text("Отменено.")


@pytest.mark.parametrize(
    "query", ["length=5&item=x&0=y&__proto__=z&constructor=1", "n=abc&direction=nothing", "%E0%A4%A", "=&&?"]
)
def test_a_link_with_nonsense_changes_nothing(open_page: OpenPage, server: Server, query: str) -> None:
    for tab in ("draw", "rank"):
        with open_page(f"{server.url}/#{tab}?{query}") as other:
            wait_for_examples(other)
            expect(other.locator(f"#panel-{tab}")).to_be_visible()
            go(other.locator(f"#panel-{tab}"))
