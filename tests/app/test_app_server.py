"""Pictures in, enlarged pictures out, over HTTP."""

import io
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import tiny_model
from PIL import Image, ImageCms
from requests_of_a_browser import decoded, file_bytes, finished, opened, over, upload

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, images
from gaussiansr_jax.upscaling.engine import Engine


def wish(picture, weights, width=60, height=36, kind="png"):
    names = {"picture": picture["key"], "model": weights, "format": kind}
    return {**names, "width": width, "height": height}


def test_the_page_and_its_parts_are_there(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for part in ("main.js", "style.css", "icon.svg", "bicubic.js"):
        assert client.get(f"/static/{part}").status_code == 200
    start = client.get("/api/start").json()
    assert start["models"][0]["label"] == "tiny"
    assert len(start["samples"]) == 3
    for sample in start["samples"]:
        preview = client.get(f"/api/pictures/{sample['key']}/preview.png")
        assert decoded(preview.content).shape == (sample["height"], sample["width"], 3)


def test_a_picture_is_shown_upright_in_screen_colors(client):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, :15] = 200, 40, 40
    exif = Image.Exif()
    exif[0x0112] = 6  # its top is on the right
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = file_bytes(image, "png", exif=exif, icc_profile=profile)
    answer = upload(client, content, "K%C3%A4tzchen.png").json()
    assert (answer["name"], answer["width"], answer["height"]) == ("Kätzchen.png", 20, 30)
    shown = decoded(client.get(f"/api/pictures/{answer['key']}/preview.png").content)
    assert shown.shape == (30, 20, 3)
    assert np.abs(shown[0, 0].astype(int) - (200, 40, 40)).max() <= 1
    assert shown[-1].max() == 0


def test_uploads_leave_no_file_and_can_be_closed(client):
    folder = client.app.state.studio.folder
    picture = opened(client)
    assert upload(client, b"not a picture").status_code == 422
    assert list(folder.iterdir()) == []
    preview = f"/api/pictures/{picture['key']}/preview.png"
    assert client.get(preview).status_code == 200
    assert client.delete(f"/api/pictures/{picture['key']}").status_code == 204
    gone = client.get(preview)
    assert gone.status_code == 410
    assert gone.json()["error"] == "this picture is no longer open here; open it again"


def test_bad_files_get_the_sentence_of_the_command_line(client, tmp_path):
    cut = file_bytes(tiny_model.photo(40, 40))[:600]
    for name, content in (("notes.txt", b"hello"), ("cut.png", cut), ("empty.jpg", b"")):
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(UserError) as error:
            images.read(file)
        answer = upload(client, content, name)
        assert answer.status_code == 422
        assert answer.json()["error"] == str(error.value).replace(str(file), name)
        assert name in answer.json()["error"]


def test_large_files_are_refused_also_without_a_length(page):
    client = page(upload_bytes=10_000, upload_pixels=500)
    sizes = (b"x" * 10_001, (b"x" * 4000 for _ in range(3)))
    for content in sizes:
        answer = upload(client, content, "big.png")
        assert answer.status_code == 422
        assert "big.png is larger than" in answer.json()["error"]
    answer = upload(client, file_bytes(np.zeros((30, 30, 3), np.uint8)), "wide.png")
    assert "wide.png has 0 megapixels" in answer.json()["error"]
    assert list(client.app.state.studio.folder.iterdir()) == []


def test_names_are_only_names(client):
    content = file_bytes(tiny_model.photo(8, 8))
    for given, name in (("../../etc/cat.png", "cat.png"), ("C%3A%5Cme%5Ccat.png", "cat.png")):
        assert upload(client, content, given).json()["name"] == name
    answer = client.post("/api/pictures", content=content)
    assert "X-File-Name" in answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/server.py"],
)
def test_nothing_outside_the_page_is_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(("kind", "bits"), [("png", 8), ("png16", 16), ("webp", 8)])
def test_enlarging_gives_what_the_library_gives(client, weights, tmp_path, kind, bits):
    image = tiny_model.photo(24, 40)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = opened(client, image, icc_profile=profile)
    job = finished(client, wish(picture, weights, kind=kind))
    assert job["state"] == "done" and job["done"] == 1
    answer = client.get(f"/api/jobs/{job['key']}/file")
    assert len(answer.content) == job["bytes"]
    assert f'filename="{job["name"]}"' in answer.headers["content-disposition"]
    file = tmp_path / job["name"]
    file.write_bytes(answer.content)
    result = images.read(file)
    expected = gsr.load(weights).upscale(image.astype(np.float32) / 255, size=(36, 60))
    assert result.bits == bits
    assert result.icc == profile
    levels = 2**bits - 1
    values = result.rgb if bits == 16 else result.rgb / 255
    assert np.abs(values - expected).max() <= 0.51 / levels + 1e-6


def test_enlarging_keeps_transparency_and_grey(client, weights, tmp_path):
    image = np.zeros((24, 40, 2), np.uint8)
    image[..., 0] = tiny_model.photo(24, 40)[..., 0]
    image[:, 20:, 1] = 255
    picture = opened(client, image)
    assert picture["transparent"]
    job = finished(client, wish(picture, weights))
    file = tmp_path / "result.png"
    file.write_bytes(client.get(f"/api/jobs/{job['key']}/file").content)
    result = images.read(file)
    assert result.grey and result.alpha.shape == (36, 60)
    assert result.alpha[:, :20].max() < 0.1 and result.alpha[:, 40:].min() > 0.9


