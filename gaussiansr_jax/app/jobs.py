"""Enlarging whole pictures in the background: progress, stopping, the finished file."""

import secrets
import shutil
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gaussiansr_jax import images
from gaussiansr_jax.app.pictures import OpenPicture
from gaussiansr_jax.app.studio import Studio
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling import arguments
from gaussiansr_jax.upscaling.prepared import Prepared

# Name -> ending, bits, longest side that the format can hold.
FORMATS = {
    "png": (".png", 8, 2**31 - 1),
    "png16": (".png", 16, 2**31 - 1),
    "webp": (".webp", 8, 16383),
}


class Stopped(Exception):
    """The enlargement was cancelled."""


@dataclass
class Job:
    """One enlargement.

    Attributes:
      key: hard to guess; whoever knows it may ask about the job, stop it and download the result.
      client: who started it; clients take turns.
      name: of the file that is made.
      state: "waiting", "working", "writing", "done", "stopped" or "failed".
      done: the part that is rendered, 0 to 1.
      message: why it failed, or what of the picture could not be kept.
      file: the result.
      used: when it was last asked for.
    """

    key: str
    client: str
    name: str
    state: str = "waiting"
    done: float = 0.0
    message: str | None = None
    file: Path | None = None
    used: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        """Whether it is not over yet."""
        return self.state in ("waiting", "working", "writing")

    def describe(self) -> dict:
        """What the browser needs to know."""
        size = self.file.stat().st_size if self.state == "done" else None
        names = ("key", "name", "state", "done", "message")
        return {**{name: getattr(self, name) for name in names}, "bytes": size}


class Jobs:
    """Enlargements by key. Those that run take turns, one piece each."""

    def __init__(self, studio: Studio):
        """Starts with no job."""
        self._studio = studio
        self._threads = ThreadPoolExecutor(studio.settings.jobs, "enlarging")
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def start(self, picture: str, model: str, size: tuple[int, int], kind: str, client: str) -> Job:
        """Begins an enlargement; the client's one before is stopped.

        Args:
          picture: key of an open picture.
          model: name of a model.
          size: of the result, (height, width).
          kind: one of `FORMATS`.
          client: who asks.

        Raises:
          UserError: the picture, the size or the format is not available.
        """
        opened = self._studio.pictures.get(picture)
        if kind not in FORMATS:
            raise UserError(f"the page makes no {kind!r}; choose one of {', '.join(FORMATS)}")
        suffix, _, longest = FORMATS[kind]
        height, width = arguments.requested_size(opened.shown.shape[:2], None, size)
        limit = self._studio.settings.output_pixels
        if height * width > limit:
            raise UserError(
                f"{width}x{height} are {height * width / 1e6:.0f} megapixels, this page makes "
                f"{limit / 1e6:.0f}; use `python -m gaussiansr_jax upscale` for it"
            )
        if max(height, width) > longest:
            raise UserError(f"WebP holds no side longer than {longest} pixels; choose PNG")
        name = f"{Path(opened.name).stem[:100] or 'picture'}-{width}x{height}{suffix}"
        job = Job(secrets.token_urlsafe(16), client, name)
        with self._lock:
            for other in self._jobs.values():
                if other.client == client and other.running:
                    other.stop.set()
            self._jobs[job.key] = job
        self.tidy()
        self._threads.submit(self._run, job, opened, model, (height, width), kind)
        return job

    def get(self, key: str) -> Job:
        """A job.

        Raises:
          UserError: there is none of that key.
        """
        with self._lock:
            if key not in self._jobs:
                raise UserError("this enlargement is no longer here; start it again")
            self._jobs[key].used = time.monotonic()
            return self._jobs[key]

    def tidy(self) -> None:
        """Deletes results that were not used for a while, and the oldest above the limit."""
        late = time.monotonic() - self._studio.settings.kept_seconds
        with self._lock:
            over = [job for job in self._jobs.values() if not job.running]
            total = sum(job.file.stat().st_size for job in over if job.state == "done")
            for job in over:
                too_much = total > self._studio.settings.result_bytes and job is not over[-1]
                if job.used < late or too_much:
                    del self._jobs[job.key]
                    if job.file:
                        total -= job.file.stat().st_size
                        shutil.rmtree(job.file.parent, ignore_errors=True)

    def close(self) -> None:
        """Stops all."""
        with self._lock:
            for job in self._jobs.values():
                job.stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: Job, opened: OpenPicture, model: str, size: tuple, kind: str) -> None:
        folder = self._studio.folder / job.key
        try:
            job.state = "working"
            suffix, bits, _ = FORMATS[kind]
            enlarged = self._enlarged(job, opened, model, size, bits)
            job.state = "writing"
            file = folder / f"result{suffix}"
            job.message = "; ".join(images.write(file, enlarged, overwrite=True)) or None
            if job.stop.is_set():
                raise Stopped
            job.file, job.done, job.state = file, 1.0, "done"
        except Stopped:
            job.state = "stopped"
        except UserError as error:
            job.message, job.state = str(error).replace(str(folder), "the result"), "failed"
        except BaseException as error:  # whatever it is, the browser must not wait forever
            job.message, job.state = f"it failed ({error}); the terminal says why", "failed"
            raise
        finally:
            if job.state != "done":
                shutil.rmtree(folder, ignore_errors=True)

    def _enlarged(
        self, job: Job, opened: OpenPicture, model: str, size: tuple, bits: int
    ) -> images.Picture:
        if job.stop.is_set():
            raise Stopped
        upscaler = self._studio.models.get(model)
        picture = images.bleed_colors(opened.picture)
        rgb = picture.rgb
        if bits == 16 and rgb.dtype == np.uint8:
            rgb = rgb.astype(np.float32) / 255  # so that the result is not rounded to 8 bits
        prepared, turns = Prepared(upscaler.engine, rgb), self._studio.working

        def progress(done: float) -> None:
            if job.stop.is_set():
                raise Stopped
            job.done = done
            turns.give_way(job.client)

        try:
            with turns.take(job.client):
                rgb = prepared.render(size=size, progress=progress)
        finally:
            turns.forget(job.client)
        alpha = None if picture.alpha is None else images.resize_alpha(picture.alpha, size)
        return replace(picture, rgb=rgb, alpha=alpha, bits=bits)
