"""Views over a tab's connection: what is drawn, in which order, and for whom."""

import json
import threading
import time

import numpy as np
import pytest
import tiny_model
from requests_of_a_browser import decoded, opened
from starlette.websockets import WebSocketDisconnect

import gaussiansr_jax as gsr
from gaussiansr_jax.app.turns import Turns
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.upscaling.gaussians import placed_gaussians
from gaussiansr_jax.upscaling.prepared import Prepared

OURS = {"host": "127.0.0.1"}


class Tab:
    """A browser's tab."""

    def __init__(self, client):
        self.connection = client.websocket_connect("/api/views", headers=OURS)

    def __enter__(self):
        self.socket = self.connection.__enter__()
        return self

    def __exit__(self, *error):
        return self.connection.__exit__(*error)

    def look(self, number, picture, model, **place):
        place = {"scale": 3.3, "top": 2.5, "left": 10.25, "height": 50, "width": 70} | place
        names = {"number": number, "picture": picture["key"], "model": model, "encoding": "raw"}
        self.send(kind="view", **names | place)

    def send(self, **message):
        self.socket.send_text(json.dumps(message))

    def receive(self):
        """Header and payload of the next message."""
        message = self.socket.receive()
        if message.get("text") is not None:
            return json.loads(message["text"]), None
        data = message["bytes"]
        end = 4 + int.from_bytes(data[:4], "little")
        return json.loads(data[4:end]), data[end:]

    def until_complete(self, number):
        """All messages until the view is complete."""
        messages = []
        while True:
            messages.append(self.receive())
            header = messages[-1][0]
            assert header["kind"] != "error", header
            ended = header["kind"] == "status" and header.get("missing") == 0
            if ended and header["number"] == number:
                return messages


def frames(messages):
    return [(header, payload) for header, payload in messages if header["kind"] == "frame"]


def pasted(messages, height, width, top, left):
    """The view that the frames make."""
    view = np.zeros((height, width, 4), np.uint8)
    for header, payload in frames(messages):
        pixels = np.frombuffer(payload, np.uint8).reshape(header["height"], header["width"], -1)
        y, x = round(header["top"] - top), round(header["left"] - left)
        place = np.s_[y : y + header["height"], x : x + header["width"]]
        view[place][..., : pixels.shape[2]] = pixels
        view[place][..., pixels.shape[2] :] = 255
    return view


@pytest.fixture
def tiled(client, weights):
    """The page's model with tiles so small that a picture has several."""
    client.app.state.studio.models.get(weights).engine.tile = 40
    return client


def test_a_view_comes_tile_by_tile_the_middle_first(tiled, weights):
    image = tiny_model.photo(50, 90)
    picture = opened(tiled, image)
    whole = {"scale": 2, "top": 0, "left": 0, "height": 100, "width": 180}
    with Tab(tiled) as tab:
        tab.look(1, picture, weights, **whole)
        messages = tab.until_complete(1)
        status = [header for header, _ in messages if header["kind"] == "status"]
        missing = [header["missing"] for header in status if "missing" in header]
        assert missing[0] == status[-1]["tiles"] > 3
        assert missing == sorted(missing, reverse=True) and missing[-1] == 0
        drawn = [header for header, _ in frames(messages)]
        assert len(drawn) == status[-1]["tiles"]
        assert sum(header["height"] * header["width"] for header in drawn) == 100 * 180
        middle = [
            abs(h["top"] + h["height"] / 2 - 50) + abs(h["left"] + h["width"] / 2 - 90)
            for h in drawn
        ]
        assert middle[0] == min(middle)
        # Encoded once: the next view comes in one piece.
        tab.look(2, picture, weights, **whole)
        again = tab.until_complete(2)
    assert len(frames(again)) == 1
    expected = gsr.load(weights).upscale(image, 2)
    for shown in (messages, again):
        view = pasted(shown, 100, 180, 0, 0)
        assert np.abs(view[..., :3].astype(int) - expected).max() <= 1
        assert view[..., 3].min() == 255