def test_wishes_that_cannot_be_are_refused(page, weights):
    client = page(output_pixels=2_000_000)
    picture = opened(client)
    for changes, sentence in (
        ({"width": 20}, "scales go from 1 to 30"),
        ({"width": 1201, "height": 721}, "scales go from 1 to 30"),
        ({"width": 1200, "height": 720, "format": "gif"}, "makes no 'gif'"),
        ({"picture": "nobody's"}, "no longer open"),
        ({"width": "wide"}, "not valid"),
    ):
        answer = client.post(
            "/api/jobs", json={"client": "me", **wish(picture, weights), **changes}
        )
        assert answer.status_code in (410, 422)
        assert sentence in answer.json()["error"]
    big = opened(client, tiny_model.photo(60, 600))
    answer = client.post("/api/jobs", json={"client": "me", **wish(big, weights, 17_000, 100)})
    assert "1 to 30" not in answer.text or answer.status_code == 422
    answer = client.post(
        "/api/jobs", json={"client": "me", **wish(big, weights, 17_000, 110, "webp")}
    )
    assert answer.json()["error"] == "WebP holds no side longer than 16383 pixels; choose PNG"
    answer = client.post("/api/jobs", json={"client": "me", **wish(big, weights, 6000, 600)})
    assert "megapixels, this page makes 2" in answer.json()["error"]
    unknown = finished(client, {**wish(picture, weights), "model": "nobody's"})
    assert unknown["state"] == "failed" and "no model" in unknown["message"]


class Held:
    """Makes rendering wait for the test before each piece."""

    def __init__(self, monkeypatch):
        self.began, self.go_on = threading.Event(), threading.Event()
        render = Engine.render

        def held(engine, *args):
            self.began.set()
            assert self.go_on.wait(30)
            return render(engine, *args)

        monkeypatch.setattr(Engine, "render", held)


def test_an_enlargement_can_be_stopped(client, weights, monkeypatch):
    held = Held(monkeypatch)
    picture = opened(client, tiny_model.photo(40, 60))
    job = client.post("/api/jobs", json={"client": "me", **wish(picture, weights, 600, 400)}).json()
    assert held.began.wait(30)
    assert client.get(f"/api/jobs/{job['key']}").json()["state"] == "working"
    assert "not finished" in client.get(f"/api/jobs/{job['key']}/file").json()["error"]
    client.delete(f"/api/jobs/{job['key']}")
    held.go_on.set()
    assert over(client, job["key"])["state"] == "stopped"
    assert list(client.app.state.studio.folder.iterdir()) == []


def test_a_new_enlargement_stops_the_one_before_but_not_another_persons(
    client, weights, monkeypatch
):
    held = Held(monkeypatch)
    picture = opened(client, tiny_model.photo(40, 60))

    def start(who):
        big = wish(picture, weights, 600, 400)
        return client.post("/api/jobs", json={**big, "client": who}).json()["key"]

    first, other, second = start("me"), start("you"), start("me")
    held.go_on.set()
    states = [over(client, key)["state"] for key in (first, other, second)]
    assert states == ["stopped", "done", "done"]


def test_pictures_and_results_go_when_they_are_too_many_or_old(page, weights):
    image = tiny_model.photo(24, 40)
    client = page(picture_bytes=3 * len(file_bytes(image)) + 3 * image.nbytes, result_bytes=6_000)
    keys = [opened(client, image)["key"] for _ in range(5)]
    found = [client.get(f"/api/pictures/{key}/preview.png").status_code for key in keys]
    assert found == [410, 410, 200, 200, 200]
    jobs = [finished(client, wish({"key": keys[-1]}, weights))["key"] for _ in range(3)]
    state = client.app.state
    state.jobs.tidy()
    files = list(state.studio.folder.iterdir())
    assert len(files) == 1 and files[0].name == jobs[-1]
    assert "no longer here" in client.get(f"/api/jobs/{jobs[0]}").json()["error"]
    settings = replace(state.settings, kept_seconds=0.0)
    state.studio.settings = state.studio.pictures._settings = settings
    time.sleep(0.01)
    state.studio.pictures.tidy()
    state.jobs.tidy()
    assert client.get(f"/api/pictures/{keys[-1]}/preview.png").status_code == 410
    assert list(state.studio.folder.iterdir()) == []


def test_a_picture_that_is_too_large_is_not_decoded(page, monkeypatch):
    client = page(upload_pixels=2_000_000)
    monkeypatch.setattr(images, "read", lambda _: pytest.fail("it was decoded"))
    bomb = io.BytesIO()
    Image.new("1", (4000, 4000)).save(bomb, "png")
    answer = upload(client, bomb.getvalue(), "bomb.png")
    assert "bomb.png has 16 megapixels, this page takes 2" in answer.json()["error"]


def test_everything_is_removed_at_the_end(page):
    client = page()
    opened(client)
    folder = client.app.state.studio.folder
    assert folder.is_dir()
    client.__exit__(None, None, None)
    assert not folder.exists()
    client.__enter__()
