"""The page in a real browser: `make test-page`."""

import base64
import http.server
import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser import browsing
from tests.conftest import photo
from tests.paging import Paging, paging

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CAR = Path(__file__).with_name("data") / "samples" / "car.jpg"
GREEN = (0, 177, 64)
PATIENCE_MS = 60_000  # a cut on a busy machine
DROP = """([name, type, data]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(data), (byte) => byte.charCodeAt(0))], name, { type }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""
PASTE = """([name, type, data]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(data), (byte) => byte.charCodeAt(0))], name, { type }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[Paging]:
    with paging(MODEL="embedded", CONCURRENCY="1", MAX_UPLOAD_BYTES="3000000") as page:
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def window(browser, served, request) -> Iterator[Page]:
    """An open page; at the end: no error on its console, no request that left it, no picture left behind."""
    viewport = getattr(request, "param", {"width": 1280, "height": 860})
    context = browser.new_context(viewport=viewport, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    own = (served.url, "blob:", "data:")
    page.on("request", lambda sent: None if sent.url.startswith(own) else elsewhere.append(sent.url))
    page.goto(served.url)
    page.locator("#samples button").first.wait_for()
    yield page
    context.close()
    for picture in next(served.events())[1]["pictures"]:
        served.session.delete(f"{served.url}pictures/{picture['id']}", timeout=60)
    assert errors == []
    assert elsewhere == []


def give(page: Page, name: str, data: bytes, *, how: str = DROP, kind: str = "image/jpeg") -> None:
    page.evaluate(how, [name, kind, base64.b64encode(data).decode()])


def item(page: Page, name: str):
    return page.locator("#list li").filter(has_text=name)


def control(page: Page, option: str):
    return page.locator(f"#option-{option}")


def finished(page: Page) -> None:
    """Return once the picture that is shown has its outcome."""
    page.locator("#facts > *").first.wait_for()


def pictured(page: Page, selector: str = ".frame") -> np.ndarray:
    page.wait_for_timeout(300)  # two animation frames and the decoding of an image that has loaded
    image = Image.open(io.BytesIO(page.locator(selector).first.screenshot()))
    return np.asarray(image.convert("RGB")).astype(int)


def all_after(page: Page) -> None:
    """The slider at its left end: nothing of the upload is shown."""
    page.locator(".slider").first.focus()
    page.keyboard.press("Home")


def result(served: Paging, number: int = -1) -> Image.Image:
    """The view of the last cut."""
    cut = next(served.events())[1]["cuts"][number]
    return Image.open(io.BytesIO(served.get(f"cuts/{cut['id']}/view").content))


def on_colour(cutout: Image.Image, colour: tuple[int, int, int], size: tuple[int, int]) -> np.ndarray:
    ground = Image.new("RGBA", cutout.size, colour)
    ground.alpha_composite(cutout.convert("RGBA"))
    return np.asarray(ground.convert("RGB").resize(size, Image.Resampling.BOX)).astype(int)


def test_a_dropped_photograph_is_seen_cut_out_on_a_green_ground(window, served):
    give(window, "car.jpg", CAR.read_bytes())
    expect(item(window, "car.jpg").locator("img")).to_have_attribute("src", re.compile("^data:"))  # at once
    finished(window)
    window.get_by_label("Green").check(force=True)
    all_after(window)
    window.mouse.move(5, 5)
    shown = pictured(window)
    wanted = on_colour(result(served), GREEN, (shown.shape[1], shown.shape[0]))
    inner = np.s_[6:-6, 10:-6]  # without rounded corners and the slider's line
    assert abs(shown - wanted)[inner].mean() < 2
    assert (shown[20, 40] == GREEN).all()
    assert abs(shown[inner] - GREEN).max(axis=2).max() > 100  # the car is there


def test_before_is_the_upload(window):
    give(window, "car.jpg", CAR.read_bytes())
    finished(window)
    all_after(window)
    window.keyboard.press("End")
    window.mouse.move(5, 5)
    shown = pictured(window)
    wanted = Image.open(CAR).convert("RGB").resize((shown.shape[1], shown.shape[0]), Image.Resampling.BOX)
    assert abs(shown - np.asarray(wanted).astype(int))[6:-6, 6:-10].mean() < 2


def test_an_option_changes_the_pixels_and_is_marked_and_written_as_commands(window):
    give(window, "my car.jpg", CAR.read_bytes())
    finished(window)
    row = window.locator(".option", has=control(window, "bg_color"))
    control(window, "bg_color").fill("0000ff")
    expect(row).to_have_class(re.compile("changed"))
    expect(window.locator(".option.changed")).to_have_count(1)
    cloud, local = window.locator("#lines code").all_text_contents()
    assert cloud == "gcloud storage cp 'my car.jpg' gs://UPLOAD_BUCKET/ '--custom-metadata=cutdrop-bg-color=#0000ff'"
    assert local == "python -m function.local --option 'bg_color=#0000ff' 'my car.jpg'"
    window.get_by_role("button", name="Cut again").click()
    expect(window.get_by_role("button", name="bg_color=#0000ff")).to_have_attribute("aria-pressed", "true")
    finished(window)
    all_after(window)
    window.mouse.move(5, 5)
    assert abs(pictured(window)[20, 40] - (0, 0, 255)).max() <= 2
    row.get_by_role("button", name="Reset bg_color").click()
    expect(window.locator(".option.changed")).to_have_count(0)


def test_what_the_service_would_refuse_stands_at_its_option(window):
    give(window, "car.jpg", photo())
    finished(window)
    control(window, "mask_kernel").fill("4")
    expect(window.locator("#option-mask_kernel-problem")).to_have_text("is not odd")
    expect(window.get_by_role("button", name="Cut again")).to_be_disabled()
    control(window, "mask_kernel").fill("3")
    control(window, "output_format").select_option("jpg")
    expect(window.locator(".form-end .problem")).to_contain_text("needs bg_color")
    expect(window.get_by_role("button", name="Cut again")).to_be_disabled()


def test_a_failing_file_shows_its_code_and_its_sentence(window):
    give(window, "prices.csv", b"car,12\n", kind="text/csv")
    finished(window)
    expect(window.get_by_role("alert")).to_contain_text("unsupported_media")
    expect(window.get_by_role("alert")).to_contain_text("is not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF image.")
    expect(item(window, "prices.csv")).to_contain_text("unsupported_media")


def test_a_file_above_the_services_limit_is_not_sent(window):
    give(window, "large.jpg", b"0" * 3_000_001)
    expect(item(window, "large.jpg")).to_contain_text("upload_too_large: The file has more than 3000000 bytes")


def test_a_retry_says_that_it_is_one_and_a_waiting_cut_that_it_is_queued(window, served):
    gate = served.page.servers.running("embedded").cloud.store.hold("download", "*/first.jpg")
    give(window, "first.jpg", photo())
    gate.wait_for_arrival()
    give(window, "second.jpg", photo(seed=1))  # finds the service's only thread taken
    expect(window.locator("#state")).to_have_text(
        re.compile(r"^Retry\. Attempt \d+: the last one was answered 429, busy: ")
    )
    give(window, "third.jpg", photo(seed=2))
    expect(item(window, "third.jpg")).to_contain_text("Queued, it is next.")
    give(window, "fourth.jpg", photo(seed=3))
    expect(item(window, "fourth.jpg")).to_contain_text("Queued, 1 before it.")
    gate.open()
    item(window, "second.jpg").locator(".item").click()
    finished(window)
    expect(window.locator(".retries")).to_contain_text("Attempt 1 was answered 429: busy: ")
    for name in ("first.jpg", "third.jpg", "fourth.jpg"):
        expect(item(window, name).locator(".item-state")).to_have_text(re.compile("done|no_subject"))


def test_pictures_are_pasted_picked_and_taken_from_a_folder(window, tmp_path):
    (tmp_path / "shoes" / "left").mkdir(parents=True)
    for name in ("1.jpg", "left/2.jpg", ".hidden.jpg"):
        (tmp_path / "shoes" / name).write_bytes(photo())
    give(window, "pasted.jpg", photo(), how=PASTE)
    window.set_input_files("#files", [{"name": "picked.jpg", "mimeType": "image/jpeg", "buffer": photo()}])
    window.set_input_files("#folder", tmp_path / "shoes")
    for name in ("pasted.jpg", "picked.jpg", "1.jpg", "2.jpg"):
        item(window, name).wait_for()
    expect(window.locator("#list li")).to_have_count(4)


def test_a_format_that_the_browser_does_not_show_has_its_thumbnail_and_its_before(window):
    window.set_input_files("#files", [{"name": "car.tif", "mimeType": "image/tiff", "buffer": tiff()}])
    finished(window)
    expect(item(window, "car.tif").locator("img")).to_have_attribute("src", re.compile("thumbnail$"))
    for selector in (".before", ".after", "#list img"):
        assert window.locator(selector).first.evaluate("image => image.naturalWidth") > 0


def tiff() -> bytes:
    stream = io.BytesIO()
    with Image.open(CAR) as car:
        car.resize((600, 450)).save(stream, "TIFF", compression="tiff_lzw")
    return stream.getvalue()


def test_the_loupe_shows_single_pixels_of_the_result_under_the_pointer(window, served):
    give(window, "car.jpg", CAR.read_bytes())
    finished(window)
    window.get_by_label("White").check(force=True)
    all_after(window)
    frame = window.locator(".frame").bounding_box()
    window.mouse.move(frame["x"] + frame["width"] * 0.31, frame["y"] + frame["height"] * 0.62)
    expect(window.locator(".readout")).to_be_visible()
    readout = window.locator(".readout").text_content() or ""
    assert re.fullmatch(r"after \d+, \d+ +alpha \d+", readout)
    x, y, alpha = map(int, re.findall(r"\d+", readout))
    cutout = result(served)
    assert np.asarray(cutout)[y, x, 3] == alpha
    white = on_colour(cutout, (255, 255, 255), cutout.size)
    drawn = np.array(
        window.locator(".glass").evaluate(
            """canvas => {
              const { data } = canvas.getContext("2d").getImageData(0, 0, 200, 200);
              return Array.from({ length: 625 }, (_, cell) => {
                const at = 4 * ((Math.floor(cell / 25) * 8 + 4) * 200 + (cell % 25) * 8 + 4);
                return [...data.slice(at, at + 3)];
              });
            }"""
        )
    ).reshape(25, 25, 3)
    wanted = white[y - 12 : y + 13, x - 12 : x + 13]
    elsewhere = abs(drawn - wanted).max(axis=2)
    elsewhere[11:14, 11:14] = 0  # the mark around the pixel in the middle
    assert elsewhere.max() <= 2
    assert wanted.std() > 5  # not one flat colour


def test_alpha_alone_is_grey_and_the_box_lies_around_the_subject(window, served):
    give(window, "car.jpg", CAR.read_bytes())
    finished(window)
    all_after(window)
    window.get_by_role("button", name="Alpha").click()
    window.mouse.move(5, 5)
    shown = pictured(window)
    alpha = result(served).getchannel("A").resize((shown.shape[1], shown.shape[0]), Image.Resampling.BOX)
    assert abs(shown - np.asarray(alpha).astype(int)[..., None])[6:-6, 10:-6].mean() < 2
    window.get_by_role("button", name="Box").click()
    frame, box = window.locator(".frame").bounding_box(), window.locator(".box").bounding_box()
    left, top, right, bottom = next(served.events())[1]["cuts"][-1]["message"]["subject"]["box"]
    scale = frame["width"] / 1200
    assert box["x"] - frame["x"] == pytest.approx(left * scale, abs=2)
    assert box["y"] - frame["y"] == pytest.approx(top * scale, abs=2)
    assert box["width"] == pytest.approx((right - left) * scale, abs=3)
    assert box["height"] == pytest.approx((bottom - top) * scale, abs=3)


def test_a_picture_and_any_colour_serve_as_ground(window):
    give(window, "car.jpg", CAR.read_bytes())
    finished(window)
    all_after(window)
    window.locator("input[value=colour]").check(force=True)
    window.get_by_label("Colour of the ground").fill("#102030")
    window.mouse.move(5, 5)
    assert abs(pictured(window)[20, 40] - (0x10, 0x20, 0x30)).max() <= 1
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 20)).save(stream, "PNG")
    with window.expect_file_chooser() as chooser:
        window.locator("input[value=picture]").check(force=True)
    chooser.value.set_files([{"name": "red.png", "mimeType": "image/png", "buffer": stream.getvalue()}])
    window.mouse.move(5, 5)
    assert abs(pictured(window)[20, 40] - (200, 10, 20)).max() <= 1


