"""The pages for everyone: axe finds nothing, texts are in one language, nothing is wider than the window."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.support.playground import go, open_tab, settings, wait_for_examples
from tests.support.servers import Server

TABS = ("draw", "caption", "classify", "rank", "continue", "redraw")
WIDTHS = (1440, 390)
WITH_RESULTS = (("light", 1440), ("dark", 390))
"""The other combinations have the same colours and widths, so these are enough for the slow parts."""
CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)


def violations(page: Page) -> list[str]:
    """Return what axe finds, of every impact, one line for each node."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def is_too_wide(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_tab(open_page: OpenPage, server: Server, scheme: str, width: int) -> None:
    window = {"width": width, "height": 900}
    has_results = (scheme, width) in WITH_RESULTS
    with open_page(server.url, color_scheme=scheme, viewport=window) as page:
        wait_for_examples(page)
        for name in TABS:
            panel = open_tab(page, name)
            if panel.locator("details.settings").count():
                settings(panel)
            if has_results:
                go(panel)
                panel.locator("details.code summary").click()
                expect(panel.locator("pre")).to_contain_text("curl")
            assert violations(page) == [], name
            assert not is_too_wide(page), name
        if not has_results:
            return
        page.locator("#history summary").click()
        panel = open_tab(page, "draw")
        panel.locator("[name=prompt]").fill("")
        panel.locator(".go").click()
        expect(panel.locator(".error")).to_be_visible()
        assert violations(page) == []
        panel.locator(".enlarge").first.click()
        assert violations(page) == []


def test_the_page_with_a_key_field_has_no_violations(open_page: OpenPage, server: Server) -> None:
    for scheme in ("light", "dark"):
        with open_page(server.url, color_scheme=scheme) as page:
            page.evaluate(
                "document.getElementById('key').hidden = document.getElementById('key-set').hidden = false"
            )
            assert violations(page) == []


# The contrast of borders is not among the rules of axe (WCAG 1.4.11).
CONTRAST = """selector => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const page = light(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll(selector)].filter((node) => node.checkVisibility()).map((node) => {
        const border = light(getComputedStyle(node).borderTopColor);
        return (Math.max(border, page) + 0.05) / (Math.min(border, page) + 0.05);
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_borders_of_fields_and_buttons_are_visible(open_page: OpenPage, server: Server, scheme: str) -> None:
    with open_page(server.url, color_scheme=scheme) as page:
        wait_for_examples(page)
        for name in TABS:
            open_tab(page, name)
            ratios = page.evaluate(
                CONTRAST, "input:not([type=file]), textarea, button:not([role=tab]), .button, canvas"
            )
            assert len(ratios) >= 3
            assert min(ratios) >= 3, name


def test_the_language_switch_changes_every_text_that_is_shown(page: Page, server: Server) -> None:
    wait_for_examples(page)
    for name in TABS:
        panel = open_tab(page, name)
        if panel.locator("details.settings").count():
            settings(panel)
        go(panel)
        panel.locator("details.code summary").click()
    panel = open_tab(page, "draw")
    panel.locator("[name=candidates]").fill("0")
    panel.locator(".go").click()
    expect(panel.locator(".error")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(panel.locator(".error")).to_have_text("“Candidates” must be an integer between 1 and 256.")
    assert page.title() == "Draw · RuDOLPH"
    assert page.evaluate("document.documentElement.lang") == "en"
    # What a person or the model wrote stays Russian, and says so or is a value.
    left = page.evaluate(
        """() => {
        const own = '[lang=ru], code, #history-list, .enlarge, #language';
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const found = [];
        while (texts.nextNode()) {
            const parent = texts.currentNode.parentElement;
            if (!parent.closest(own + ', template, textarea, noscript')) found.push(texts.currentNode.data);
        }
        for (const node of document.querySelectorAll('[aria-label], [placeholder], [title], [alt]')) {
            if (node.closest(own)) continue;
            const names = ['aria-label', 'placeholder', 'title', 'alt'];
            for (const name of names) found.push(node.getAttribute(name) ?? '');
        }
        return found;
    }"""
    )
    assert [text for text in left if CYRILLIC.search(text.replace("{} на синем фоне", ""))] == []


@pytest.mark.parametrize("width", [320, 360, 390])
def test_every_tab_fits_a_phone(open_page: OpenPage, server: Server, width: int) -> None:
    with open_page(server.url, viewport={"width": width, "height": 740}, has_touch=True) as page:
        wait_for_examples(page)
        for name in TABS:
            panel = open_tab(page, name)
            if panel.locator("details.settings").count():
                settings(panel)
            panel.locator("details.code summary").click()
            assert not is_too_wide(page), name


def test_both_languages_have_the_same_texts(page: Page) -> None:
    keys = page.evaluate(
        """async () => {
        const { RU } = await import('/playground/words_ru.js');
        const { EN } = await import('/playground/words_en.js');
        const shape = (words) => Object.fromEntries(
            Object.entries(words).map(([key, text]) => [key, (text.match(/\\{\\w+\\}/g) ?? []).sort()]));
        return [shape(RU), shape(EN)];
    }"""
    )
    assert keys[0] == keys[1]
    assert all(keys[0])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_reference(
    open_page: OpenPage, server: Server, scheme: str, width: int
) -> None:
    window = {"width": width, "height": 900}
    with open_page(f"{server.url}/docs", color_scheme=scheme, viewport=window) as page:
        expect(page.locator("#routes .route").first).to_be_visible()
        assert violations(page) == []
        if (scheme, width) not in WITH_RESULTS:
            return
        # Not all routes: axe needs a minute for the whole page.
        for name in ("text2image", "classify", "submit_job", "schema-JobReply"):
            page.locator(f"#{name} summary").first.click()
        page.locator("#text2image .send").click()
        expect(page.locator("#text2image [role=status]")).to_contain_text("200", timeout=60_000)
        page.locator("#classify select").select_option("multipart/form-data")
        assert violations(page) == []
        assert not is_too_wide(page)