def test_views_have_any_place_and_scale(client, weights):
    image = tiny_model.photo(30, 40)
    picture = opened(client, image)
    prepared = Prepared(gsr.load(weights).engine, image)
    with Tab(client) as tab:
        for number, scale in enumerate((1.0, 3.3, 29.97)):
            place = {"top": 0.4, "left": 5.75, "height": 20, "width": 30, "scale": scale}
            tab.look(number, picture, weights, **place)
            view = pasted(tab.until_complete(number), 20, 30, 0.4, 5.75)
            difference = view[..., :3].astype(int) - prepared.render_view(**place)
            assert np.abs(difference).max() <= 1


def test_compact_views_and_transparency(client, weights):
    image = np.dstack([tiny_model.photo(30, 40), np.zeros((30, 40), np.uint8)])
    image[:, :20, 3] = 255
    picture = opened(client, image)
    with Tab(client) as tab:
        tab.look(1, picture, weights)
        raw = pasted(tab.until_complete(1), 50, 70, 2.5, 10.25)
        tab.look(2, picture, weights, encoding="compact")
        _, payload = frames(tab.until_complete(2))[0]
    compact = decoded(payload)
    assert payload[8:12] == b"WEBP" and compact.shape == raw.shape
    assert raw[:, :50, 3].min() == 255 and raw[:, 64:, 3].max() == 0
    assert np.abs(compact[:, :45].astype(int) - raw[:, :45]).mean() < 6
    with Tab(client) as tab:
        tab.look(3, opened(client, image[..., :3]), weights, encoding="compact")
        _, payload = frames(tab.until_complete(3))[0]
    assert payload[:2] == b"\xff\xd8"
    assert np.abs(decoded(payload).astype(int) - raw[..., :3])[:, :50].mean() < 4


def test_a_newer_view_stops_an_older_one(client, weights, monkeypatch):
    picture = opened(client, tiny_model.photo(60, 60))
    began, go_on, rendered = threading.Event(), threading.Event(), []
    render = Engine.render

    def held(engine, *args):
        rendered.append(args)
        began.set()
        assert go_on.wait(30)
        return render(engine, *args)

    with Tab(client) as tab:
        tab.look(1, picture, weights, scale=8, top=0, left=0, height=400, width=400)
        tab.until_complete(1)
        monkeypatch.setattr(Engine, "render", held)
        tab.look(2, picture, weights, scale=9, top=0, left=0, height=400, width=400)
        assert began.wait(30)
        tab.look(3, picture, weights, scale=9, top=0, left=0, height=100, width=100)
        time.sleep(0.2)  # the message is read
        go_on.set()
        messages = tab.until_complete(3)
    assert [header["number"] for header, _ in frames(messages)] == [3]
    assert len(rendered) <= 6  # of the sixteen blocks of view 2 those under way, and view 3


def test_views_that_cannot_be_are_refused_and_the_connection_lives(client, weights):
    picture = opened(client)
    with Tab(client) as tab:
        for wrong in ({"height": 0}, {"scale": "big"}, {"height": 10_000, "width": 10_000}):
            tab.look(1, picture, weights, **wrong)
            assert "reload the page" in tab.receive()[0]["message"]
        tab.socket.send_text("nonsense")
        tab.socket.send_text("[1]")
        tab.look(2, picture, weights, top=900)
        assert "not inside" in error_of(tab)["message"]
        tab.look(3, picture, "nobody's")
        assert "offers no model" in error_of(tab)["message"]
        tab.look(4, {"key": "gone"}, weights)
        assert tab.receive()[0]["kind"] == "gone"
        tab.look(5, picture, weights)
        assert frames(tab.until_complete(5))


def error_of(tab):
    """The next error, after what else there is to say."""
    while True:
        header, _ = tab.receive()
        if header["kind"] == "error":
            return header


