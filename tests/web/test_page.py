"""The page of `air serve` in a real browser: drawn on, dragged, listened to, looked at.

Every test also proves that nothing was written to the console and nothing asked of another machine.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import counting_air
from numpy.typing import NDArray
from PIL import Image
from serving import Page, pixels_of, png, serving

from attend_infer_repeat import AIR, load_dataset
from attend_infer_repeat.config import ModelConfig
from attend_infer_repeat.spatial import window_boxes
from attend_infer_repeat.viz.colors import READABLE_COLORS
from attend_infer_repeat.web import exhibits
from attend_infer_repeat.web.app import make_app

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("AIR_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium; install one, or name it in AIR_CHROMIUM"
    ),
]

WAIT = 15_000  # milliseconds, on a busy machine


# A browser, and a tab that is watched


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # The sandbox needs rights that containers lack; only our own page is opened.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


class Tab:
    """A browser tab on the page, with what is often done to it."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address, self.expected = address, ""
        self.faults: list[str] = []
        self.flying: set[Any] = set()  # requests
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 1000}, **options}
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("requestfinished", self._on_end)
        self.page.on("requestfailed", self._on_end)

    def _on_console(self, message: Any) -> None:
        if not (self.expected and re.search(self.expected, message.text)):
            self.faults.append(f"console: {message.text}")

    def _on_end(self, request: Any) -> None:
        self.flying.discard(request)

    def _on_request(self, request: Any) -> None:
        self.flying.add(request)
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.faults.append(f"request: {request.url}")

    def open(self, fragment: str = "") -> Tab:
        self.flying.clear()
        self.page.goto(f"{self.address}/{fragment}")
        self.page.wait_for_selector("html[data-ready=yes]")
        return self

    def close(self) -> None:
        self.context.close()
        assert self.faults == []

    def wait_count(self, count: int) -> None:
        """Wait until so many objects are inferred, and can be taken hold of."""
        words = f"{count} object{'' if count == 1 else 's'}"
        sync_api.expect(self.page.locator("#verdict-count")).to_have_text(words)
        self.wait_objects(count)

    def wait_objects(self, count: int) -> None:
        sync_api.expect(self.page.locator("#objects .object")).to_have_count(count)
        sync_api.expect(self.page.locator("#again")).to_be_enabled()

    def object(self, step: int) -> Any:
        return self.page.locator(f"#objects .object[aria-label^='Object {step},']")

    def strokes(self, *strokes: list[tuple[float, float]]) -> None:
        """Draw lines through points, which are shares of the canvas."""
        self.page.locator("#drawing").scroll_into_view_if_needed()
        box = self.page.locator("#drawing").bounding_box()
        for stroke in strokes:
            points = [
                (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke
            ]
            self.page.mouse.move(*points[0])
            self.page.mouse.down()
            for point in points[1:]:
                self.page.mouse.move(*point, steps=4)
            self.page.mouse.up()

    def draw_two(self) -> None:
        self.page.click("#clear")
        self.strokes(ONE, SEVEN)
        self.wait_count(2)

    def drag(self, target: Any, dx: float, dy: float) -> None:
        box = target.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx, y + dy, steps=5)
        self.page.mouse.up()

    def pixels(self, canvas: str = "scene") -> NDArray[np.uint8]:
        """What a canvas shows, (height, width, 3)."""
        text = self.page.evaluate(f"document.getElementById('{canvas}').toDataURL()")
        return np.asarray(decoded(text).convert("RGB"))

    def settled_pixels(self) -> NDArray[np.uint8]:
        """What the scene shows, when the server has drawn it."""
        self.settle()
        return self.pixels()

    def settle(self) -> None:
        """Wait until nothing has been asked for a while: answers lead to further requests."""
        quiet = 0
        while quiet < 4:
            self.page.wait_for_timeout(20)
            quiet = 0 if self.flying else quiet + 1

    def saved(self, button: str) -> Path:
        with self.page.expect_download() as download:
            self.page.click(button)
        return Path(download.value.path())

    def saved_scene(self) -> dict[str, Any]:
        return json.loads(self.saved("#save-json").read_text())

    def evaluate(self, module: str, expression: str, argument: Any = None) -> Any:
        """Evaluate an expression in which ``m`` is a module of the page and ``a`` the argument."""
        call = f"(async (a) => {{ const m = await import('/static/{module}.js'); {expression} }})"
        return self.page.evaluate(call, argument)

    def hand_over(self, event: str, data: bytes, name: str, kind: str) -> None:
        """Drop or paste a file."""
        text = base64.b64encode(data).decode()
        self.page.evaluate(HAND_OVER, [event, text, name, kind])


HAND_OVER = """([event, text, name, type]) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, { type }));
  const options = { bubbles: true, cancelable: true };
  document.getElementById('drawing').dispatchEvent(
    event === 'paste'
      ? new ClipboardEvent('paste', { ...options, clipboardData: files })
      : new DragEvent(event, { ...options, dataTransfer: files }));
}"""

ONE = [(0.26, 0.2), (0.25, 0.45)]
SEVEN = [(0.6, 0.6), (0.78, 0.6), (0.67, 0.88)]


