"""The page in a real browser: Chromium without a screen, driven by Playwright.

`APP_SCREENSHOTS=FOLDER pytest tests/app/test_app_browser.py -k look` writes what it looks like,
with the model that is shipped.
"""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_model
from requests_of_a_browser import decoded, file_bytes

import gaussiansr_jax as gsr
from gaussiansr_jax import images
from gaussiansr_jax.app import catalogue
from gaussiansr_jax.ops import resampling
from gaussiansr_jax.upscaling.prepared import Prepared

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is missing: pip install '.[dev]'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium for the browser tests: apt-get install chromium"
    ),
]
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SCREENSHOTS = os.environ.get("APP_SCREENSHOTS")
CAT = "sample-Cat"


@pytest.fixture(scope="module")
def address(weights):
    """The page in a process of its own."""
    chosen = [] if SCREENSHOTS else ["--weights", weights]
    command = [sys.executable, "-m", "gaussiansr_jax", "app", "--port", "0", *chosen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().split()[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page for one person; no script may fail, and nothing may be complained of."""
    contexts, faults = [], []

    def start(width=1280, height=720, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        return page

    start.faults = faults
    yield start
    for context in contexts:
        context.close()
    assert faults == []


def until(page, expression, seconds=180):
    """Waits for a script's expression; the page itself allows no `eval` to wait with."""
    end = time.monotonic() + seconds
    while not (found := page.evaluate(expression)):
        if time.monotonic() > end:
            raise AssertionError(f"not so after {seconds} s: {expression}")
        page.wait_for_timeout(30)
    return found


COMPLETE = "gaussiansr.requests.complete && !gaussiansr.requests.moving"


def open_sample(page, number=0):
    page.click(f"#samples button >> nth={number}")
    until(page, COMPLETE)
    return page


def camera(page):
    return page.evaluate("(({ scale, x, y }) => ({ scale, x, y }))(gaussiansr.camera)")


def zoom_to(page, scale, x=None, y=None):
    """Looks at a place without gliding there."""
    page.evaluate(
        """([scale, x, y]) => {
          const { camera, moved } = gaussiansr;
          camera.zoomAt(scale);
          if (x !== null) { camera.x = x; camera.y = y; }
          camera.clamp();
          moved();
        }""",
        [scale, x, y],
    )
    until(page, COMPLETE)


def stage(page):
    """The pixels that are on the stage, [H, W, 3]."""
    page.evaluate("gaussiansr.stage.draw()")
    data = page.evaluate("document.getElementById('stage').toDataURL('image/png')")
    return decoded(base64.b64decode(data.split(",")[1]))[..., :3]


def test_both_sides_show_what_they_say(visit, weights):
    """Right of the border each pixel is the model's, left of it bicubic interpolation's."""
    page = open_sample(visit())
    zoom_to(page, 6.0, 100, 70)
    until(page, "gaussiansr.stage.bicubic?.scale === 6 && !gaussiansr.stage.busy")
    shown = stage(page)
    view = page.evaluate("gaussiansr.camera.view()")
    assert (view["height"], view["width"]) == (720, 1170 if view["left"] == 0 else view["width"])
    image = catalogue.sample("Cat").rgb
    sharp = Prepared(gsr.load(weights).engine, image).render_view(**view)
    left = round(page.evaluate("gaussiansr.camera.toStage(0, 0).x") + view["left"])
    border = shown.shape[1] // 2
    right = shown[:, border : left + view["width"]].astype(int)
    assert np.abs(right - sharp[:, border - left :]).max() <= 1
    whole = np.asarray(resampling.resize(image / np.float32(255), (image.shape[0] * 6, 195 * 6)))
    top, first = view["top"], view["left"]
    assert top == int(top) and first == int(first)
    bicubic = whole[int(top) : int(top) + 720, int(first) :][:, : border - left]
    bicubic = np.rint(np.clip(bicubic, 0, 1) * 255)
    assert np.abs(shown[:, left:border].astype(int) - bicubic).max() <= 1
    assert np.abs(sharp[:, : border - left].astype(int) - bicubic).max() > 10


def test_the_wheel_zooms_where_it_points_and_coarse_comes_first(visit):
    page = open_sample(visit())
    zoom_to(page, 8.0)  # narrower than the stage it would stay in the middle
    before = camera(page)
    page.mouse.move(800, 300)
    place = "(({ x, y }) => [x, y])(gaussiansr.camera.toPicture(800, 300))"
    point = page.evaluate(place)
    for _ in range(5):
        page.mouse.wheel(0, -150)
        page.wait_for_timeout(40)
    until(page, f"gaussiansr.camera.scale > {before['scale'] * 3}")
    until(page, COMPLETE)
    np.testing.assert_allclose(page.evaluate(place), point, atol=0.05)
    # What is shown now has a pixel of the model for each of the stage.
    assert page.evaluate("gaussiansr.stage.frames.some((f) => gaussiansr.stage.fits(f))")
    page.mouse.wheel(0, 150)
    until(page, f"gaussiansr.camera.scale < {camera(page)['scale'] * 0.9}")
    # At once, before the server has answered, the stage is full.
    assert stage(page).std() > 10
    until(page, COMPLETE)


def test_keys_do_all(visit):
    page = open_sample(visit(reduced_motion="reduce"))
    fitted = camera(page)
    for _ in range(4):
        page.keyboard.press("+")
    assert camera(page)["scale"] == pytest.approx(fitted["scale"] * 1.25**4)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    moved = camera(page)
    assert moved["x"] > fitted["x"] and moved["y"] > fitted["y"]
    page.keyboard.press("-")
    assert camera(page)["scale"] == pytest.approx(fitted["scale"] * 1.25**3)
    page.keyboard.press("1")
    assert camera(page)["scale"] == pytest.approx(1)
    page.keyboard.press("0")
    assert camera(page) == fitted
    page.keyboard.press("c")
    assert page.get_attribute("#compare", "aria-pressed") == "false"
    assert page.is_hidden("#divider")
    page.keyboard.press("g")
    assert page.get_attribute("#gaussians", "aria-pressed") == "true"
    page.keyboard.press("e")
    assert page.is_visible("#panel")
    assert page.evaluate("document.activeElement.id") == "panel-model"
    page.keyboard.press("Escape")
    assert page.is_hidden("#panel")
    assert page.evaluate("document.activeElement.id") == "enlarge"
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.focus("#zoom")
    page.keyboard.press("End")
    assert camera(page)["scale"] == pytest.approx(30)
    assert page.inner_text("#readout") == "×30"
    assert page.get_attribute("#zoom", "aria-valuetext") == "×30"
    page.keyboard.press("Home")
    assert camera(page)["scale"] == pytest.approx(1)
    page.keyboard.press("ArrowRight")
    assert 1 < camera(page)["scale"] < 1.1
    until(page, COMPLETE)


def test_the_border_is_dragged(visit):
    page = open_sample(visit())
    before = stage(page)
    page.mouse.move(640, 360)
    page.mouse.down()
    page.mouse.move(900, 330, steps=5)
    page.mouse.up()
    assert page.get_attribute("#divider", "aria-valuenow") == "70"
    assert page.evaluate("gaussiansr.stage.border") == pytest.approx(900 / 1280)
    until(page, "!gaussiansr.stage.busy")
    after = stage(page)
    between, beyond = np.s_[100:600, 650:890], np.s_[100:600, 905:1000]
    assert np.abs(after[between].astype(int) - before[between]).max() > 10
    np.testing.assert_array_equal(after[beyond], before[beyond])
    assert camera(page) == pytest.approx(camera(page))
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#divider", "aria-valuenow") == "68"
    page.keyboard.press("Home")
    assert page.evaluate("gaussiansr.stage.border") == 0


def test_dragging_and_a_double_click_move_the_picture(visit):
    page = open_sample(visit(reduced_motion="reduce"))
    zoom_to(page, 12.0)
    before = camera(page)
    page.mouse.move(900, 300)
    page.mouse.down()
    page.mouse.move(780, 360, steps=4)
    page.mouse.up()
    after = camera(page)
    assert after["x"] == pytest.approx(before["x"] + 120 / 12)
    assert after["y"] == pytest.approx(before["y"] - 60 / 12)
    page.mouse.dblclick(900, 300)
    assert camera(page)["scale"] == pytest.approx(24)
    until(page, COMPLETE)


def test_the_gaussians_are_seen(visit):
    page = open_sample(visit())
    page.click("#gaussians")
    assert page.inner_text("#status") == "Zoom in to see the Gaussians"
    zoom_to(page, 20.0, 80, 60)
    until(page, "gaussiansr.ellipses.field")
    field = page.evaluate("(({ each, sent }) => [each, sent])(gaussiansr.ellipses.field)")
    assert field == [1, 1]
    with_them = stage(page)
    page.mouse.move(900, 300)
    words = page.inner_text("#probe")
    assert re.search(r"Pixel \d+, \d+\s+its Gaussian: σy \d\.\d+, σx \d\.\d+ pixels, ρ", words)
    page.click("#gaussians")
    without = stage(page)
    assert page.is_hidden("#probe")
    changed = np.abs(with_them.astype(int) - without).max(-1) > 20
    assert changed[:, 640:].mean() > 0.05 and changed[:, :640].mean() == 0


def test_enlarging_and_downloading(visit, weights, tmp_path):
    page = open_sample(visit())
    page.click("#enlarge")
    page.fill("#width", "500")
    assert page.input_value("#height") == "385"
    assert page.input_value("#factor") == "2.564"
    page.check("input[value=png16]", force=True)
    page.click("#start")
    page.wait_for_selector("#download:visible", timeout=90_000)
    assert re.fullmatch(r"Cat-500x385\.png is ready, .+ [kM]B\.", page.inner_text("#job-text"))
    with page.expect_download() as found:
        page.click("#download")
    assert found.value.suggested_filename == "Cat-500x385.png"
    found.value.save_as(tmp_path / "cat.png")
    result = images.read(tmp_path / "cat.png")
    assert result.bits == 16
    lr = catalogue.sample("Cat").rgb.astype(np.float32) / 255
    expected = gsr.load(weights).upscale(lr, size=(385, 500))
    assert np.abs(result.rgb - expected).max() < 1e-4
    page.fill("#factor", "40")
    page.click("#start")
    page.wait_for_selector("#form-error:visible")
    assert "scales go from 1 to 30" in page.inner_text("#form-error")
    visit.faults.clear()  # the browser logs the refusal


def test_stopping(visit):
    page = open_sample(visit())
    page.click("#enlarge")
    page.fill("#factor", "30")
    page.click("#start")
    until(page, "/^Enlarging: [1-9]/.test(document.getElementById('job-text').textContent)")
    assert page.inner_text("#enlarge").startswith("Enlarging")
    page.click("#stop")
    until(page, "document.getElementById('job-text').textContent === 'Stopped.'")
    assert page.is_hidden("#download") and page.inner_text("#enlarge") == "Enlarge…"


def drop(page, name, content):
    script = """([name, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], name));
      const options = { dataTransfer: data, bubbles: true, cancelable: true };
      for (const kind of ["dragenter", "dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(kind, options));
      }
    }"""
    page.evaluate(script, [name, list(content)])


def test_dropping_files_good_and_bad(visit):
    page = visit()
    drop(page, "notes.txt", b"these are no pixels")
    page.wait_for_selector("#toast:visible")
    assert page.inner_text("#toast").startswith("Cannot read notes.txt as an image")
    visit.faults.clear()  # the browser logs the refusal
    page.click("#toast button")
    assert page.is_hidden("#toast")
    drop(page, "small.png", file_bytes(tiny_model.photo(30, 50)))
    until(page, COMPLETE)
    assert page.inner_text("#title") == "small.png 50 × 30"
    page.set_input_files("#file", {"name": "b.png", "mimeType": "image/png", "buffer": b"\x89PNG"})
    page.wait_for_selector("#toast:visible")
    assert "b.png" in page.inner_text("#toast")
    # What was there stays.
    assert page.inner_text("#title") == "small.png 50 × 30"
    visit.faults.clear()


def test_a_picture_that_the_server_forgot_is_given_again(visit):
    page = visit()
    drop(page, "small.png", file_bytes(tiny_model.photo(30, 50)))
    until(page, COMPLETE)
    key = page.evaluate("gaussiansr.requests.picture")
    page.evaluate("(key) => fetch(`/api/pictures/${key}`, { method: 'DELETE' })", key)
    page.keyboard.press("+")
    until(page, f"gaussiansr.requests.picture !== '{key}' && {COMPLETE}")
    assert page.is_hidden("#toast")


def test_transparency_is_seen_through(visit):
    image = np.dstack([tiny_model.photo(30, 50), np.zeros((30, 50), np.uint8)])
    image[:, :25, 3] = 255
    page = visit()
    drop(page, "half.png", file_bytes(image))
    until(page, COMPLETE)
    shown = stage(page)
    clear = shown[300:400, 1000:1100].reshape(-1, 3)
    assert {tuple(color) for color in np.unique(clear, axis=0)} == {
        (201, 204, 209),
        (236, 238, 240),
    }


def test_two_people_at_once(visit):
    """While one enlarges a lot, the other's views come."""
    busy, other = open_sample(visit()), open_sample(visit(), 1)
    busy.click("#enlarge")
    busy.fill("#factor", "30")
    busy.click("#start")
    until(busy, "/^Enlarging: /.test(document.getElementById('job-text').textContent)")
    other.keyboard.press("+")
    other.keyboard.press("+")
    until(other, COMPLETE)
    assert busy.inner_text("#job-text").startswith("Enlarging")
    zoom_to(busy, 9.0)  # and so do one's own
    assert busy.inner_text("#job-text").startswith("Enlarging")
    busy.click("#stop")
    until(busy, "document.getElementById('job-text').textContent === 'Stopped.'")


def test_pinching_on_a_phone(visit):
    page = open_sample(visit(390, 844, has_touch=True, is_mobile=True, device_scale_factor=2))
    fingers = page.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    zoom_to(page, 11.0)
    before = camera(page)
    place = "(({ x, y }) => [x, y])(gaussiansr.camera.toPicture(2 * 200, 2 * 400))"
    point = page.evaluate(place)
    touch("touchStart", (160, 400))
    touch("touchStart", (160, 400), (240, 400))
    for step in range(1, 9):
        touch("touchMove", (160 - 8 * step, 400), (240 + 8 * step, 400))
    touch("touchEnd")
    until(page, COMPLETE)
    after = camera(page)
    assert after["scale"] == pytest.approx(before["scale"] * 208 / 80, rel=0.05)
    np.testing.assert_allclose(page.evaluate(place), point, atol=0.5)
    touch("touchStart", (300, 300))
    for step in range(1, 6):
        touch("touchMove", (300 - 10 * step, 300))
    page.wait_for_timeout(200)
    touch("touchEnd")
    assert camera(page)["x"] == pytest.approx(after["x"] + 2 * 50 / after["scale"], rel=0.02)
    until(page, COMPLETE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (390, 844)])
def test_it_looks_right(visit, tmp_path, scheme, width, height):
    """Nothing sticks out or lies under something else; text can be read; everything has a name."""
    phone = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2} if width < 600 else {}
    page = visit(width, height, color_scheme=scheme, **phone)
    folder = Path(SCREENSHOTS or tmp_path)

    def look(name):
        page.screenshot(path=folder / f"app-{name}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate(NAMELESS) == []
        faint = [found for found in page.evaluate(CONTRASTS) if found[1] < 4.5]
        assert faint == []

    look("start")
    open_sample(page)
    look("view")
    page.click("#gaussians")
    zoom_to(page, 14.0 * (2 if phone else 1), 102, 60)
    until(page, "gaussiansr.ellipses.field")
    page.mouse.move(0.7 * width, 0.4 * height)
    page.wait_for_timeout(200)
    look("gaussians")
    page.click("#enlarge")
    look("enlarge")
    page.keyboard.press("Escape")
    page.click("#help-button")
    look("help")


# Visible controls that are not wholly on the screen, or that something else covers.
OUTSIDE = """[...document.querySelectorAll("button, select, input, a.button")].filter((e) => {
  if (!e.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
  const panel = document.querySelector("[role=dialog]:not([hidden])");
  if (panel && !panel.contains(e)) return false;
  e.scrollIntoView({ block: "nearest" });
  const box = e.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const hit = document.elementFromPoint(x, y);
  return box.left < 0 || box.right > innerWidth || !(e === hit || e.contains(hit));
}).map((e) => e.id || e.outerHTML)"""

NAMELESS = """[...document.querySelectorAll("button, select, input, a, canvas, [role]")]
  .filter((e) => e.checkVisibility() && !(e.getAttribute("aria-label") || e.textContent.trim()
    || e.labels?.length || e.getAttribute("aria-labelledby") || e.role === "status"))
  .map((e) => e.outerHTML)"""

# Texts and the contrast (WCAG 2) with the ground they stand on, where that is one color.
CONTRASTS = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const linear = [r, g, b].map((c) => c / 255).map((c) =>
      c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const found = [];
  const texts = "h1, h2, p, button, dt, dd, label, legend, .brand, b";
  for (const e of document.querySelectorAll(texts)) {
    if (!e.checkVisibility() || !e.textContent.trim() || e.disabled) continue;
    let ground = rgba(getComputedStyle(document.body).backgroundColor);
    const above = [];
    for (let a = e; a; a = a.parentElement) {
      above.unshift(rgba(getComputedStyle(a).backgroundColor));
    }
    for (const layer of above) {
      const part = layer[3] / 255;
      ground = ground.map((c, i) => part * layer[i] + (1 - part) * c);
    }
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground)];
    found.push([e.textContent.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
})()"""
