"""Take the pictures of the page of `air serve` that the documentation shows.

Usage: python docs/screenshots.py            writes docs/images/serve.png and serve-watch.png

Needs Chromium (in AIR_CHROMIUM, or on the path) and the extra `dev`.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1280

ZERO = [
    (0.25 + 0.075 * math.sin(t * math.pi / 10), 0.3 - 0.13 * math.cos(t * math.pi / 10))
    for t in range(21)
]
TWO = [
    *[(0.62, 0.3), (0.66, 0.25), (0.72, 0.24), (0.78, 0.3), (0.72, 0.38)],
    *[(0.63, 0.47), (0.6, 0.53), (0.7, 0.52), (0.8, 0.5)],
]
FOUR = [(0.36, 0.66), (0.37, 0.78), (0.47, 0.76)], [(0.47, 0.65), (0.46, 0.92)]


def main() -> None:
    """Serve the default model, draw three digits, and take the pictures."""
    command = [sys.executable, "-m", "attend_infer_repeat.cli", "serve", "--port", "0", "--no-open"]
    chromium = os.environ.get("AIR_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[1]
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                size = {"width": WIDTH, "height": 1000}
                page = browser.new_page(
                    viewport=size, color_scheme="light", reduced_motion="reduce"
                )
                page.goto(address)
                page.wait_for_selector("html[data-ready=yes]")
                take(page)
                browser.close()
        finally:
            server.terminate()


def take(page: Page) -> None:
    """Draw, wait for the answers, and photograph the page's two halves."""
    page.click("#clear")
    for stroke in (ZERO, TWO, *FOUR):
        draw(page, stroke)
    page.wait_for_function("document.querySelectorAll('.object').length === 3")
    for button, strip in (("#explain", "#explanations"), ("#imagine", "#scenes")):
        page.click(button)
        page.wait_for_selector(f"{strip} button")
    page.click("#step-next")
    page.mouse.move(2, 2)
    page.locator(".object").nth(1).click()
    page.wait_for_timeout(500)
    page.evaluate("document.activeElement.blur()")
    top = page.locator("#watch").bounding_box()
    end = page.locator("#keep").bounding_box()
    assert top is not None
    assert end is not None
    below = page.evaluate("scrollY")
    for name, start, stop in (
        ("serve.png", 0, top["y"] + below),
        ("serve-watch.png", top["y"] + below + 8, end["y"] + below - 8),
    ):
        clip = {"x": 0, "y": start, "width": WIDTH, "height": stop - start}
        page.screenshot(path=IMAGES / name, full_page=True, clip=clip)


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    """Draw a stroke through points, which are shares of the canvas."""
    box = page.locator("#drawing").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()


if __name__ == "__main__":
    main()
