"""A film file in, a larger film file out."""

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import av
import jax
import numpy as np

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import atomic_write, refuse_existing
from gaussiansr_jax.memory import is_out_of_memory
from gaussiansr_jax.upscaling import arguments
from gaussiansr_jax.upscaling.arguments import Scale, Size
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.video import reading, writing
from gaussiansr_jax.video.color import Planes
from gaussiansr_jax.video.frames import FrameUpscaler, kept_size
from gaussiansr_jax.video.pipeline import Sink, prefetched
from gaussiansr_jax.video.reading import Film, Frame
from gaussiansr_jax.video.writing import Encoding, Writer

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where an open file cannot be removed
    fcntl = None

# The most frames and packets that wait between two stages: after decoding, and after upscaling.
_DECODED, _UPSCALED = 16, 8
# A film may end before the end that it announces by this much: seconds, or a share of its length.
_TOLERATED_SECONDS, _TOLERATED_PART = 1.0, 0.01


class Plan(NamedTuple):
    """What becomes of a film.

    Attributes:
      size: (height, width) of what the model renders, as frames are stored.
      kept: (height, width) of the frames that are written.
      encoding: encoder and pixel format.
      notes: what the user should know of it, a sentence each.
    """

    size: Size
    kept: Size
    encoding: Encoding
    notes: list[str]


def upscale_film(
    engine: Engine,
    source: str | os.PathLike,
    path: str | os.PathLike,
    scale: Scale | None = None,
    *,
    size: Size | None = None,
    encoder: str | None = None,
    encoder_options: Mapping[str, str] | None = None,
    overwrite: bool = False,
    note: Callable[[str], None] = print,
    progress: Callable[[int, int | None], None] = lambda done, of: None,
) -> None:
    """Enlarges a film. Decoding, upscaling and encoding run at the same time.

    The file appears when it is complete. A run that is killed leaves only a hidden file beside it,
    which the next run removes; it starts again from the beginning.

    Args:
      engine: the model on the device.
      source: the film.
      path: the film to be written; its ending chooses the container.
      scale: one factor, or (y, x), as the film is shown.
      size: (height, width) as the film is shown, in place of `scale`.
      encoder: FFmpeg's name of an encoder; see `writing.plan`.
      encoder_options: FFmpeg's options for it.
      overwrite: whether an existing file may be replaced.
      note: takes sentences about what cannot be kept.
      progress: takes the number of frames written, and of all frames if it is known.

    Raises:
      UserError: the film cannot be read, enlarged or written, or it turns out damaged or
        truncated; then what could be read has been written.
    """
    path = Path(path)
    writing.check_ending(path)
    refuse_existing(path, overwrite)
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise UserError(f"{path} is the film itself; choose another name for the output")
    with reading.opened(source) as film:
        plan = plan_film(film, path, scale, size, encoder, encoder_options)
        for sentence in plan.notes:
            note(sentence)
        _remove_left_over(path)
        with atomic_write(path, overwrite) as temporary, _held(temporary):
            _convert(engine, film, temporary, plan, path, progress)
        _check_complete(film, path)


def plan_film(
    film: Film,
    path: Path,
    scale: Scale | None,
    size: Size | None,
    encoder: str | None = None,
    encoder_options: Mapping[str, str] | None = None,
) -> Plan:
    """Chooses the size and the encoding; arguments and errors as `upscale_film`."""
    facts = film.facts
    if facts.quarter_turned:
        size = size and size[::-1]
        scale = scale[::-1] if isinstance(scale, tuple | list) else scale
    size = arguments.requested_size(facts.size, scale, size)
    encoding = writing.plan(path, facts.layout, encoder, encoder_options)
    kept, notes = kept_size(size, encoding.layout), []
    if min(kept) < 1:
        raise UserError(f"{film.path} is too small to be written as {path}; use a larger scale")
    if kept != size:
        notes.append(
            f"{size[1]}x{size[0]} has an odd side, which {encoding.layout.pixel_format} does not "
            f"hold; the film is written as {kept[1]}x{kept[0]}, without the last row or column"
        )
    written, decoded = encoding.layout, facts.layout
    if written[:3] != decoded[:3]:
        notes.append(
            f"{film.path} is {facts.decoded_format}; it is written as {written.pixel_format}, "
            f"which {encoding.encoder} takes"
        )
    if film.left_out:
        notes.append(f"not copied from {film.path}: {', '.join(film.left_out)}")
    if facts.interlaced:
        notes.append(
            f"{film.path} is interlaced, each frame two moments; deinterlace it first for a better "
            "result"
        )
    return Plan(size, kept, encoding, notes)


def _convert(
    engine: Engine,
    film: Film,
    temporary: Path,
    plan: Plan,
    path: Path,
    progress: Callable[[int, int | None], None],
) -> None:
    facts, total, done = film.facts, film.frame_count, 0
    upscaler = FrameUpscaler(engine, facts.size, plan.size, facts.layout, plan.encoding.layout)
    writer = Writer(temporary, film, plan.encoding, plan.kept, path)

    def write(item: tuple[Planes, int, int] | av.Packet) -> None:
        nonlocal done
        if isinstance(item, av.Packet):
            return writer.write(item)
        planes, *times = item
        writer.write((tuple(np.asarray(plane) for plane in planes), *times))
        done += 1
        progress(done, total)

    try:
        with (
            Sink(write, _UPSCALED) as sink,
            closing(prefetched(film.read(), _DECODED)) as items,
        ):
            for item in items:
                sink.put(_upscaled(upscaler, item) if isinstance(item, Frame) else item)
        writer.close()
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        writer.abandon()
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"too little memory to enlarge {film.path} to {plan.size[1]}x{plan.size[0]}; use a "
            "smaller scale or another device"
        ) from error
    except BaseException:
        writer.abandon()
        raise


def _upscaled(upscaler: FrameUpscaler, frame: Frame) -> tuple[Planes, int, int]:
    """A frame whose planes are being computed, and on their way to the host."""
    planes = upscaler(frame.planes)
    for plane in planes:
        plane.copy_to_host_async()
    return planes, frame.pts, frame.duration


def _check_complete(film: Film, path: Path) -> None:
    end, announced = film.ends
    if end < announced - max(_TOLERATED_SECONDS, _TOLERATED_PART * announced):
        raise UserError(
            f"{film.path} is truncated: it ends at {end:.1f} s and announces {announced:.1f} s; "
            f"{path} holds what could be read"
        )
    if film.damaged:
        raise UserError(
            f"{film.path} is damaged: {film.damaged} packets could not be decoded; {path} holds "
            "the rest"
        )


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Creates a file and keeps it locked, so that other runs do not remove it."""
    with path.open("wb") as file:
        _lock(file)
        yield


def _remove_left_over(path: Path) -> None:
    """Removes what `atomic_write` of killed processes has left beside `path`."""
    for file in path.parent.glob(
        f".{glob.escape(path.stem[:100])}.*.part{glob.escape(path.suffix)}"
    ):
        # A process that still writes it holds its lock, or, on Windows, the file itself.
        with suppress(OSError):
            with file.open("rb") as opened:
                _lock(opened)
            file.unlink()


def _lock(file: IO[bytes]) -> None:
    """Locks an open file until it is closed; raises `OSError` if another process has locked it."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
