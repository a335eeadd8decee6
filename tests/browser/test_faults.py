"""Mistakes and refusals in the playground: in the page's language, with the field marked."""

import json
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import DEMO, OpenPage
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
from tests.support.servers import serving


def refused(panel: Locator, text: str, field: str) -> None:
    """Press the button: expect this text and the mark on this field, which has the focus."""
    panel.locator(".go").click()
    expect(panel.locator(".error")).to_have_text(text, timeout=SLOW_MS)
    marked = panel.locator(f"[name={field}][aria-invalid=true]")
    expect(marked).to_be_focused()
    assert marked.get_attribute("aria-errormessage") == panel.locator(".error").get_attribute("id")
    expect(panel.locator("[aria-invalid=true]")).to_have_count(1)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("prompt", "  ", "Заполните поле «Что нарисовать»."),
        ("n", "17", "«Сколько вернуть»: целое число от 1 до 16."),
        ("candidates", "257", "«Кандидатов»: целое число от 1 до 256."),
        ("seed", "1.5", "«Зерно»: целое число от 0 до 9007199254740991."),
        ("temperature", "99", "«Температура»: число от 0.01 до 10."),
        ("top_k", "-1", "«Top-k»: целое число от 0 до 65536."),
        ("top_p", "1.01", "«Top-p»: число от 0 до 1."),
        ("guidance", "7.5", "«Ослабить подсказку»: число от 0 до 1."),
    ],
)
def test_a_wrong_value_is_explained_before_anything_is_sent(
    page: Page, field: str, value: str, text: str
) -> None:
    sent = sent_bodies(page)
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    settings(panel)
    panel.locator(f"[name={field}]").fill(value)
    refused(panel, text, field)
    panel.locator(f"[name={field}]").fill("1")
    expect(panel.locator(".error")).to_be_hidden()
    expect(panel.locator("[aria-invalid]")).to_have_count(0)
    assert sent == []


@pytest.mark.parametrize(
    ("classes", "template", "field", "text"),
    [
        ("кот", "{}", "classes", "Напишите хотя бы два класса, каждый в своей строке."),
        ("кот\nдом\nкот", "{}", "classes", "Класс «кот» указан дважды. Уберите повтор."),
        ("кот\nдом", "это", "template", "Напишите в шаблоне {} ровно один раз: вместо них встанет класс."),
        ("кот\nдом", "{} {}", "template", "Напишите в шаблоне {} ровно один раз: вместо них встанет класс."),
    ],
)
def test_classes_and_template_are_checked(
    page: Page, classes: str, template: str, field: str, text: str
) -> None:
    panel = open_tab(page, "classify")
    wait_for_examples(page)
    panel.locator("[name=classes]").fill(classes)
    settings(panel).locator("[name=template]").fill(template)
    refused(panel, text, field)


def test_a_file_of_another_kind_or_size_is_explained_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    panel = open_tab(page, "caption")
    wait_for_examples(page)
    field = panel.locator("[name=image]")
    (tmp_path / "photo.heic").write_bytes(b"heic")
    field.set_input_files(tmp_path / "photo.heic")
    expect(panel.locator(".error")).to_have_text("photo.heic — не PNG, JPEG или WebP.")
    (tmp_path / "huge.png").write_bytes(bytes(11_950_000))
    field.set_input_files(tmp_path / "huge.png")
    expect(panel.locator(".error")).to_have_text("huge.png — 12 МБ; можно до 10 МБ.")
    page.get_by_role("button", name="English").click()
    expect(panel.locator(".error")).to_have_text("huge.png has 12 MB; at most 10 MB are accepted.")
    go(panel, language="en")


def test_files_that_are_too_large_together(page: Page, tmp_path: Path) -> None:
    panel = open_tab(page, "rank")
    wait_for_examples(page)
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(bytes(9_000_000))
    panel.locator("[name=images]").set_input_files([tmp_path / "one.png", tmp_path / "two.png"])
    expect(panel.locator(".thumbnails li:visible")).to_have_count(2)
    refused(panel, "Вместе файлы слишком велики: 18.1 МБ. Можно до 11.7 МБ.", "images")


def test_a_damaged_file_is_explained(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64)
    for tab in ("caption", "redraw"):
        panel = open_tab(page, tab)
        wait_for_examples(page)
        panel.locator("[name=image]").set_input_files(broken)
        expect(panel.locator(".error")).to_have_text(
            "broken.png не открывается как картинка. Сохраните её заново."
        )


