"""A real Chromium against a real server on the demo checkpoint: what a person sees after `make serve`."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.programs import require
from tests.support.servers import Server, serving

DEMO = Path(__file__).parents[2] / "checkpoints" / "demo"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
WINDOW = {"width": 900, "height": 900}


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(DEMO, tmp_path_factory.mktemp("playground")) as running:
        yield running


# Not for the session: while Playwright is open, its event loop runs in this thread, and no other can.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=require("chromium"), args=ARGUMENTS)
        yield chromium
        chromium.close()


OpenPage = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def open_page(browser: Browser) -> OpenPage:
    """Open an address in a fresh browser profile, in Russian by default. Any script error fails the test."""

    defaults: dict[str, Any] = {"locale": "ru-RU", "viewport": WINDOW}

    @contextmanager
    def opened(url: str, **options: Any) -> Generator[Page]:
        context = browser.new_context(**(defaults | options))
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        # Shown if the test fails: a script that did not load leaves the page without words.
        page.on("pageerror", lambda error: print("error of the page:", error))
        page.on("requestfailed", lambda request: print("not loaded:", request.url, request.failure))
        page.on("console", lambda line: faults.append(line.text) if "Content Security" in line.text else None)
        page.goto(url)
        yield page
        if folder := os.environ.get("SCREENSHOTS"):
            name = os.environ["PYTEST_CURRENT_TEST"].rsplit("::", 1)[1].split(" ")[0].replace("/", "-")
            page.screenshot(path=f"{folder}/{name}.png", full_page=True)
        context.close()
        assert faults == []

    return opened


@pytest.fixture
def page(open_page: OpenPage, server: Server) -> Iterator[Page]:
    """The playground in Russian."""
    with open_page(server.url) as page:
        yield page