@pytest.fixture(scope="module")
def address(page: Page) -> str:
    return page.url


@pytest.fixture(scope="module")
def shared(browser: Any, address: str) -> Iterator[Tab]:
    tab = Tab(browser, address)
    yield tab.open()
    tab.context.close()


@pytest.fixture
def tab(shared: Tab) -> Iterator[Tab]:
    """A tab that earlier tests have used: quicker than a fresh page."""
    shared.faults, shared.expected = [], ""
    yield shared
    assert shared.faults == []


@pytest.fixture
def fresh(tab: Tab) -> Iterator[Tab]:
    """The same tab with a fresh page, for this test alone."""
    yield tab.open()
    tab.open()


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def middle(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The center of brightness (x, y) of a picture, in pixels."""
    light = picture.astype(float).sum(axis=-1)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    return np.array([(x * light).sum(), (y * light).sum()]) / light.sum()


@pytest.fixture(scope="module")
def two_digits() -> NDArray[np.uint8]:
    data = load_dataset("digits", "test")
    return data.images[np.flatnonzero(data.counts == 2)[1]]


# Draw


def test_two_strokes_give_two_boxes(tab: Tab) -> None:
    tab.draw_two()
    assert tab.page.locator("#draw-boxes rect").count() == 2
    sync_api.expect(tab.page.locator("#announcer")).to_have_text(
        re.compile("^2 objects, probability (over )?0.")
    )
    assert re.fullmatch(r"\d+", tab.page.inner_text("#latency"))


def test_at_most_one_answer_is_awaited_and_the_newest_drawing_wins(fresh: Tab) -> None:
    fresh.page.evaluate(
        """() => {
          window.flying = 0; window.most = 0; window.last = null;
          const plain = window.fetch;
          window.fetch = async (path, options) => {
            if (path !== 'api/infer') return plain(path, options);
            window.most = Math.max(window.most, ++window.flying);
            window.last = JSON.parse(options.body).pixels;
            await new Promise((done) => setTimeout(done, 120));
            try { return await plain(path, options); } finally { window.flying -= 1; }
          };
        }"""
    )
    fresh.draw_two()
    fresh.page.wait_for_function("window.flying === 0")
    assert fresh.page.evaluate("window.most") == 1
    sent = np.array(fresh.page.evaluate("window.last"))
    np.testing.assert_allclose(sent, fresh.pixels("drawing")[..., 0] / 255, atol=1e-4)


def test_a_stroke_is_undone_and_done_again(tab: Tab) -> None:
    tab.draw_two()
    with_both = tab.pixels("drawing")
    tab.page.keyboard.press("Control+z")
    tab.wait_count(1)
    assert tab.pixels("drawing").sum() < with_both.sum()
    tab.page.keyboard.press("Control+Shift+z")
    tab.wait_count(2)
    np.testing.assert_array_equal(tab.pixels("drawing"), with_both)


def test_the_eraser_takes_away_and_clear_takes_all(fresh: Tab) -> None:
    fresh.draw_two()
    fresh.page.click("#eraser")
    fresh.page.fill("#brush-size", "8")
    fresh.strokes(ONE, ONE)
    fresh.wait_count(1)
    fresh.page.click("#clear")
    fresh.wait_count(0)
    sync_api.expect(fresh.page.locator("#draw-hint")).to_be_visible()


def test_the_drawing_can_be_made_by_keys(tab: Tab) -> None:
    tab.page.click("#clear")
    tab.wait_count(0)
    tab.page.focus("#drawing")
    for key in ("ArrowLeft", "Space", *["ArrowDown"] * 5, "Space"):
        tab.page.keyboard.press(key)
    tab.wait_count(1)
    assert tab.pixels("drawing").sum() > 0


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_that_is_dropped_or_pasted_is_read(
    tab: Tab, two_digits: NDArray[np.uint8], event: str
) -> None:
    tab.page.click("#clear")
    tab.wait_count(0)
    tab.hand_over(event, png(two_digits), "two.png", "image/png")
    tab.wait_count(2)
    np.testing.assert_array_equal(tab.pixels("drawing")[..., 0], two_digits)
    assert tab.saved_scene()["file"] == "two.png"


def test_a_large_picture_is_made_smaller_before_it_is_sent(tab: Tab) -> None:
    tab.page.click("#clear")
    tab.wait_count(0)
    large = np.zeros((800, 800), np.uint8)
    large[240:460, 380:420] = 255
    data = png(large) + bytes(4_000_000)  # what follows a PNG is no part of it
    tab.page.set_input_files(
        "#picture-file", {"name": "large.png", "mimeType": "image/png", "buffer": data}
    )
    tab.wait_count(1)


def test_a_file_that_is_no_picture_is_refused_calmly(tab: Tab) -> None:
    tab.expected = "422"  # the browser itself reports that the server refused
    tab.hand_over("drop", b"no picture", "notes.png", "image/png")
    sync_api.expect(tab.page.locator("#notice span")).to_contain_text("image")
    tab.page.click("#notice button")
    sync_api.expect(tab.page.locator("#notice")).to_be_hidden()


# Watch


def test_steps_are_stepped_through_by_buttons_slider_keys_and_play(fresh: Tab) -> None:
    fresh.draw_two()
    line, page = fresh.page.locator("#step-line"), fresh.page
    step = sync_api.expect(line)
    step.to_have_text("Step 1 of 3: an object is found")
    first = page.get_attribute(".panel.attend img", "src")
    page.click("#step-next")
    step.to_have_text("Step 2 of 3: an object is found")
    assert page.get_attribute(".panel.attend img", "src") != first
    page.locator("#step").press("ArrowRight")
    step.to_have_text("Step 3 of 3: nothing more: stop")
    sync_api.expect(page.locator("#step-next")).to_be_disabled()
    stopped = page.get_attribute(".panel.repeat img", "src")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    step.to_have_text("Step 1 of 3: an object is found")
    page.click("#play")
    step.to_have_text("Step 2 of 3: an object is found")
    page.click("#play")
    assert page.get_attribute(".panel.repeat img", "src") == stopped  # stopping adds nothing


def test_bars_show_the_distribution_of_the_count(tab: Tab) -> None:
    tab.draw_two()
    probs = tab.saved_scene()["count_probs"]
    widths = tab.page.eval_on_selector_all(
        "#counts .fill", "fills => fills.map((fill) => parseFloat(fill.style.width) / 100)"
    )
    np.testing.assert_allclose(widths, probs, atol=1e-6)
    assert tab.page.locator("#presences li").count() == 3


# Edit


def test_a_dragged_box_takes_its_picture_along(tab: Tab) -> None:
    tab.draw_two()
    before = tab.settled_pixels()
    left = before[:, :25]
    side = tab.page.locator("#edit-stage").bounding_box()["width"]
    tab.drag(tab.object(place_of(tab, "right")), -0.1 * side, -0.2 * side)
    after = tab.settled_pixels()
    shift = middle(after - np.minimum(after, 40)) - middle(before - np.minimum(before, 40))
    assert shift[0] < -1
    assert shift[1] < -2
    np.testing.assert_array_equal(after[:20, :20], left[:20, :20])  # the other one stays
    tab.page.click("#undo")
    np.testing.assert_array_equal(tab.settled_pixels(), before)


def place_of(tab: Tab, side: str) -> int:
    """The step of the object on the left or on the right."""
    steps = [1, 2]
    x = [tab.object(step).bounding_box()["x"] for step in steps]
    return steps[int(np.argmax(x) if side == "right" else np.argmin(x))]


def test_while_dragging_the_picture_follows_before_the_server_answers(tab: Tab) -> None:
    tab.draw_two()
    before = tab.settled_pixels()
    tab.page.route("**/api/render", lambda route: None)  # never answered
    target = tab.object(place_of(tab, "right"))
    box = target.bounding_box()
    tab.page.mouse.move(box["x"] + 20, box["y"] + 20)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] - 20, box["y"] - 40, steps=3)
    assert np.abs(middle(tab.pixels()) - middle(before)).max() > 1
    tab.page.mouse.up()
    tab.page.unroute_all(behavior="ignoreErrors")


def test_a_corner_scales(tab: Tab) -> None:
    tab.draw_two()
    target = tab.object(1)
    target.click()
    before = target.bounding_box()
    tab.drag(target.locator(".corner.se"), 40, 40)
    after = target.bounding_box()
    assert after["width"] > before["width"] + 40
    assert abs(after["x"] + after["width"] / 2 - before["x"] - before["width"] / 2) < 2


def test_delete_undo_redo(tab: Tab) -> None:
    tab.draw_two()
    scene, picture = tab.saved_scene(), tab.settled_pixels()
    tab.object(1).click()
    tab.page.click("#delete")
    tab.wait_objects(1)
    fewer = tab.settled_pixels()
    assert fewer.sum() < picture.sum()
    tab.page.click("#undo")
    tab.wait_objects(2)
    np.testing.assert_array_equal(tab.settled_pixels(), picture)
    assert tab.saved_scene() == scene
    tab.page.click("#redo")
    tab.wait_objects(1)
    np.testing.assert_array_equal(tab.settled_pixels(), fewer)


def test_duplicate_swap_add_and_slide(tab: Tab) -> None:
    tab.draw_two()
    codes = [found["z_what"] for found in tab.saved_scene()["objects"]]
    tab.object(1).click()
    tab.page.click("#swap")  # with the only other one
    assert [found["z_what"] for found in tab.saved_scene()["objects"]] == codes[::-1]
    tab.page.click("#duplicate")
    tab.wait_objects(3)
    objects = tab.saved_scene()["objects"]
    assert objects[2]["z_what"] == objects[0]["z_what"]
    assert objects[2]["z_where"] != objects[0]["z_where"]
    tab.page.click("#add")
    tab.wait_objects(4)  # more than the model would draw itself
    before = tab.settled_pixels()
    tab.page.get_by_label("Look 1").fill("2.5")
    assert np.abs(tab.settled_pixels().astype(int) - before).max() > 30
    tab.page.click("#undo")
    np.testing.assert_array_equal(tab.settled_pixels(), before)


def test_swap_among_three_asks_for_the_other(tab: Tab) -> None:
    tab.draw_two()
    tab.object(1).click()
    tab.page.click("#duplicate")
    tab.wait_objects(3)
    before = [found["z_what"] for found in tab.saved_scene()["objects"]]
    tab.page.click("#swap")
    tab.object(2).click()
    after = [found["z_what"] for found in tab.saved_scene()["objects"]]
    assert after == [before[0], before[2], before[1]]


def test_infer_again_reads_the_edited_picture_back(tab: Tab) -> None:
    tab.draw_two()
    tab.object(1).click()
    tab.page.click("#delete")
    tab.wait_objects(1)
    tab.page.click("#again")
    line = tab.page.locator("#reread")
    sync_api.expect(line).to_have_text(
        re.compile(r"It finds the object again; boxes overlap by \d\d%")
    )
    sync_api.expect(tab.page.locator("#verdict-count")).to_have_text("1 object")
    assert tab.page.locator("#reread-boxes rect").count() == 1
    tab.page.keyboard.press("Control+z")  # the drawing is back
    sync_api.expect(tab.page.locator("#verdict-count")).to_have_text("2 objects")
    tab.wait_objects(1)


def test_by_keyboard_alone_an_object_is_reached_moved_copied_scaled_and_deleted(tab: Tab) -> None:
    tab.draw_two()
    page = tab.page
    page.evaluate("document.activeElement.blur()")
    focused = "document.activeElement.getAttribute('aria-label') ?? ''"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(focused).startswith("Object 1"):
            break
    assert page.evaluate(focused).startswith("Object 1")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"  # it is seen
    before, stage = (page.locator(name).bounding_box() for name in ("*:focus", "#edit-stage"))
    pixel = stage["width"] / 50
    is_left = before["x"] + before["width"] / 2 < stage["x"] + stage["width"] / 2
    for _ in range(3):  # towards the middle
        page.keyboard.press("Shift+ArrowRight" if is_left else "Shift+ArrowLeft")
    page.keyboard.press("ArrowDown")
    moved = page.locator("*:focus").bounding_box()
    way = 15 * pixel if is_left else -15 * pixel
    assert moved["x"] - before["x"] == pytest.approx(way, abs=1)
    assert moved["y"] - before["y"] == pytest.approx(pixel, abs=1)
    page.keyboard.press("+")
    assert page.locator("*:focus").bounding_box()["width"] > moved["width"]
    page.keyboard.press("d")
    tab.wait_objects(3)
    assert page.evaluate(focused).startswith("Object 3")
    page.keyboard.press("Delete")
    tab.wait_objects(2)
    assert page.evaluate(focused).startswith("Object 2")
    sync_api.expect(page.locator("#announcer")).to_have_text("Object 3 is deleted.")


# Sample


def test_explanations_have_weights_and_one_is_chosen(tab: Tab) -> None:
    tab.draw_two()
    tab.page.click("#explain")
    buttons = tab.page.locator("#explanations button")
    sync_api.expect(buttons).to_have_count(8)
    widths = tab.page.eval_on_selector_all(
        "#explanations .fill", "fills => fills.map((fill) => parseFloat(fill.style.width))"
    )
    assert sum(widths) == pytest.approx(100, abs=0.01)
    assert widths == sorted(widths, reverse=True)
    tab.object(1).click()
    tab.page.keyboard.press("Delete")
    tab.wait_objects(1)
    buttons.first.click()
    tab.wait_objects(2)
    tab.strokes([(0.1, 0.1), (0.15, 0.1)])
    sync_api.expect(buttons).to_have_count(0)  # they were of the picture before


def test_a_scene_from_the_prior_is_chosen_and_read(tab: Tab) -> None:
    tab.page.select_option("#imagine-count", "1")
    tab.page.click("#imagine")
    buttons = tab.page.locator("#scenes button")
    sync_api.expect(buttons).to_have_count(8)
    buttons.nth(2).click()
    tab.wait_objects(1)
    sync_api.expect(tab.page.locator("#reread")).to_have_text(re.compile("^It finds"))
    uri = buttons.nth(2).locator("img").get_attribute("src")
    np.testing.assert_array_equal(tab.pixels("drawing"), np.asarray(decoded(uri).convert("RGB")))


# Keep


def test_a_scene_that_is_saved_and_opened_again_is_the_same(tab: Tab, tmp_path: Path) -> None:
    tab.draw_two()
    inferred = tab.saved_scene()
    numbers = {"count", "count_probs", "count_interval"}
    assert set(inferred) == {"file", "width", "height", "objects"} | numbers
    assert set(inferred["objects"][0]) == {"step", "score", "box", "z_where", "z_what"}
    tab.object(1).press("ArrowRight")
    edited, picture = tab.saved_scene(), tab.settled_pixels()
    assert edited["count_probs"] == [0, 0, 1, 0]  # it is known
    for scene in (inferred, edited):
        file = tmp_path / "scene.json"
        file.write_text(json.dumps(scene))
        tab.page.set_input_files("#json-file", file)
        sync_api.expect(tab.page.locator("#reread")).not_to_be_empty()
        tab.settle()
        assert tab.saved_scene() == scene
    np.testing.assert_allclose(tab.pixels().astype(int), picture, atol=1)


def test_png_and_svg_show_the_scene(fresh: Tab) -> None:
    fresh.draw_two()
    shown = fresh.settled_pixels().astype(int)
    small = np.asarray(Image.open(fresh.saved("#save-png")).convert("RGB")).astype(int)
    assert np.abs(small - shown).max() <= 2  # the page adds objects up in 8 bits
    large = np.asarray(Image.open(fresh.saved("#save-large")).convert("RGB"))
    np.testing.assert_array_equal(large, small.repeat(8, 0).repeat(8, 1))
    drawn = fresh.saved("#save-svg").read_text()
    assert drawn.count("<rect ") == 2
    fresh.page.set_content(drawn)  # a browser reads it
    assert fresh.page.locator("svg image").bounding_box()["width"] == 400


def test_a_link_restores_the_scene_in_a_fresh_page(tab: Tab, browser: Any, address: str) -> None:
    tab.draw_two()
    tab.object(2).press("Shift+ArrowUp")
    tab.page.click("#copy-link")
    scene, picture = tab.saved_scene(), tab.settled_pixels()
    fragment = tab.page.evaluate("location.hash")
    assert len(fragment) < 400
    other = Tab(browser, address).open(fragment)
    other.wait_objects(2)
    restored = other.saved_scene()
    for ours, theirs in zip(scene["objects"], restored["objects"], strict=True):
        np.testing.assert_allclose(theirs["z_where"], ours["z_where"], atol=1e-5)
        np.testing.assert_allclose(theirs["z_what"], ours["z_what"], atol=2e-4)
    np.testing.assert_allclose(other.settled_pixels().astype(int), picture, atol=2)
    other.close()


def test_a_damaged_link_says_so(browser: Any, address: str) -> None:
    tab = Tab(browser, address).open("#air1.AAAAnonsense")
    sync_api.expect(tab.page.locator("#notice span")).to_have_text(
        "This link is damaged: a part of it is missing or changed."
    )
    tab.page.wait_for_selector("#objects .object")  # the page is there all the same
    tab.close()


# All of it


def test_when_the_server_is_gone_the_page_says_so_and_recovers(fresh: Tab) -> None:
    fresh.expected = "ERR_FAILED"  # the browser itself reports requests that fail
    fresh.page.route("**/api/**", lambda route: route.abort())
    fresh.page.click("#clear")
    notice = fresh.page.locator("#notice")
    sync_api.expect(notice).to_contain_text("The server does not answer.")
    fresh.strokes(ONE)
    sync_api.expect(notice).to_be_visible()  # for as long as it is so
    fresh.page.unroute_all(behavior="ignoreErrors")
    fresh.wait_count(1)
    sync_api.expect(notice).to_be_hidden()


@pytest.mark.parametrize("width", [360, 640, 768, 1280])  # 640: 1280 at twice the size
def test_nothing_reaches_beyond_the_page(browser: Any, address: str, width: int) -> None:
    tab = Tab(browser, address, viewport={"width": width, "height": 800}, has_touch=width < 700)
    tab.open()
    tab.page.click("#imagine")
    tab.page.wait_for_selector("#scenes button")
    tab.page.locator("#objects .object").first.click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") == width
    tab.close()


def test_a_finger_draws(browser: Any, address: str) -> None:
    options = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    tab = Tab(browser, address, **options).open()
    tab.page.tap("#clear")
    tab.wait_count(0)
    box = tab.page.locator("#drawing").bounding_box()
    devtools = tab.context.new_cdp_session(tab.page)
    for kind, share in (
        ("touchStart", 0.3),
        ("touchMove", 0.5),
        ("touchMove", 0.7),
        ("touchEnd", None),
    ):
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * (share or 0)
        points = [] if share is None else [{"x": x, "y": y}]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    tab.wait_count(1)
    sync_api.expect(tab.page.locator("#brief")).to_be_visible()
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_and_everything_has_a_name(browser: Any, address: str, scheme: str) -> None:
    tab = Tab(browser, address, color_scheme=scheme, reduced_motion="reduce").open()
    tab.page.locator("#objects .object").first.click()
    tab.page.click("#explain")
    tab.page.wait_for_selector("#explanations button")
    assert tab.page.evaluate(FAULTS) == []
    assert is_dark(tab) == (scheme == "dark")
    moving = "getComputedStyle(document.querySelector('#counts .fill')).transitionDuration"
    assert tab.page.evaluate(moving) == "0s"
    tab.page.click("#theme")  # the first click changes what is seen, and is remembered
    assert is_dark(tab) != (scheme == "dark")
    tab.page.reload()
    tab.page.wait_for_selector("html[data-ready=yes]")
    assert is_dark(tab) != (scheme == "dark")
    assert tab.page.evaluate(FAULTS) == []
    tab.close()


def is_dark(tab: Tab) -> bool:
    color = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return bool(np.mean([int(value) for value in re.findall(r"\d+", color)]) < 128)


FAULTS = """() => {
  const faults = [];
  const say = (what, element) =>
    faults.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const visible = (e) => e.checkVisibility() && !e.closest('.unseen');

  // Names
  const labelledBy = (e) => (e.getAttribute('aria-labelledby') ?? '').split(' ')
    .map((id) => document.getElementById(id)?.textContent ?? '').join(' ');
  const name = (e) => [e.getAttribute('aria-label'), labelledBy(e),
    ...[...(e.labels ?? [])].map((l) => l.textContent), e.matches('button, a') ? e.textContent : '']
    .join('').trim();
  const named = 'button, input, select, a, canvas, section, dialog, fieldset, '
    + '[role=group], [role=img], [role=application]';
  for (const e of document.querySelectorAll(named)) {
    const legend = e.matches('fieldset') ? e.querySelector('legend').textContent : '';
    if (!name(e) && !legend) say('no name', e);
  }
  for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) say('no alt', e);
  for (const e of document.querySelectorAll('button button, a button, button a')) say('nested', e);
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  if (new Set(ids).size !== ids.length) faults.push('an id is there twice');
  for (const e of document.querySelectorAll('[aria-labelledby], [aria-describedby]')) {
    const refers = e.getAttribute('aria-labelledby') ?? e.getAttribute('aria-describedby');
    if (!refers.split(' ').every((id) => document.getElementById(id))) say('refers to nothing', e);
  }
  if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
  let level = 0;
  for (const e of document.querySelectorAll('h1, main h2, main h3')) {
    if (Number(e.tagName[1]) > level + 1) say('a heading is left out before', e);
    level = Number(e.tagName[1]);
  }
  if (!document.documentElement.lang) faults.push('no language');

  // Contrast of words, as WCAG has it
  const pen = Object.assign(document.createElement('canvas'), { width: 1, height: 1 })
    .getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const [r, g, b] = rgba(color).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (rgba(backgroundColor)[3] === 255) return backgroundColor;
    }
    return 'white';
  };
  for (const e of document.querySelectorAll('main *, header *, footer *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !visible(e) || e.closest('svg, .object, :disabled')) continue;
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)}`, e);
  }

  // Room for fingers: 24 pixels, as WCAG 2.2 has it
  for (const e of document.querySelectorAll('button, select, input')) {
    const { width, height } = e.getBoundingClientRect();
    if (visible(e) && (width < 24 || height < 24)) say(`only ${width} x ${height}`, e);
  }
  return faults;
}"""


def test_help_opens_by_its_key_and_closes(tab: Tab) -> None:
    tab.page.keyboard.press("?")
    dialog = tab.page.locator("#help")
    sync_api.expect(dialog).to_be_visible()
    tab.page.keyboard.press("Escape")
    sync_api.expect(dialog).to_be_hidden()


def test_colors_and_a_canvas_that_is_not_square(browser: Any, page: Page) -> None:
    air = AIR(ModelConfig(canvas_size=(30, 48), channels=3, model_steps=2))
    with serving(make_app(air, "color"), air) as color:
        tab = Tab(browser, color.url, viewport={"width": 400, "height": 800}).open()
        stage = tab.page.locator("#draw-stage").bounding_box()
        assert stage["width"] / stage["height"] == pytest.approx(48 / 30, abs=0.01)
        tab.page.click("#clear")
        tab.page.get_by_label("Red", exact=True).click()
        with tab.page.expect_response("**/api/infer"):
            tab.strokes([(0.5, 0.3), (0.5, 0.7)])
        drawn = tab.pixels("drawing")
        assert drawn.shape == (30, 48, 3)
        assert drawn[..., 0].max() == 255
        assert drawn[..., 1:].max() == 0
        tab.page.click("#add")
        assert tab.settled_pixels().max() > 0
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 400
        tab.close()


def test_what_could_not_be_made_is_said_and_the_rest_works(
    browser: Any, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(exhibits, "_from_prior", fail)
    air = counting_air()
    with serving(make_app(air, "squares"), air) as squares:
        tab = Tab(browser, squares.url).open()
        notice = tab.page.locator("#notice")
        sync_api.expect(notice).to_contain_text("could not be made: RuntimeError.")
        tab.wait_count(0)
        assert tab.page.locator("#examples button").count() == 0
        tab.strokes(*([(x, 0.16), (x, 0.17)] for x in (0.15, 0.84)))
        sync_api.expect(notice).to_be_hidden()
        tab.page.click("#add")
        assert tab.settled_pixels().max() > 0
        assert tab.page.locator("#sliders input").count() == 1  # of its size
        assert "ways to look" not in tab.page.inner_text("#sliders-title")
        tab.page.click("#imagine")
        sync_api.expect(tab.page.locator("#scenes button")).to_have_count(8)
        tab.close()


def test_a_model_without_a_bound_has_a_page_like_any_other(browser: Any, page: Page) -> None:
    air = counting_air()
    with serving(make_app(air, "squares"), air) as squares:
        tab = Tab(browser, squares.url).open()
        assert "any number of objects" in tab.page.inner_text("#model-line")
        examples = tab.page.locator("#examples button")
        assert examples.count() == 8
        for i in (0, 7):
            examples.nth(i).click()
            tab.settle()
            assert tab.page.locator("#verdict-count").inner_text() != ""
        tab.page.click("#clear")
        tab.wait_count(0)
        for button, strip in (("#explain", "#explanations"), ("#imagine", "#scenes")):
            tab.page.click(button)
            sync_api.expect(tab.page.locator(f"{strip} button")).to_have_count(8)
            tab.page.locator(f"{strip} button").first.click()
            tab.settle()
        tab.page.click("#add")
        tab.page.locator("#slider-rows input").nth(1).fill("1")
        assert tab.settled_pixels().max() > 0
        tab.close()


@pytest.mark.parametrize("composition", ["sum", "over"])
def test_objects_are_edited_in_front_of_their_background(
    composition: Any, browser: Any, page: Page
) -> None:
    torch.manual_seed(0)
    settings = {"canvas_size": (30, 30), "model_steps": 2, "background_model": "smooth"}
    air = AIR(ModelConfig(**settings, composition=composition, decoder_output_bias=1.0))
    with torch.no_grad():
        air.model.background.mean[:, 0] = 0.3  # of a scene: dark gray, with brighter parts
    with serving(make_app(air, "gray"), air) as gray:
        tab = Tab(browser, gray.url).open()
        for _ in range(2):
            tab.page.click("#add")
            tab.page.keyboard.press("Shift+ArrowRight")
        shown, scene = tab.settled_pixels(), tab.saved_scene()
        things = [{name: t[name] for name in ("z_where", "z_what")} for t in scene["objects"]]
        behind = scene["z_background"]
        drawn = gray.ask("/api/render", {"objects": things, "z_background": behind})
        np.testing.assert_allclose(shown[..., 0].astype(int), pixels_of(drawn["image"]), atol=3)
        bare = gray.ask("/api/render", {"objects": [], "z_background": behind})
        assert np.abs(pixels_of(bare["image"]).astype(int) - shown[..., 0]).max() > 30
        assert pixels_of(bare["image"]).mean() > 30

        tab.page.click("#copy-link")
        other = Tab(browser, gray.url).open(tab.page.evaluate("location.hash"))
        other.wait_objects(len(things))
        np.testing.assert_allclose(other.settled_pixels().astype(int), shown, atol=3)
        other.close()
        tab.close()


# What the page computes itself


def test_windows_lie_where_spatial_says(tab: Tab) -> None:
    rng = np.random.default_rng(0)
    poses = np.stack([rng.uniform(-0.5, 6, 40), *rng.uniform(-3, 3, (2, 40))], axis=1)
    found = tab.evaluate(
        "geometry", "return a.map((p) => m.windowBox(p, { width: 60, height: 40 }))", poses.tolist()
    )
    expected = window_boxes(torch.from_numpy(poses), (40, 60)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_poses_move_and_scale_by_pixels(tab: Tab) -> None:
    moved, large, kept, along = tab.evaluate(
        "geometry",
        """const canvas = { width: 60, height: 40 }, pose = [2.5, 0.5, -0.25];
        const moved = m.moved(pose, 3, -2, canvas), large = m.resized(pose, 1.5, canvas);
        const box = m.windowBox(pose, canvas);
        return [[m.windowBox(moved, canvas), box], [m.windowBox(large, canvas), box],
          m.center(m.moved(pose, 1000, -1000, canvas), canvas),
          [m.carried(box, pose, large, canvas), m.windowBox(large, canvas)]];""",
    )
    np.testing.assert_allclose(np.subtract(*moved), [3, -2, 3, -2], atol=1e-9)
    (x0, y0, x1, y1), before = large[0], np.array(large[1])
    np.testing.assert_allclose([x1 - x0, y1 - y0], 1.5 * (before[2:] - before[:2]))
    np.testing.assert_allclose([x0 + x1, y0 + y1], before[:2] + before[2:])
    np.testing.assert_allclose(kept, [60, 0], atol=1e-9)  # the middle stays on the canvas
    np.testing.assert_allclose(*along)


def test_boxes_are_matched_each_once(tab: Tab) -> None:
    found = tab.evaluate(
        "geometry",
        """const one = [0, 0, 10, 10], near = [1, 0, 11, 10], far = [40, 40, 50, 50];
        return [m.overlap(one, one), m.overlap(one, [5, 0, 15, 10]), m.overlap(one, far),
          ...m.matched([near, one], [one]), ...m.matched([far], [one]),
          ...m.matched([], [one])];""",
    )
    np.testing.assert_allclose(found, [1, 1 / 3, 0, 0, 1, 0])


def test_history_keeps_every_gesture_once_and_nothing_changes_what_it_is_given(tab: Tab) -> None:
    counts = tab.evaluate(
        "scene",
        """const freeze = (v) => (Object.values(v).forEach((x) => x instanceof Object && freeze(x)),
          Object.freeze(v));
        const object = freeze({ step: 2, score: 1, z_where: [2, 0.5, 0], z_what: [1, 2] });
        const moment = (objects) => freeze({ drawing: {}, objects, record: null, pending: false });
        let h = freeze(m.begin(moment([object])));
        const canvas = { width: 50, height: 50 };
        const more = freeze(m.duplicated([object], 2, canvas));
        h = freeze(m.commit(h, moment(more)));
        h = freeze(m.commit(h, moment(m.changed(more, 3, { z_where: [2, 0.4, 0] })), 'drag'));
        h = freeze(m.commit(h, moment(m.changed(more, 3, { z_where: [2, 0.3, 0] })), 'drag'));
        const dragged = h.past.length;
        h = freeze(m.commit(m.seal(h), moment(m.without(more, 2)), 'drag'));
        const back = m.undo(m.undo(m.undo(h)));
        const forth = m.redo(m.redo(m.redo(back)));
        const other = m.commit(back, moment([]));
        return [dragged, h.past.length, back.past.length, back.future.length, m.undo(back) === back,
          forth.present === h.present, m.redo(forth) === forth, other.future.length,
          more[1].step, m.swapped(more, 2, 9) === more];""",
    )
    assert counts == [2, 3, 0, 3, True, True, True, 0, 3, True]


def test_a_look_is_turned_along_its_direction_alone(tab: Tab) -> None:
    before, after, beside = tab.evaluate(
        "scene",
        """const first = { sd: 2, direction: [0.6, 0.8, 0] };
        const other = { sd: 1, direction: [0.8, -0.6, 0] };
        const z = [1, 2, 3], mean = [0.5, 0, 1], turned = m.turned(z, mean, first, -1.25);
        return [m.along(z, mean, other), m.along(turned, mean, first),
          m.along(turned, mean, other)];""",
    )
    assert after == pytest.approx(-1.25)
    assert beside == pytest.approx(before)


MODEL = (
    "const model = { name: 'm', canvas: { width: 50, height: 40 }, channels: 1, what_dim: 3,"
    " max_objects: 3, background_size: 2, limits: { max_objects_render: 50, max_number: 100 } };"
)


def test_links_hold_scenes_and_refuse_what_they_cannot_hold(tab: Tab) -> None:
    objects = [{"z_where": [2.5, -0.1, 1 / 3], "z_what": [1.5, -2.25, 0]}] * 3
    restored, empty, in_front, none, *reasons = tab.evaluate(
        "share",
        MODEL
        + """const reason = (text, of = model) => {
          try { m.fromFragment(text, of); return 'taken'; } catch (e) { return e.message; }
        };
        const bare = { background: null }, behind = { objects: a, background: [0.5, -0.25] };
        const link = m.toFragment({ ...bare, objects: a }, model);
        const other = link.slice(0, 20) + (link[20] === 'A' ? 'B' : 'A') + link.slice(21);
        const empty = m.toFragment({ ...bare, objects: [] }, model);
        return [m.fromFragment(link, model), m.fromFragment(empty, model),
          m.fromFragment(m.toFragment(behind, model), model), m.fromFragment('#watch', model),
          reason(other), reason(link.slice(0, -2)), reason('#air1.'), reason('#air1.%%%'),
          reason('#air9.' + link.slice(6)), reason(link, { ...model, name: 'n' }),
          reason(m.toFragment({ ...bare, objects: [{ z_where: [NaN, 0, 0], z_what: [0, 0, 0] }] },
            model))];""",
        objects,
    )
    for ours, theirs in zip(objects, restored["objects"], strict=True):
        np.testing.assert_allclose(theirs["z_where"], ours["z_where"], rtol=1e-6)
        np.testing.assert_allclose(theirs["z_what"], ours["z_what"], atol=1e-4)
    assert empty == {"objects": [], "background": None}
    assert in_front == {"objects": restored["objects"], "background": [0.5, -0.25]}
    assert restored["background"] is none is None
    assert all("damaged" in reason for reason in reasons[:4])
    assert "another version" in reasons[4]
    assert "another model, not of n" in reasons[5]
    assert "expected 3 numbers" in reasons[6]


def test_files_that_are_no_scenes_are_refused_with_the_reason(tab: Tab) -> None:
    reasons = tab.evaluate(
        "record",
        MODEL
        + """const z = { z_where: [1, 0, 0], z_what: [0, 0, 0] };
        return ['no json', '7', '{}', { objects: [z, 5] }, { objects: [{ ...z, z_where: [1] }] },
          { objects: [{ ...z, z_what: [1, 2] }] }, { objects: [{ ...z, z_what: [0, 0, 'x'] }] },
          { objects: Array(51).fill(z) }, { objects: [{ ...z, z_where: [1, 0, 101] }] },
          { objects: [z], z_background: [1] },
          { objects: [z], z_background: [1, 2] },
          JSON.stringify({ objects: [z] }) + '\\n{}'
        ].map((file) => {
          try {
            const text = typeof file === 'string' ? file : JSON.stringify(file);
            return m.readRecord(text, model).objects.length;
          } catch (e) { return e instanceof m.SceneError ? e.message : String(e.stack); }
        });""",
    )
    assert reasons[-2:] == [1, 1]
    parts = [
        "not JSON",
        "no list",
        "no list",
        "object 2",
        "got 1",
        "another model",
        "3 numbers",
        "51",
        "larger than 100",
        "z_background: expected 2 numbers, got 1. Was it made by another model?",
    ]
    for reason, part in zip(reasons, parts, strict=False):
        assert part in reason


def test_colors_are_those_of_the_figures(tab: Tab) -> None:
    assert tab.evaluate("colors", "return m.STEP_COLORS") == list(READABLE_COLORS)
