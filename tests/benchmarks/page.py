"""Takes the picture of the page for the README: `python -m tests.benchmarks.page`."""

from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect

from tests.browser import browsing
from tests.paging import paging

SAMPLES = Path(__file__).parents[2] / "function" / "local" / "samples"
PICTURE = Path(__file__).with_name("pictures") / "page.jpg"
WINDOW: ViewportSize = {"width": 1280, "height": 860}
SPOT = (0.748, 0.72)  # of the loupe: fur before the ground
LARGEST = 300_000  # bytes


def take(page: Page) -> None:
    page.set_input_files("#files", [SAMPLES / name for name in ("chelsea.jpg", "marten.jpg", "walker.jpg", "cars.jpg")])
    expect(page.locator(".item-state")).to_have_text(["done"] * 4, timeout=120_000)
    page.get_by_label("Green").check(force=True)
    page.locator(".slider").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    page.locator(".slider").blur()
    frame = page.locator(".frame").bounding_box()
    assert frame is not None
    page.mouse.move(frame["x"] + frame["width"] * SPOT[0], frame["y"] + frame["height"] * SPOT[1])
    expect(page.locator(".loupe")).to_be_visible()
    page.wait_for_timeout(500)
    page.screenshot(path=PICTURE, type="jpeg", quality=86)


def main() -> None:
    with paging(MODEL="embedded") as served, browsing() as browser:
        page = browser.new_page(viewport=WINDOW)
        page.goto(served.url)
        take(page)
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes, at most {LARGEST}")
    assert PICTURE.stat().st_size <= LARGEST


if __name__ == "__main__":
    main()
