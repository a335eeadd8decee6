"""The code that the playground shows: each line runs when it is pasted, and does what the button does."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import DEMO, OpenPage
from tests.support.playground import go, images_of, open_tab, settings, wait_for_examples
from tests.support.programs import require
from tests.support.servers import Server, serving

KEY = "a-key-that-is-long-enough"


def code(panel: Locator, language: str) -> str:
    details = panel.locator("details.code")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    details.locator(f"[data-language={language}]").click()
    words = {"curl": "curl", "python": "httpx.post"}
    expect(details.locator("pre")).to_contain_text(words[language])
    return details.locator("pre").inner_text()


def run_curl(text: str, folder: Path, **environment: str) -> str:
    require("curl")
    done = subprocess.run(
        ["sh", "-ec", text],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_python(text: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_drawing_one_image(page: Page, tmp_path: Path) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    prompt = """сова 'на' "зелёном" $HOME `фоне` \\ !"""
    panel.locator("[name=prompt]").fill(prompt)
    panel.locator("[name=candidates]").fill("2")
    assert "seed" not in code(panel, "curl")
    go(panel)
    run_curl(code(panel, "curl"), tmp_path)
    assert [(tmp_path / "picture.png").read_bytes()] == images_of(panel)
    run_python(code(panel, "python"), tmp_path)
    assert [(tmp_path / "picture-1.png").read_bytes()] == images_of(panel)


def test_drawing_several_images(page: Page, tmp_path: Path) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator("[name=n]").fill("2")
    settings(panel).locator("[name=temperature]").fill("0.6")
    go(panel)
    run_curl(code(panel, "curl"), tmp_path)
    images = json.loads((tmp_path / "pictures.json").read_text())["images"]
    assert [base64.b64decode(image["b64_json"]) for image in images] == images_of(panel)
    run_python(code(panel, "python"), tmp_path)
    assert [(tmp_path / f"picture-{index}.png").read_bytes() for index in (1, 2)] == images_of(panel)


def test_the_code_follows_the_form(page: Page) -> None:
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    assert '"candidates":8' in code(panel, "curl")
    panel.locator("[name=candidates]").fill("9")
    expect(panel.locator("pre")).to_contain_text('"candidates":9')
    panel.locator("[name=prompt]").fill("")
    expect(panel.locator("pre")).to_have_text("# Заполните поле «Что нарисовать».")


FILE_NAME = """моя "кошка", $HOME; 'x'\\.png"""


@pytest.mark.parametrize("is_example", [True, False])
def test_describing(page: Page, tmp_path: Path, tiny_v2: Path, is_example: bool) -> None:
    panel = open_tab(page, "caption")
    wait_for_examples(page)
    if not is_example:
        (tmp_path / FILE_NAME).write_bytes((tiny_v2 / "picture0.png").read_bytes())
        panel.locator("[name=image]").set_input_files(tmp_path / FILE_NAME)
    go(panel)
    texts = panel.locator(".results li > span").all_inner_texts()
    reply = json.loads(run_curl(code(panel, "curl"), tmp_path))
    assert [text["text"] for text in reply["texts"]] == texts
    assert run_python(code(panel, "python"), tmp_path).splitlines() == texts


@pytest.mark.parametrize("is_example", [True, False])
def test_naming(page: Page, tmp_path: Path, tiny_v2: Path, is_example: bool) -> None:
    panel = open_tab(page, "classify")
    wait_for_examples(page)
    if not is_example:
        (tmp_path / FILE_NAME).write_bytes((tiny_v2 / "picture0.png").read_bytes())
        panel.locator("[name=image]").set_input_files(tmp_path / FILE_NAME)
        panel.locator("[name=classes]").fill("@кот;type=x\n<дом")
    go(panel)
    best = panel.locator(".best td").nth(1).inner_text()
    assert json.loads(run_curl(code(panel, "curl"), tmp_path))["class"] == best
    assert run_python(code(panel, "python"), tmp_path).strip() == best


@pytest.mark.parametrize("direction", ["rank_images", "rank_texts"])
def test_ranking(page: Page, tmp_path: Path, direction: str) -> None:
    panel = open_tab(page, "rank")
    wait_for_examples(page)
    panel.locator(f"[value={direction}]").check()
    go(panel)
    reply = json.loads(run_curl(code(panel, "curl"), tmp_path))
    order = [one["index"] for one in reply["ranking"]]
    assert sorted(order) == [0, 1, 2]
    if direction == "rank_texts":
        texts = panel.locator("[name=texts]").input_value().split("\n")
        assert panel.locator("tbody td:nth-child(2)").all_inner_texts() == [texts[index] for index in order]
    assert [one["index"] for one in eval(run_python(code(panel, "python"), tmp_path))] == order


def test_continuing(page: Page, tmp_path: Path) -> None:
    panel = open_tab(page, "continue")
    wait_for_examples(page)
    go(panel)
    texts = panel.locator(".results li > span").all_inner_texts()
    reply = json.loads(run_curl(code(panel, "curl"), tmp_path))
    assert [text["text"] for text in reply["texts"]] == texts
    assert run_python(code(panel, "python"), tmp_path).splitlines() == texts


@pytest.mark.parametrize("size", [None, (64, 64), (90, 70)])
def test_redrawing(page: Page, tmp_path: Path, size: tuple[int, int] | None) -> None:
    panel = open_tab(page, "redraw")
    wait_for_examples(page)
    if size:
        Image.effect_noise(size, 60).convert("RGB").save(tmp_path / FILE_NAME)
        panel.locator("[name=image]").set_input_files(tmp_path / FILE_NAME)
        expect(page.locator("#painted")).to_have_text("Закрашено клеток: 0 из 64")
        page.locator("#canvas").press("Space")
    go(panel)
    run_curl(code(panel, "curl"), tmp_path)
    assert [(tmp_path / "picture.png").read_bytes()] == images_of(panel)
    run_python(code(panel, "python"), tmp_path)
    assert [(tmp_path / "picture-1.png").read_bytes()] == images_of(panel)


def test_copying_with_and_without_a_clipboard(page: Page, server: Server) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    panel = open_tab(page, "continue")
    wait_for_examples(page)
    text = code(panel, "curl")
    copy = panel.locator(".copy")
    copy.click()
    expect(copy).to_have_text("Скопировано")
    assert page.evaluate("navigator.clipboard.readText()") == text
    expect(copy).to_have_text("Скопировать")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    copy.click()
    expect(copy).to_have_text("Выделено, нажмите Ctrl+C")
    assert page.evaluate("getSelection().toString()") == text


# ---- a server with keys ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(DEMO, tmp_path_factory.mktemp("closed"), RUDOLPH_API_KEYS=f"anna={KEY}") as running:
        yield running


def enter(page: Page, value: str) -> None:
    page.get_by_label("Ключ API").fill(value)
    page.get_by_role("button", name="Сохранить ключ").click()


def test_a_key_opens_the_playground(closed: Server, open_page: OpenPage, tmp_path: Path) -> None:
    with open_page(closed.url) as page:
        expect(page.get_by_text("Этому серверу нужен ключ API.")).to_be_visible()
        enter(page, "wrong-key-wrong-key-wrong")
        expect(page.get_by_text("Этому серверу нужен ключ API.")).to_be_visible()
        panel = open_tab(page, "continue")
        panel.locator(".go").click()
        expect(panel.locator(".error")).to_contain_text("Этот ключ API неизвестен.")
        enter(page, KEY)
        wait_for_examples(page)
        expect(panel.locator(".error")).to_be_hidden()
        go(panel)
        texts = panel.locator(".results li > span").all_inner_texts()
        line = code(panel, "curl")
        assert KEY not in line
        reply = json.loads(run_curl(line, tmp_path, RUDOLPH_API_KEY=KEY))
        assert [text["text"] for text in reply["texts"]] == texts
        python = run_python(code(panel, "python"), tmp_path, RUDOLPH_API_KEY=KEY)
        assert python.splitlines() == texts
        page.reload()
        wait_for_examples(page)
        assert page.evaluate(
            "[sessionStorage.length > 0, JSON.stringify(localStorage).includes('a-key')]"
        ) == [True, False]
        page.get_by_role("button", name="Забыть ключ").click()
        expect(page.get_by_text("Этому серверу нужен ключ API.")).to_be_visible()
        assert "rudolph-key" not in page.evaluate("Object.keys(sessionStorage)")


def test_progress_and_images_also_arrive_with_a_key(closed: Server, open_page: OpenPage) -> None:
    with open_page(closed.url) as page:
        enter(page, KEY)
        wait_for_examples(page)
        panel = open_tab(page, "draw")
        panel.locator("[name=candidates]").fill("64")
        panel.locator(".go").click()
        expect(panel.locator("progress")).to_be_visible(timeout=60_000)
        expect(panel.locator("[data-candidate]").first).to_be_attached()
        expect(panel.locator(".status")).to_contain_text("Готово", timeout=120_000)
