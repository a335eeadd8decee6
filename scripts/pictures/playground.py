"""Screenshots of the playground: a run of which the upper rows are drawn, and the painting of a mask."""

import shutil

from playwright.sync_api import Page, expect, sync_playwright

from scripts.pictures.server import ROOT

PICTURES = ROOT / "docs" / "pictures"
IMAGES, CANDIDATES = 4, 16
SHARE_DRAWN = 0.55
"""Share of the rows that are drawn when the screenshot is taken."""
TIMEOUT_MS = 60_000
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]


def take_screenshots(url: str) -> None:
    """Write the pages as PNG files."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(locale="ru-RU", viewport={"width": 860, "height": 820})
        _draw(page, url)
        _redraw(page, url)
        browser.close()


def _draw(page: Page, url: str) -> None:
    """Start a run, and write the page as it is in the middle of the run."""
    page.goto(f"{url}/#draw?n={IMAGES}&candidates={CANDIDATES}&seed=1")
    panel = page.locator("#panel-draw")
    expect(panel.locator("[aria-pressed=true]").first).to_be_visible(timeout=TIMEOUT_MS)
    expect(panel.locator("[name=n]")).to_have_value(str(IMAGES))
    panel.locator("details.settings summary").click()
    panel.locator(".go").click()
    expect(panel.locator("[data-candidate]")).to_have_count(IMAGES, timeout=TIMEOUT_MS)
    progress = panel.locator("progress").element_handle()
    page.wait_for_function(
        "([node, share]) => node.value / node.max >= share", arg=[progress, SHARE_DRAWN], timeout=TIMEOUT_MS
    )
    page.screenshot(path=PICTURES / "playground.png")


def _redraw(page: Page, url: str) -> None:
    page.goto(f"{url}/#redraw")
    page.reload()
    expect(page.locator("#painted")).to_contain_text("32", timeout=TIMEOUT_MS)
    page.locator("#panel-redraw .go").click()
    expect(page.locator("#panel-redraw figcaption")).to_be_visible(timeout=TIMEOUT_MS)
    page.locator("#panel-redraw .go").blur()
    page.screenshot(path=PICTURES / "playground-redraw.png", full_page=True)
