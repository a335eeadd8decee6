"""The playground as a person uses it."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.servers import Server

SLOW_MS = 60_000


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def go(page: Page) -> None:
    page.get_by_role("button", name="Поехали").click()


def test_a_prompt_becomes_pictures_with_scores_and_a_curl_line(page: Page) -> None:
    page.get_by_label("Что нарисовать").first.fill("красный круг")
    page.get_by_label("Картинок").fill("2")
    page.get_by_label("Кандидатов").first.fill("4")
    go(page)
    expect(page.locator("#status")).to_contain_text("Готово", timeout=SLOW_MS)
    pictures = page.locator("#results img")
    expect(pictures).to_have_count(2)
    assert pictures.first.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 64
    expect(page.locator("#results figcaption").first).to_contain_text("оценка")
    page.locator("#curl-box summary").click()
    expect(page.locator("#curl")).to_contain_text("/v1/text2image")


def test_the_picture_grows_row_by_row(page: Page) -> None:
    page.evaluate(
        """() => { window.sources = {};
        new MutationObserver(() => document.querySelectorAll('#results [data-candidate]').forEach(
            figure => (window.sources[figure.dataset.candidate] ??= new Set()).add(
                figure.querySelector('img').src))).observe(
            document.getElementById('results'), {subtree: true, childList: true, attributes: true}); }"""
    )
    page.get_by_label("Кандидатов").first.fill("16")
    go(page)
    expect(page.locator("#status")).to_contain_text("Готово", timeout=SLOW_MS)
    assert page.evaluate("Math.max(...Object.values(window.sources).map(seen => seen.size))") >= 2


def test_a_picture_is_described(page: Page, tiny_v2: Path) -> None:
    open_tab(page, "Описать")
    page.locator("#panel-caption [name=image]").set_input_files(tiny_v2 / "picture0.png")
    go(page)
    expect(page.locator("#results li").first).to_contain_text("на картинке", timeout=SLOW_MS)


def test_a_picture_is_named_best_class_first(page: Page, tiny_v2: Path) -> None:
    open_tab(page, "Узнать")
    page.locator("#panel-classify [name=image]").set_input_files(tiny_v2 / "picture0.png")
    page.locator("#panel-classify [name=classes]").fill("круг\nкот\nдомик")
    go(page)
    expect(page.locator("#results tbody tr, #results tr")).to_have_count(4, timeout=SLOW_MS)
    scores = page.locator("#results td:last-child").all_inner_texts()
    assert [float(score) for score in scores] == sorted(float(score) for score in scores)


def test_pictures_are_ranked_by_a_text_and_texts_by_a_picture(page: Page, tiny_v2: Path) -> None:
    open_tab(page, "Сравнить")
    page.locator("#panel-rank [name=images]").set_input_files(
        [tiny_v2 / "picture0.png", tiny_v2 / "picture1.png", tiny_v2 / "picture2.png"]
    )
    go(page)
    expect(page.locator("#results .best")).to_contain_text("picture", timeout=SLOW_MS)
    page.get_by_label("тексты по картинке").check()
    page.locator("#panel-rank [name=image]").set_input_files(tiny_v2 / "picture0.png")
    go(page)
    expect(page.locator("#results .best")).to_contain_text(re.compile("кот|дом"), timeout=SLOW_MS)


def test_a_text_goes_on(page: Page) -> None:
    open_tab(page, "Продолжить")
    page.locator("#panel-continue [name=prompt]").fill("красный кот")
    go(page)
    expect(page.locator("#results li").first).to_contain_text("красный кот", timeout=SLOW_MS)


def test_the_painted_part_is_drawn_anew_also_with_the_keyboard(page: Page, tiny_v2: Path) -> None:
    open_tab(page, "Перерисовать")
    page.locator("#panel-redraw [name=image]").set_input_files(tiny_v2 / "prompt_picture.png")
    go(page)
    expect(page.locator("#error")).to_contain_text("Ничего не закрашено")
    canvas = page.locator("#canvas")
    expect(canvas).to_be_visible()
    canvas.focus()
    for key in ("ArrowLeft", "Space", "ArrowUp", "Space"):
        page.keyboard.press(key)
    go(page)
    expect(page.locator("#results img")).to_have_count(1, timeout=SLOW_MS)
    expect(page.locator("#status")).to_contain_text("Готово", timeout=SLOW_MS)


def test_a_mistake_is_shown_in_the_servers_words(page: Page) -> None:
    page.locator("#panel-draw").evaluate("form => { form.elements.temperature.removeAttribute('min'); }")
    page.get_by_label("Температура").first.fill("99")
    page.locator("#panel-draw").evaluate("form => { form.noValidate = true; }")
    go(page)
    expect(page.get_by_role("alert")).to_contain_text("temperature must be between 0.01 and 10")


def test_a_damaged_upload_is_explained(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64)
    open_tab(page, "Описать")
    page.locator("#panel-caption [name=image]").set_input_files(broken)
    go(page)
    expect(page.get_by_role("alert")).to_contain_text("image")


def draw_many(page: Page) -> None:
    page.get_by_label("Кандидатов").first.fill("256")
    go(page)
    expect(page.locator("#progress")).to_be_visible(timeout=SLOW_MS)


def test_cancel_ends_the_job_on_the_server_too(page: Page, server: Server) -> None:
    draw_many(page)
    job = page.evaluate("JSON.parse(localStorage.getItem('job')).id")
    page.get_by_role("button", name="Отменить").click()
    expect(page.locator("#status")).to_have_text("Отменено.")
    expect(page.get_by_role("button", name="Поехали")).to_be_enabled()
    page.wait_for_function(
        "id => fetch(`/v1/jobs/${id}`).then(r => r.json()).then(job => job.state === 'cancelled')", arg=job
    )


def test_a_job_survives_a_reload_of_the_page(page: Page) -> None:
    page.get_by_label("Кандидатов").first.fill("64")
    go(page)
    expect(page.locator("#progress")).to_be_visible(timeout=SLOW_MS)
    page.reload()
    expect(page.locator("#results figcaption")).to_have_count(1, timeout=SLOW_MS)
    expect(page.locator("#status")).to_contain_text("Готово")


def test_the_page_speaks_english_too_and_fits_a_phone(page: Page) -> None:
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("tab", name="Caption")).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
