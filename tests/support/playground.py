"""What tests of the playground do on its page."""

import base64
from typing import Any

from playwright.sync_api import Locator, Page, Request, expect

from tests.support.servers import Server

SLOW_MS = 120_000
DONE = {"ru": "Готово", "en": "Done"}


def open_tab(page: Page, name: str) -> Locator:
    """Open the tab that ends with this id: draw, caption …; return its panel."""
    page.locator(f"#tab-{name}").click()
    panel = page.locator(f"#panel-{name}")
    expect(panel).to_be_visible()
    return panel


def go(panel: Locator, *, language: str = "ru") -> None:
    """Press the button of the tab, and wait for the result."""
    panel.locator(".go").click()
    expect(panel.locator(".status")).to_contain_text(DONE[language], timeout=SLOW_MS)
    expect(panel.locator(".error")).to_be_hidden()


def settings(panel: Locator) -> Locator:
    """Open the settings of a tab."""
    details = panel.locator("details.settings")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    return details


def draw(page: Page, prompt: str, *, n: int = 1, candidates: int = 1, seed: int | None = 1) -> Locator:
    """Draw images on the first tab; return its panel."""
    panel = open_tab(page, "draw")
    wait_for_examples(page)
    panel.locator("[name=prompt]").fill(prompt)
    panel.locator("[name=n]").fill(str(n))
    panel.locator("[name=candidates]").fill(str(candidates))
    if seed is not None:
        settings(panel).locator("[name=seed]").fill(str(seed))
    go(panel)
    return panel


def wait_for_examples(page: Page) -> None:
    """Wait until the page knows the model."""
    expect(page.locator("#model")).to_contain_text("64×64")


def sent_bodies(page: Page) -> list[dict[str, Any]]:
    """Return a list that gets the body of every POST from now on."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            bodies.append(request.post_data_json or {})

    page.on("request", note)
    return bodies


def images_of(panel: Locator) -> list[bytes]:
    """Return the files of the images that a tab shows."""
    sources = [one.get_attribute("src") or "" for one in panel.locator(".results figure img").all()]
    return [base64.b64decode(source.partition(",")[2]) for source in sources]


def caption_of(server: Server, image: bytes) -> str:
    """Return the server's caption of an image."""
    reply = server.client.post("/v1/image2text", files={"image": ("image.png", image)})
    return reply.json()["texts"][0]["text"]