def test_what_the_message_says_is_shown_and_the_result_is_downloaded(window, served):
    give(window, "car.jpg", CAR.read_bytes())
    finished(window)
    cut = next(served.events())[1]["cuts"][-1]
    message = cut["message"]
    facts = window.locator("#facts")
    expect(facts).to_contain_text(f"{message['subject']['coverage'] * 100:.1f} %")
    expect(facts).to_contain_text(f"{message['subject']['confidence'] * 100:.0f} %")
    ran = [step for step, ms in message["timings_ms"].items() if ms and step != "total"]
    assert window.locator(".steps .step").count() == len(ran)
    window.get_by_text("Message", exact=True).click()
    assert json.loads(window.locator(".message pre").first.text_content()) == message
    with window.expect_download() as download:
        window.get_by_role("link", name="Download car.png").click()
    assert download.value.suggested_filename == "car.png"
    assert len(Path(download.value.path()).read_bytes()) == message["outputs"][0]["bytes"]


def test_variants_are_compared_with_one_slider_and_one_loupe(window, served):
    give(window, "car.jpg", CAR.read_bytes())
    finished(window)
    window.get_by_label("Vary").select_option("mask_preset")
    window.get_by_role("button", name="Compare 4 variants").click()
    panes = window.locator(".pane")
    expect(panes).to_have_count(4)
    expect(panes.nth(3)).to_contain_text("Queued")
    expect(window.locator(".pane-facts a")).to_have_count(4)
    assert [cut["options"].get("mask_preset", "auto") for cut in next(served.events())[1]["cuts"]][-4:] == [
        "auto", "standard", "soft", "off",
    ]  # fmt: skip
    window.locator(".slider").nth(2).focus()
    window.keyboard.press("Home")
    assert window.locator(".slider").evaluate_all("sliders => sliders.map((slider) => slider.value)") == ["0"] * 4
    frame = window.locator(".frame").nth(1).bounding_box()
    window.mouse.move(frame["x"] + frame["width"] * 0.4, frame["y"] + frame["height"] * 0.6)
    expect(window.locator(".loupe:visible")).to_have_count(4)
    assert len({re.sub(r"alpha \d+", "", text) for text in window.locator(".readout").all_text_contents()}) == 1
    panes.nth(3).get_by_role("button", name="Take these options").click()
    expect(control(window, "mask_preset")).to_have_value("off")