def test_gaussians_of_the_part_in_view(tiled, weights, monkeypatch):
    image = tiny_model.photo(50, 90)
    picture = opened(tiled, image)
    place = {"top": 3, "left": 40, "height": 20, "width": 30}
    names = {"picture": picture["key"], "model": weights}
    with Tab(tiled) as tab:
        tab.look(1, picture, weights, scale=2, top=0, left=0, height=100, width=180)
        tab.until_complete(1)
        tab.send(kind="gaussians", **names, **place)
        header, payload = tab.receive()
        tab.send(kind="gaussians", **names, **place | {"top": 45})
        assert "not inside" in tab.receive()[0]["message"]
        tab.send(kind="gaussians", **names, **place | {"top": "x"})
        assert "not valid" in tab.receive()[0]["message"]
        monkeypatch.setattr("gaussiansr_jax.app.drawing.MOST_GAUSSIANS", 500)
        tab.send(kind="gaussians", **names, **place)
        assert tab.receive()[0]["kind"] == "many"
    assert {name: header[name] for name in place} == place
    assert (header["each"], header["sent"]) == (1, 1)
    found = np.frombuffer(payload, np.float32).reshape(20, 30, 6)
    placed = placed_gaussians(Prepared(gsr.load(weights).engine, image), **place)
    np.testing.assert_allclose(found[..., :2], placed.center[:, :, 0], atol=1e-4)
    np.testing.assert_allclose(found[..., 2:4], placed.sigma[:, :, 0], atol=1e-4)
    np.testing.assert_allclose(found[..., 4], placed.rho[:, :, 0], atol=1e-4)


def test_a_big_enlargement_does_not_hold_up_somebody_elses_view(client, weights, monkeypatch):
    """The enlargement is held in the middle of its work; views go on."""
    picture = opened(client, tiny_model.photo(60, 60))
    began, go_on = threading.Event(), threading.Event()
    render = Engine.render

    def held(engine, *args):
        if threading.current_thread().name.startswith("enlarging"):
            began.set()
            assert go_on.wait(30)
        return render(engine, *args)

    with Tab(client) as tab:
        tab.look(1, picture, weights)
        tab.until_complete(1)
        monkeypatch.setattr(Engine, "render", held)
        wish = {"picture": picture["key"], "model": weights, "width": 1200, "height": 1200}
        job = client.post("/api/jobs", json={**wish, "format": "png", "client": "you"}).json()
        assert began.wait(30)
        tab.look(2, picture, weights, scale=7)
        assert frames(tab.until_complete(2))
        assert client.get(f"/api/jobs/{job['key']}").json()["state"] == "working"
        go_on.set()
        client.delete(f"/api/jobs/{job['key']}")


def test_turns_are_fair():
    """One with much work, many with little: each of them waits for one piece only."""
    turns, order, ready = Turns(), [], threading.Event()

    def much():
        with turns.take("much"):
            ready.set()
            time.sleep(0.2)  # the others queue up
            for piece in range(6):
                order.append(f"much {piece}")
                time.sleep(0.01)
                turns.give_way("much")

    def little(name):
        for piece in range(2):
            with turns.take(name):
                order.append(f"{name} {piece}")
                time.sleep(0.01)

    threads = [threading.Thread(target=much)]
    threads[0].start()
    assert ready.wait(10)
    threads += [threading.Thread(target=little, args=(name,)) for name in ("a", "b")]
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert order[0] == "much 0"
    assert {entry.split()[0] for entry in order[1:3]} == {"a", "b"}
    assert "a 1" in order[:6] and "b 1" in order[:6]
    assert order.count("much 5") == 1


def test_encoded_tiles_are_kept_within_a_limit(page, weights):
    client = page(field_bytes=400_000)
    studio = client.app.state.studio
    studio.models.get(weights).engine.tile = 40
    pictures = [opened(client, tiny_model.photo(50, 90, seed)) for seed in range(2)]
    with Tab(client) as tab:
        for number, picture in enumerate(pictures * 2):
            place = {"scale": 2, "top": 0, "left": 0, "height": 100, "width": 180}
            tab.look(number, picture, weights, **place)
            messages = tab.until_complete(number)
            assert 0 < studio.fields.used <= 400_000
            assert pasted(messages, 100, 180, 0, 0)[..., 3].min() == 255
    client.delete(f"/api/pictures/{pictures[1]['key']}")
    assert not studio.fields.keys((pictures[1]["key"], weights))


def test_too_many_tabs_are_refused(page):
    client = page(connections=1)
    with Tab(client), pytest.raises(WebSocketDisconnect) as refused, Tab(client):
        pass
    assert refused.value.code == 1013
    with Tab(client):
        pass
