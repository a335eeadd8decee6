"""The page /docs: every field is shown, and every route can be tried."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import DEMO, OpenPage
from tests.support.programs import require
from tests.support.servers import Server, serving

KEY = "a-key-that-is-long-enough"


@pytest.fixture
def docs(open_page: OpenPage, server: Server) -> Iterator[Page]:
    with open_page(f"{server.url}/docs") as page:
        expect(page.locator("#routes .route").first).to_be_visible()
        yield page


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    return server.client.get("/openapi.json").json()


def open_route(page: Page, name: str) -> Locator:
    route = page.locator(f"#{name}")
    route.locator("summary").first.click()
    return route


def send(route: Locator) -> tuple[str, str]:
    """Press Send; return the status line and the reply's text."""
    route.get_by_role("button", name="Send").click()
    status = route.locator("[role=status]")
    expect(status).to_contain_text("·", timeout=60_000)
    reply = route.get_by_role("group", name="Reply")
    return status.inner_text(), reply.inner_text() if reply.is_visible() else ""


def test_every_field_of_every_schema_is_shown(docs: Page, document: dict[str, Any]) -> None:
    shown = docs.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('details[id^=schema-]')].map((box) => [
            box.id.slice('schema-'.length),
            [...box.querySelectorAll('td:first-child code')].map((code) => code.textContent)]))"""
    )
    assert set(shown) == set(document["components"]["schemas"])
    for name, schema in document["components"]["schemas"].items():
        assert set(schema.get("properties", {})) <= set(shown[name]), name


def test_fields_of_nested_objects_are_in_the_table_of_their_route(docs: Page) -> None:
    route = open_route(docs, "text2image")
    fields = route.locator("td:first-child code").all_inner_texts()
    expected = {"images[].b64_json", "images[].ppl_text", "timings.queue_ms", "usage.total_tokens"}
    assert expected | {"image_prompt.borders.up", "image_prompt.mask"} <= set(fields)
    fields = open_route(docs, "respond").locator("td:first-child").all_inner_texts()
    texts = {" ".join(text.split()) for text in fields}
    kinds = {"input[].result * of DrawnImage", "output[].seed of ImageCall", "tools[].action"}
    assert {"input[].content[].image_url of InputMessage", *kinds} <= texts
    jobs = open_route(docs, "submit_job").inner_text()
    assert 'task is "classify", input is ClassifyBody' in jobs


def test_every_field_and_parameter_in_a_table_has_a_meaning(docs: Page) -> None:
    unexplained = docs.locator("tbody tr").evaluate_all(
        "rows => [rows.length, rows.filter((row) => !row.cells[3].textContent).map((row) => row.textContent)]"
    )
    assert unexplained[0] > 1000
    assert unexplained[1] == []


def test_every_route_shows_a_real_reply(docs: Page, document: dict[str, Any]) -> None:
    """Of an image, a file. A task that the bundled checkpoint cannot do shows its refusal."""
    for methods in document["paths"].values():
        for operation in methods.values():
            name = operation["operationId"]
            route = open_route(docs, name)
            content = operation["responses"].get("200", {}).get("content", {})
            if set(content) - {"image/png", "image/jpeg", "image/webp"}:
                label = route.locator("h4", has_text="Reply").first
                after = label.locator("xpath=following-sibling::pre[starts-with(@aria-label, 'Example')]")
                assert after.first.inner_text(), name
            docs.locator(f"#{name} summary").first.click()
    chat = open_route(docs, "chat")
    stream = chat.get_by_role("group", name="Example").last.inner_text()
    assert stream.startswith("data: {")
    assert stream.endswith("[DONE]")
    refusal = open_route(docs, "answer").get_by_role("group", name="Example of 409").inner_text()
    assert json.loads(refusal)["error"]["code"] == "unsupported_task"


def test_the_form_of_a_route_is_one_click_away(open_page: OpenPage, server: Server) -> None:
    with open_page(f"{server.url}/docs", viewport={"width": 390, "height": 844}) as page:
        route = open_route(page, "text2image")
        multipart = route.locator("details", has_text="multipart/form-data")
        expect(multipart).not_to_have_attribute("open", "")
        send_button = route.get_by_role("button", name="Send")
        expect(send_button).not_to_be_in_viewport()
        route.get_by_role("link", name="Try it").click()
        expect(page.locator("#text2image-try")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    with open_page(f"{server.url}/docs#chat-try") as page:
        expect(page.locator("#chat-try")).to_be_in_viewport()


def test_a_reply_has_an_example_of_a_real_run(docs: Page) -> None:
    example = open_route(docs, "classify").get_by_role("group", name="Example").last.inner_text()
    reply = json.loads(example)
    assert reply["class"] in ("кошка", "клубника")
    assert [one["class"] for one in reply["scores"]] == ["кошка", "клубника"]


def test_ranges_are_exact(docs: Page) -> None:
    text = open_route(docs, "text2image").inner_text()
    assert "0 – 9223372036854775807" in text
    assert "9223372036854776000" not in docs.content()


def test_code_in_descriptions_is_shown_as_code(docs: Page) -> None:
    assert "`" not in docs.locator("body").inner_text()
    docs.evaluate("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
    tables = docs.locator("td, dd, p").all_inner_texts()
    assert not [text for text in tables if "`" in text]


def test_a_route_and_a_schema_have_addresses(open_page: OpenPage, server: Server) -> None:
    for name in ("classify", "schema-ImageItem", "errors"):
        with open_page(f"{server.url}/docs#{name}") as page:
            target = page.locator(f"#{name}")
            expect(target).to_be_in_viewport()
            if name != "errors":
                expect(target).to_have_attribute("open", "")
    with open_page(f"{server.url}/docs") as page:
        route = open_route(page, "text2image")
        route.get_by_role("link", name="ImageItem").first.click()
        expect(page.locator("#schema-ImageItem")).to_be_in_viewport()
        expect(page.locator("#schema-ImageItem table")).to_be_visible()


def test_search_finds_routes_and_schemas_by_field(docs: Page) -> None:
    docs.get_by_label("Search").fill("guidance")
    shown = docs.locator(".route:visible").evaluate_all("boxes => boxes.map((box) => box.id)")
    assert "text2image" in shown
    assert "schema-Text2ImageBody" in shown
    assert "classify" not in shown
    docs.get_by_label("Search").fill("nothing has this name")
    expect(docs.get_by_text("Nothing found.")).to_be_visible()
    docs.get_by_label("Search").fill("")
    assert docs.locator(".route:visible").count() > len(shown)


def test_every_example_can_be_sent_as_it_is(docs: Page, document: dict[str, Any]) -> None:
    """The bundled checkpoint answers no questions; every other example is accepted."""
    names = [
        details["operationId"]
        for path in document["paths"].values()
        for method, details in path.items()
        if method == "post" and "application/json" in details.get("requestBody", {}).get("content", {})
    ]
    assert len(names) >= 11
    for name in names:
        status, text = send(open_route(docs, name))
        assert status.split()[0] == (
            "409"
            if name in ("answer", "hf_visual_question_answering")
            else "202"
            if name == "submit_job"
            else "200"
        ), (name, text)
        docs.locator(f"#{name} summary").first.click()


def test_a_reply_shows_its_images_and_short_texts(docs: Page) -> None:
    route = open_route(docs, "text2image")
    _, text = send(route)
    image = route.locator(".images img")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    assert "characters)" in text
    assert len(text) < 2000
    assert json.loads(text)["images"][0]["seed"] == 7


def test_headers_and_paths_are_fields(docs: Page, server: Server) -> None:
    route = open_route(docs, "text2text")
    route.locator("input[name=Prefer]").fill("respond-async")
    status, text = send(route)
    assert status.startswith("202")
    job = json.loads(text)["id"]
    reading = open_route(docs, "get_job")
    reading.locator("input[name=id]").fill(job)
    status, text = send(reading)
    assert (status[:3], json.loads(text)["id"]) == ("200", job)
    reading.locator("input[name=id]").fill("../x y")
    assert send(reading)[0].startswith("404")


def test_a_form_with_a_file_is_sent_as_multipart(docs: Page, tiny_v2: Path, tmp_path: Path) -> None:
    route = open_route(docs, "classify")
    route.locator("select").select_option("multipart/form-data")
    (tmp_path / "my image.png").write_bytes((tiny_v2 / "picture0.png").read_bytes())
    route.locator("input[type=file]").set_input_files(tmp_path / "my image.png")
    route.locator("textarea[name=classes]").fill("дом\nкот\nлес")
    status, text = send(route)
    assert status.startswith("200"), text
    assert [one["class"] for one in json.loads(text)["scores"]] == ["дом", "кот", "лес"]
    line = route.locator("pre").filter(has_text="curl ").inner_text()
    require("curl")
    done = subprocess.run(["sh", "-ec", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["label"] == json.loads(text)["label"]


def test_the_curl_line_is_the_request(docs: Page, tmp_path: Path) -> None:
    route = open_route(docs, "text2image")
    body = {"prompt": "кот 'на' $HOME", "seed": 9007199254740993, "n": 1}
    route.locator("textarea").fill(json.dumps(body, ensure_ascii=False))
    route.locator("input[name=Prefer]").fill("wait=1")
    status, text = send(route)
    assert status.startswith("200"), text
    assert '"seed": 9007199254740993' in text
    line = route.locator("pre").filter(has_text="curl ").inner_text()
    require("curl")
    done = subprocess.run(["sh", "-ec", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["images"][0]["seed"] == 9007199254740993


def test_a_stream_is_shown_while_it_arrives_and_can_be_stopped(docs: Page) -> None:
    route = open_route(docs, "text2image")
    body = {"prompt": "сова", "candidates": 256, "stream": True}
    route.locator("textarea").fill(json.dumps(body, ensure_ascii=False))
    route.get_by_role("button", name="Send").click()
    expect(route.get_by_role("group", name="Reply")).to_contain_text("event: progress", timeout=60_000)
    route.get_by_role("button", name="Stop").click()
    expect(route.locator("[role=status]")).to_have_text("200 OK stopped")


def test_a_mistake_is_sent_and_its_error_is_shown(docs: Page) -> None:
    route = open_route(docs, "text2text")
    route.locator("textarea").fill('{"prompt": ')
    status, text = send(route)
    assert status.startswith("400")
    assert json.loads(text)["error"]["code"] == "invalid_json"


def test_a_key_is_kept_for_send_and_not_in_the_curl_line(
    open_page: OpenPage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        serving(DEMO, tmp_path_factory.mktemp("closed"), RUDOLPH_API_KEYS=f"anna={KEY}") as closed,
        open_page(f"{closed.url}/docs") as page,
    ):
        route = open_route(page, "list_models")
        assert send(route)[0].startswith("401")
        page.get_by_label("API key").fill(KEY)
        assert send(route)[0].startswith("200")
        line = route.locator("pre").filter(has_text="curl ").inner_text()
        assert '-H "Authorization: Bearer $RUDOLPH_API_KEY"' in line
        assert KEY not in line
        page.reload()
        assert send(open_route(page, "list_models"))[0].startswith("200")