def test_what_needs_an_absent_network_says_how_to_get_it(window):
    window.get_by_label("Vary").select_option("alpha_matting")
    expect(window.get_by_label("vitmatte")).to_be_disabled()
    expect(window.locator("#compare")).to_contain_text("--set ALPHA_MATTING=vitmatte loads")


def test_the_page_is_used_with_the_keyboard_alone(window):
    press = window.keyboard.press
    window.locator("#samples button").last.focus()
    press("Enter")
    finished(window)
    tab_to(window, "slider")
    before = window.locator(".slider").input_value()
    press("ArrowRight")
    assert int(window.locator(".slider").input_value()) == int(before) + 20
    expect(window.locator(".slider")).to_have_attribute("aria-valuetext", "52 % before")
    press("Shift+ArrowDown")
    expect(window.locator(".loupe")).to_be_visible()
    place = window.locator(".readout").text_content()
    press("Shift+ArrowRight")
    assert window.locator(".readout").text_content() != place
    press("g")
    expect(window.get_by_label("White")).to_be_checked()
    press("a")
    expect(window.get_by_role("button", name="Alpha")).to_have_attribute("aria-pressed", "true")
    window.locator(".item").focus()
    press("Delete")
    expect(window.locator("#welcome")).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until an element of this class has the focus; each one on the way is visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        here = page.evaluate("() => [document.activeElement.className, document.activeElement.checkVisibility()]")
        assert here[1], here
        if name in here[0].split():
            return
    raise AssertionError(f"Tab does not reach {name}")


