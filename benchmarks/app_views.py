"""How many views a second the page shows, from a browser's message to the pixels it gets.

    python benchmarks/app_views.py [--weights NAME …] [--size 1280x720] [--seconds 4]

A real server on a port of this machine and one tab that zooms in and out between ×3 and ×30 without
a pause: it asks for the next view when it has the last one, as a browser does. A photograph of
scikit-image (451x300) is encoded before. The parts of the time are those of single calls.
"""

import argparse
import json
import math
import statistics
import threading
import time
from collections.abc import Callable
from importlib import resources

import jax
import numpy as np
import uvicorn
from websockets.sync.client import connect

from gaussiansr_jax.app import drawing
from gaussiansr_jax.app.drawing import View
from gaussiansr_jax.app.listening import listen
from gaussiansr_jax.app.server import build
from gaussiansr_jax.app.settings import Settings
from gaussiansr_jax.weights import DEFAULT_WEIGHTS

_LOW, _HIGH, _PERIOD = 3.0, 30.0, 6.0  # scales, and seconds there and back
_FIRST_SECONDS = 60  # at most until everything is compiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", nargs="+", default=[DEFAULT_WEIGHTS])
    parser.add_argument("--size", default="1280x720", help="of a view")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    args = parser.parse_args()
    width, height = (int(n) for n in args.size.split("x"))
    device = jax.devices()[0]
    print(f"{device.device_kind}, jax {jax.__version__}, views of {width}x{height}", flush=True)
    columns = ("views/s", "median ms", "95% ms", "render ms", "encode ms", "kB")
    print(f"{'weights':34}{'as':9}" + "".join(f"{name:>11}" for name in columns), flush=True)
    app = build(Settings(weights=tuple(args.weights)))
    with Server(app) as address:
        for weights in args.weights:
            picture = _open_photograph(app)
            for encoding in drawing.ENCODINGS:
                zoom = Zoom(app, address, picture, weights, encoding, (height, width))
                figures = zoom.measured(args.seconds)
                print(
                    f"{weights:34}{encoding:9}" + "".join(f"{x:11.1f}" for x in figures), flush=True
                )


class Server:
    """The page in a thread of this process."""

    def __init__(self, app):
        self._listener = listen("127.0.0.1", 0)
        config = uvicorn.Config(app, log_level="warning", ws_per_message_deflate=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)
        return f"ws://127.0.0.1:{self._listener.getsockname()[1]}/api/views"

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join()


def _open_photograph(app) -> str:
    with resources.as_file(resources.files("skimage") / "data" / "chelsea.png") as file:
        return app.state.studio.pictures.open(file, "chelsea.png").key


class Zoom:
    """One tab that zooms in and out."""

    def __init__(self, app, address, picture, weights, encoding, shape):
        self._studio, self._address, self._shape = app.state.studio, address, shape
        self._names = {"picture": picture, "model": weights, "encoding": encoding}
        self._lr_size = np.array(self._studio.pictures.get(picture).shown.shape[:2])
        self._number = 0

    def measured(self, seconds: float) -> list[float]:
        """The columns of the table."""
        took, sizes = [], []
        with connect(self._address, max_size=None, compression=None) as socket:
            for when in (0, _PERIOD / 4, _PERIOD / 2, 0.1):  # encodes, compiles
                self._view(socket, when)
            begin = time.perf_counter()
            while (now := time.perf_counter()) - begin < seconds:
                sizes.append(self._view(socket, now - begin))
                took.append(time.perf_counter() - now)
            whole = time.perf_counter() - begin
        _, prepared = self._studio.prepared(self._names["picture"], self._names["model"])
        middle = View(number=0, **self._names, **self._place(_PERIOD / 4))
        pixels = prepared.render_view(*middle.place)
        render = _median(lambda: prepared.render_view(*middle.place))
        encode = _median(lambda: drawing.encoded(pixels, middle.encoding))
        times = (statistics.median(took), float(np.quantile(took, 0.95)), render, encode)
        return [len(took) / whole, *(1e3 * t for t in times), statistics.mean(sizes) / 1e3]

    def _place(self, when: float) -> dict:
        """The view at a time: the middle of the picture, between the scales, there and back."""
        swing = 0.5 - 0.5 * math.cos(2 * math.pi * when / _PERIOD)
        scale = _LOW * (_HIGH / _LOW) ** swing
        size = np.minimum(self._shape, np.floor(self._lr_size * scale).astype(int))
        top, left = (self._lr_size * scale - size) / 2
        corner = {"top": float(top), "left": float(left)}
        return {"scale": scale, **corner, "height": int(size[0]), "width": int(size[1])}

    def _view(self, socket, when: float) -> int:
        """Asks for a view and waits until it is complete; the bytes that came."""
        self._number += 1
        place = self._place(when)
        message = {"kind": "view", "number": self._number, **self._names, **place}
        socket.send(json.dumps(message))
        received = 0
        while True:
            message = socket.recv(timeout=_FIRST_SECONDS)
            if isinstance(message, bytes):
                received += len(message)
                continue
            status = json.loads(message)
            assert status["kind"] != "error", status
            if status.get("missing") == 0 and status["number"] == self._number:
                return received


def _median(work: Callable[[], object], times: int = 7) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