def test_an_image_that_only_the_server_can_refuse(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (2000, 20)).save(tmp_path / "line.png")
    panel = open_tab(page, "caption")
    wait_for_examples(page)
    panel.locator("[name=image]").set_input_files(tmp_path / "line.png")
    refused(
        panel,
        "Размер картинки не подходит: стороны от 16 до 8192 пикселей, до 25 мегапикселей, стороны отличаются "
        "не больше чем в 16 раз.",
        "image",
    )
    page.get_by_role("button", name="English").click()
    expect(panel.locator(".error")).to_contain_text("The image's size does not fit")


def test_a_refusal_without_own_words_names_the_field_by_its_label(page: Page) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator("[name=prompt]").fill("кот\u0007")
    refused(
        panel,
        "«Что нарисовать»: сервер не принял значение. Его ответ: holds the control character U+0007 at "
        "character 3; remove it.",
        "prompt",
    )


def test_a_prompt_in_another_language_gets_a_hint(page: Page) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    hint = panel.get_by_text("Модель обучена на русских текстах")
    expect(hint).to_be_hidden()
    panel.locator("[name=prompt]").fill("a red cat")
    expect(hint).to_be_visible()
    panel.locator("[name=prompt]").fill("кот в стиле pixel art")
    expect(hint).to_be_hidden()


def test_a_full_queue_is_tried_again_after_the_seconds_that_the_server_names(page: Page) -> None:
    """The refusal is the server's own of a full queue; the second try reaches the server."""
    keys: list[str] = []

    def refuse_once(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            route.continue_()
            return
        error = {"message": "The queue is full.", "type": "server_error", "param": None, "code": "queue_full"}
        route.fulfill(status=503, headers={"Retry-After": "2"}, body=json.dumps({"error": error}))

    panel = open_tab(page, "draw")
    wait_for_examples(page)
    page.route("**/v1/jobs", refuse_once)
    panel.locator(".go").click()
    expect(panel.locator(".status")).to_have_text("Очередь заполнена. Попробую снова через 2 с.")
    expect(panel.locator(".status")).to_have_text("Очередь заполнена. Попробую снова через 1 с.")
    expect(panel.locator(".status")).to_contain_text("Готово", timeout=SLOW_MS)
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_server_that_stops_and_starts_again_finishes_the_job(open_page: OpenPage, tmp_path: Path) -> None:
    with serving(DEMO, tmp_path) as first:
        port = first.url.rpartition(":")[2]
        with open_page(first.url) as page:
            panel = open_tab(page, "draw")
            wait_for_examples(page)
            panel.locator("[name=candidates]").fill("256")
            panel.locator(".go").click()
            expect(panel.locator("progress")).to_be_visible(timeout=SLOW_MS)
            first.process.kill()
            first.process.wait()
            expect(panel.locator(".status")).to_have_text("Связь прервалась, пробую снова…", timeout=SLOW_MS)
            with serving(DEMO, tmp_path, "--port", port):
                expect(panel.locator(".status")).to_contain_text("Готово", timeout=SLOW_MS)
                expect(panel.locator(".results figcaption")).to_have_count(1)


def test_a_server_that_does_not_answer_is_said_so(page: Page) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    page.context.set_offline(True)
    panel.locator(".go").click()
    expect(panel.locator(".error")).to_have_text(
        "Сервер не отвечает. Проверьте, что он запущен, и попробуйте ещё раз."
    )
    page.context.set_offline(False)
    go(panel)


def test_a_mistake_in_the_form_keeps_the_last_result(page: Page) -> None:
    panel = draw(page, "сова")
    drawn = images_of(panel)
    panel.locator("[name=prompt]").fill("")
    refused(panel, "Заполните поле «Что нарисовать».", "prompt")
    assert images_of(panel) == drawn


def test_what_the_model_could_not_read_is_said_in_the_language_of_the_page(page: Page) -> None:
    panel = draw(page, "кот и пёс " * 40 + "漢字")
    warnings = panel.locator(".warnings li")
    expect(warnings.first).to_have_text(
        "«Что нарисовать»: текст длиннее, чем читает модель. Она прочла только начало. Сократите его."
    )
    page.get_by_role("button", name="English").click()
    expect(warnings.first).to_have_text(
        "“What to draw (in Russian)” is longer than the model reads. It read the beginning only. "
        "Shorten the text."
    )
    panel = open_tab(page, "rank")
    panel.get_by_label("texts by an image").check()
    panel.locator("[name=texts]").fill("кот\n漢字 кот")
    go(panel, language="en")
    expect(panel.locator(".warnings li")).to_have_text(
        "“Texts (in Russian), one per line” has characters that the model does not know. "
        "It reads all of them as one. Replace them."
    )
    panel.locator("[name=texts]").fill("кот\nдом")
    go(panel, language="en")
    expect(panel.locator(".warnings")).to_be_hidden()