@pytest.mark.parametrize("window", [{"width": 360, "height": 740}], indirect=True)
def test_at_360_pixels_nothing_lies_beside_the_window(window):
    def widths() -> list[int]:
        return window.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")

    assert widths() == [360, 360]
    give(window, "a-rather-long-name-of-a-photograph-of-a-car-in-the-street.jpg", CAR.read_bytes())
    finished(window)
    window.get_by_role("button", name="Explain").click()
    window.get_by_text("Message", exact=True).click()
    assert widths() == [360, 360]
    window.get_by_label("Vary").select_option("denoise")
    window.get_by_role("button", name="Compare 2 variants").click()
    expect(window.locator(".pane-facts a")).to_have_count(2)
    assert widths() == [360, 360]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [{"width": 1280, "height": 860}, {"width": 360, "height": 740}], indirect=True)
def test_axe_finds_nothing_serious(window, scheme):
    window.emulate_media(color_scheme=scheme)
    check(window)
    give(window, "car.jpg", CAR.read_bytes())
    finished(window)
    control(window, "mask_kernel").fill("4")
    expect(window.locator("#option-mask_kernel-problem")).to_be_visible()
    window.get_by_role("button", name="Explain").click()
    window.get_by_text("Message", exact=True).click()
    check(window)
    control(window, "mask_kernel").fill("5")
    expect(window.locator("#option-mask_kernel-problem")).to_be_hidden()
    window.get_by_label("Vary").select_option("denoise")
    window.get_by_role("button", name="Compare 2 variants").click()
    expect(window.locator(".pane-facts a")).to_have_count(2)
    check(window)
    give(window, "prices.csv", b"car,12\n", kind="text/csv")
    finished(window)
    window.get_by_role("button", name="Keys").click()
    check(window)


def check(page: Page) -> None:
    violations = Axe().run(page).response["violations"]
    serious = [
        f"{found['id']} ({found['impact']}): {[node['target'] for node in found['nodes']]}"
        for found in violations
        if found["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_another_site_in_the_same_browser_is_refused(browser, served):
    class Foreign(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>elsewhere</title>")

        def log_message(self, *said: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as foreign:
        threading.Thread(target=foreign.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{foreign.server_address[1]}/")
        answered: list[int] = []
        page.on("response", lambda response: answered.append(response.status))
        sent = """async ([url, mode, method]) => {
          try {
            const answer = await fetch(url, { mode, method, body: method === "POST" ? "x" : undefined });
            return answer.type;
          } catch {
            return "refused";
          }
        }"""
        assert page.evaluate(sent, [f"{served.url}about", "cors", "GET"]) == "refused"
        assert (
            page.evaluate(sent, [f"{served.url}about", "no-cors", "GET"]) == "refused"
        )  # Cross-Origin-Resource-Policy
        page.evaluate(sent, [f"{served.url}pictures?name=x.jpg", "no-cors", "POST"])
        assert set(answered) <= {403}
        assert next(served.events())[1]["pictures"] == []
        page.close()
        foreign.shutdown()
