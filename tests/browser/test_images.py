"""Images in the playground: choosing, dropping and pasting them, the uses of a result, and the mask."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.support.playground import (
    caption_of,
    draw,
    go,
    images_of,
    open_tab,
    sent_bodies,
    settings,
    wait_for_examples,
)
from tests.support.servers import Server

# Files reach the page as a person's drop or paste does: as an event with a list of files.
DROP = """([kind, files]) => {
    const data = new DataTransfer();
    for (const [name, type, content] of files) {
        const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
        data.items.add(new File([bytes], name, { type }));
    }
    const event = kind === 'paste'
        ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
}"""


def give(page: Page, kind: str, *files: Path) -> None:
    content = [[file.name, "image/png", base64.b64encode(file.read_bytes()).decode()] for file in files]
    page.evaluate(DROP, [kind, content])


def thumbnails(panel: Locator) -> Locator:
    return panel.locator(".thumbnails li:visible")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_file_can_be_dropped_and_pasted_anywhere(page: Page, tiny_v2: Path, kind: str) -> None:
    wait_for_examples(page)
    give(page, kind, tiny_v2 / "picture1.png")
    panel = page.locator("#panel-caption")
    expect(panel).to_be_visible()
    expect(thumbnails(panel)).to_have_text(["picture1.png×"])
    panel = open_tab(page, "rank")
    give(page, kind, tiny_v2 / "picture0.png", tiny_v2 / "picture2.png")
    expect(thumbnails(panel)).to_have_text(["picture0.png×", "picture2.png×"])
    give(page, kind, tiny_v2 / "picture1.png")
    expect(thumbnails(panel)).to_have_count(3)
    panel.get_by_label("Убрать picture0.png").click()
    expect(thumbnails(panel)).to_have_text(["picture2.png×", "picture1.png×"])


def test_only_one_file_is_taken_where_one_is_needed(page: Page, tiny_v2: Path) -> None:
    panel = open_tab(page, "classify")
    wait_for_examples(page)
    give(page, "drop", tiny_v2 / "picture0.png", tiny_v2 / "picture1.png")
    expect(thumbnails(panel)).to_have_text(["picture0.png×"])
    expect(panel.locator(".error")).to_have_text("Здесь нужна одна картинка; взята первая.")


def test_a_result_can_be_downloaded(page: Page) -> None:
    panel = draw(page, "сова на синем / фоне", seed=3)
    with page.expect_download() as download:
        panel.get_by_role("link", name="Скачать").click()
    assert download.value.suggested_filename == "сова-на-синем-фоне-3.png"
    assert Path(download.value.path()).read_bytes() == images_of(panel)[0]


def test_an_image_can_be_drawn_again_by_its_seed(page: Page) -> None:
    panel = draw(page, "кошка на синем фоне", n=3, candidates=6, seed=None)
    best = images_of(panel)
    panel.locator("[data-action=again]").nth(1).click()
    expect(panel.locator(".results figure")).to_have_count(1)
    expect(panel.locator(".status")).to_contain_text("Готово")
    assert images_of(panel) == [best[1]]
    assert panel.locator("[name=seed]").is_visible()


def test_a_result_can_be_described_and_redrawn(page: Page, server: Server) -> None:
    panel = draw(page, "сова на зелёном фоне", candidates=8, seed=1)
    drawn = images_of(panel)
    panel.get_by_role("button", name="Описать").click()
    caption = page.locator("#panel-caption")
    expect(thumbnails(caption)).to_have_text(["результат×"])
    go(caption)
    expect(caption.locator(".results li").first).to_contain_text("сова на зеленом фоне")
    open_tab(page, "draw")
    panel.get_by_role("button", name="Перерисовать").click()
    redraw = page.locator("#panel-redraw")
    expect(redraw.locator("#canvas")).to_be_visible()
    redraw.locator("#canvas").press("Space")
    redraw.locator("[name=prompt]").fill("сова на зелёном фоне")
    sent = sent_bodies(page)
    go(redraw)
    image = sent[0]["input"]["image_prompt"]["image"]
    assert [base64.b64decode(image.partition(",")[2])] == drawn
    assert caption_of(server, images_of(redraw)[0]) == "сова на зеленом фоне"


def test_a_result_is_shown_in_full_size(page: Page) -> None:
    panel = draw(page, "сова")
    enlarge = panel.get_by_role("button", name="Увеличить: сова")
    enlarge.click()
    viewer = page.get_by_role("dialog", name="Картинка целиком")
    expect(viewer.locator("img")).to_have_attribute("alt", "сова")
    box = viewer.locator("img").bounding_box()
    assert box is not None
    assert box["height"] > 600
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(enlarge).to_be_focused()
    enlarge.click()
    viewer.get_by_role("button", name="Закрыть").click()
    expect(viewer).to_be_hidden()


# ---- the mask --------------------------------------------------------------------------------


@pytest.fixture
def redraw(page: Page, tiny_v2: Path) -> Locator:
    panel = open_tab(page, "redraw")
    wait_for_examples(page)
    panel.locator("[name=image]").set_input_files(tiny_v2 / "prompt_picture.png")
    expect(page.locator("#painted")).to_have_text("Закрашено клеток: 0 из 64")
    return panel


def painted(page: Page) -> int:
    return int(page.locator("#painted").inner_text().split()[2])


def stroke(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a line from cell to cell with two mouse events, as a fast hand does."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    (x0, y0), (x1, y1) = (
        (box["x"] + (x + 0.5) * box["width"] / 8, box["y"] + (y + 0.5) * box["height"] / 8)
        for x, y in (start, end)
    )
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1)
    page.mouse.up()


def test_a_fast_stroke_paints_all_cells_between(page: Page, redraw: Locator) -> None:
    page.locator("#canvas").scroll_into_view_if_needed()
    stroke(page, (0, 3), (7, 3))
    assert painted(page) == 8
    stroke(page, (0, 0), (7, 7))
    assert painted(page) == 8 + 8 - 1


def test_brush_size_eraser_undo_and_clear(page: Page, redraw: Locator) -> None:
    page.locator("#canvas").scroll_into_view_if_needed()
    stroke(page, (1, 1), (1, 1))
    assert painted(page) == 1
    page.locator("#brush").fill("3")
    stroke(page, (5, 5), (5, 5))
    assert painted(page) == 1 + 9
    redraw.get_by_label("Ластик").check()
    stroke(page, (5, 5), (5, 5))
    assert painted(page) == 1
    redraw.get_by_role("button", name="Отменить мазок").click()
    assert painted(page) == 10
    redraw.get_by_role("button", name="Отменить мазок").click()
    assert painted(page) == 1
    redraw.get_by_role("button", name="Стереть всё").click()
    assert painted(page) == 0
    redraw.get_by_role("button", name="Отменить мазок").click()
    assert painted(page) == 1


def test_painting_with_the_keyboard(page: Page, redraw: Locator) -> None:
    redraw.locator(".go").click()
    expect(redraw.locator(".error")).to_have_text("Ничего не закрашено: отметьте, что нарисовать заново.")
    expect(page.locator("#canvas")).to_be_focused()
    for key in ("ArrowLeft", "Space", "ArrowUp", "Space"):
        page.keyboard.press(key)
    expect(redraw.locator(".error")).to_be_hidden()
    assert painted(page) == 2
    go(redraw)
    expect(redraw.locator(".results figure")).to_have_count(1)


def test_the_painted_cells_are_those_that_the_server_redraws(
    page: Page, redraw: Locator, tmp_path: Path
) -> None:
    """A photograph that is neither square nor a multiple of the cells, painted in one column."""
    photo = Image.new("RGB", (301, 200), "white")
    photo.paste("red", (0, 0, 150, 200))
    photo.save(tmp_path / "photo.png")
    redraw.locator("[name=image]").set_input_files(tmp_path / "photo.png")
    expect(page.locator("#painted")).to_have_text("Закрашено клеток: 0 из 64")
    page.locator("#canvas").scroll_into_view_if_needed()
    stroke(page, (2, 0), (2, 7))
    with page.expect_request("**/v1/jobs") as request:
        redraw.locator(".go").click()
    sent = (request.value.post_data_json or {})["input"]["image_prompt"]
    image, mask = (
        Image.open(io.BytesIO(base64.b64decode(sent[name].partition(",")[2]))) for name in ("image", "mask")
    )
    assert image.size == mask.size
    assert image.width == image.height
    alpha = mask.getchannel("A").resize((8, 8), Image.Resampling.BOX)
    transparent = [index for index, value in enumerate(alpha.tobytes()) if value == 0]
    assert transparent == [index for index in range(64) if index % 8 == 2]
    pixel = image.convert("RGB").getpixel
    assert (pixel((10, 10)), pixel((image.width - 10, 10))) == ((255, 0, 0), (255, 255, 255))


@pytest.mark.parametrize("side", [100, 64, 1000])
def test_a_square_file_is_sent_as_it_is_and_its_mask_touches_no_other_cell(
    page: Page, redraw: Locator, tmp_path: Path, side: int
) -> None:
    file = tmp_path / "square.webp"
    Image.effect_noise((side, side), 50).convert("RGB").save(file)
    redraw.locator("[name=image]").set_input_files(file)
    expect(page.locator("#painted")).to_have_text("Закрашено клеток: 0 из 64")
    page.locator("#canvas").press("Space")
    with page.expect_request("**/v1/jobs") as request:
        redraw.locator(".go").click()
    sent = (request.value.post_data_json or {})["input"]["image_prompt"]
    assert base64.b64decode(sent["image"].partition(",")[2]) == file.read_bytes()
    mask = Image.open(io.BytesIO(base64.b64decode(sent["mask"].partition(",")[2])))
    assert mask.size == (side, side)
    alpha = mask.getchannel("A").tobytes()
    clear = {
        (index % side * 8 // side, index // side * 8 // side)
        for index, value in enumerate(alpha)
        if not value
    }
    assert clear == {(4, 4)}


def test_a_link_of_the_settings_does_not_replace_the_example_image(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/#caption?n=2")
    page.reload()
    panel = page.locator("#panel-caption")
    expect(thumbnails(panel)).to_have_text(["пример×"])
    expect(settings(panel).locator("[name=n]")).to_have_value("2")


def test_painting_with_a_finger(open_page: OpenPage, server: Server) -> None:
    with open_page(server.url, has_touch=True, viewport={"width": 390, "height": 800}) as page:
        panel = open_tab(page, "redraw")
        expect(page.locator("#painted")).to_have_text("Закрашено клеток: 32 из 64")
        panel.get_by_role("button", name="Стереть всё").tap()
        page.locator("#canvas").tap(position={"x": 10, "y": 10})
        assert painted(page) == 1
