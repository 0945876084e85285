"""Writing a film: the encoder, and what is copied from the original."""

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling.arguments import Size
from gaussiansr_jax.video.color import Layout
from gaussiansr_jax.video.reading import Film

WRITABLE = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
# Default options of the encoders that are chosen without --encoder: nearly lossless to the eye, in
# acceptable time.
_OPTIONS = {
    "libx264": {"crf": "17", "preset": "veryfast"},
    "libx265": {"crf": "19", "preset": "veryfast", "x265-params": "log-level=error"},
    "libsvtav1": {"crf": "25", "preset": "9"},
}
# x265 derives the decoding times of the first frames from the third. In a film of fewer frames they
# are uninitialized.
_UNTIMED_FRAMES = 2
# Options that set the quality; one of them replaces the default "crf".
_QUALITY = {"crf", "qp", "b", "q", "cq", "rc", "global_quality"}


class Encoding(NamedTuple):
    """How frames are encoded.

    Attributes:
      encoder: FFmpeg's name of the encoder.
      options: FFmpeg's options for it.
      layout: how it takes frames.
    """

    encoder: str
    options: Mapping[str, str]
    layout: Layout


def plan(
    path: Path, source: Layout, encoder: str | None = None, options: Mapping[str, str] | None = None
) -> Encoding:
    """Chooses encoder and pixel format for a file.

    8 bits go to H.264, more to H.265 with 10 bits, in `.webm` both to AV1. The subsampling of the
    original is kept if the encoder has it, else it is 4:2:0.

    Args:
      path: the file to be written; its ending chooses the container.
      source: of the original.
      encoder: FFmpeg's name of an encoder, in place of the choice.
      options: more options for the encoder, in place of those chosen.

    Raises:
      UserError: an ending, encoder or combination that FFmpeg does not have here.
    """
    check_ending(path)
    if encoder is None:
        webm = path.suffix.lower() == ".webm"
        encoder = "libsvtav1" if webm else "libx264" if source.bits == 8 else "libx265"
    try:
        codec = av.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        raise UserError(
            f"FFmpeg has no encoder {encoder!r} here; leave --encoder out, or use libx264, "
            "libx265, libsvtav1 or another of `python -m av --codecs`"
        ) from None
    known = {each.name for each in codec.video_formats or ()}
    if codec.type != "video" or not known:
        raise UserError(f"{encoder} does not encode films; use libx264, libx265 or libsvtav1")
    for bits in sorted({8 if source.bits == 8 else 10, 10, 8}, key=lambda n: (n != source.bits, n)):
        for vertical, horizontal in ((source.vertical, source.horizontal), (2, 2), (1, 2), (1, 1)):
            layout = source._replace(bits=bits, vertical=vertical, horizontal=horizontal)
            if layout.pixel_format in known:
                return Encoding(encoder, _merged(_OPTIONS.get(encoder, {}), options or {}), layout)
    raise UserError(
        f"the encoder {encoder} takes none of the pixel formats that are written here (YUV of 8 or "
        "10 bits); use libx264, libx265 or libsvtav1"
    )


def _merged(chosen: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    if _QUALITY & given.keys():
        chosen = {name: value for name, value in chosen.items() if name not in _QUALITY}
    return {**chosen, **given}


def check_ending(path: Path) -> None:
    """Raises `UserError` unless a film can be called this."""
    if path.suffix.lower() not in WRITABLE:
        raise UserError(
            f"cannot write {path}: films are written with the endings {', '.join(WRITABLE)}"
        )


class Writer:
    """A film that is being written; `write` takes what `Film.read` yields, in that order."""

    def __init__(self, path: Path, film: Film, encoding: Encoding, size: Size, named: Path):
        """Opens the file.

        Args:
          path: the file that is written.
          film: the original.
          encoding: of `plan`.
          size: (height, width) of the frames.
          named: what messages call the file.

        Raises:
          UserError: the file, or its container, cannot take the encoded film or its sound.
        """
        self._film, self._layout, self._size, self._named = film, encoding.layout, size, named
        self._frames = 0
        options = {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".m4v") else {}
        self._container = av.open(str(path), "w", container_options=options)
        try:
            self._container.metadata.update(film.container.metadata)
            self._stream = self._video(encoding)
            self._copied = {source.index: self._copy(source) for source in film.copied}
            self._container.set_chapters(film.container.chapters())
            self._container.start_encoding()
            self._check_options(encoding)
        except (av.FFmpegError, ValueError) as error:
            self.abandon()
            raise UserError(self._refusal(encoding, error)) from error
        except BaseException:
            self.abandon()
            raise

    def write(self, item: "tuple[tuple[np.ndarray, ...], int, int] | av.Packet") -> None:
        """Encodes a frame (planes, pts, duration), or copies a packet.

        Raises:
          UserError: the file cannot be written.
        """
        try:
            if isinstance(item, av.Packet):
                item.stream = self._copied[item.stream.index]
                self._container.mux(item)
            else:
                self._frames += 1
                self._container.mux(self._stream.encode(self._frame(*item)))
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Encodes what is left, and finishes the file.

        Raises:
          UserError: the file cannot be written.
        """
        try:
            packets = self._stream.encode(None)
            if self._frames == len(packets) <= _UNTIMED_FRAMES:
                _set_decoding_times(packets)
            self._container.mux(packets)
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def abandon(self) -> None:
        """Closes the file without finishing it; for use after an error."""
        with suppress(Exception):
            self._container.close()

    def _video(self, encoding: Encoding) -> av.VideoStream:
        film, facts, layout = self._film, self._film.facts, encoding.layout
        rate = film.stream.average_rate or film.stream.guessed_rate or Fraction(25)
        stream = self._container.add_stream(
            encoding.encoder, rate=rate, options=dict(encoding.options)
        )
        height, width = self._size
        stream.height, stream.width, stream.pix_fmt = height, width, layout.pixel_format
        context = stream.codec_context
        context.time_base = stream.time_base = film.time_base
        context.color_range = 2 if layout.full_range else 1
        # Also if the original names none: by the larger size, players would assume another.
        context.colorspace = layout.matrix
        context.color_primaries, context.color_trc = facts.primaries, facts.transfer
        stream.sample_aspect_ratio = _pixel_aspect(film, self._size)
        stream.metadata.update(film.stream.metadata)
        stream.thread_type = "AUTO"
        if facts.display_matrix is not None:
            stream.set_display_matrix(facts.display_matrix)
        return stream

    def _check_options(self, encoding: Encoding) -> None:
        """Refuses options that the encoder does not have: FFmpeg silently ignores them."""
        unknown = encoding.options.keys() & self._stream.codec_context.options.keys()
        if unknown:
            raise UserError(
                f"the encoder {encoding.encoder} has no option {', '.join(sorted(unknown))}; "
                f"`ffmpeg -h encoder={encoding.encoder}` lists those it has"
            )

    def _copy(self, source: av.stream.Stream) -> av.stream.Stream:
        copied = self._container.add_stream_from_template(source, opaque=True)
        copied.metadata.update(source.metadata)
        copied.disposition = source.disposition
        return copied

    def _frame(self, planes: tuple[np.ndarray, ...], pts: int, duration: int) -> av.VideoFrame:
        height, width = self._size
        frame = av.VideoFrame(width, height, self._layout.pixel_format)
        for plane, samples in zip(frame.planes, planes, strict=True):
            rows = np.frombuffer(plane, self._layout.dtype)
            rows = rows.reshape(-1, plane.line_size // self._layout.dtype.itemsize)
            rows[: samples.shape[0], : samples.shape[1]] = samples
        frame.pts, frame.time_base, frame.duration = pts, self._film.time_base, duration
        context = self._stream.codec_context
        frame.color_range, frame.colorspace = context.color_range, context.colorspace
        frame.color_primaries, frame.color_trc = context.color_primaries, context.color_trc
        return frame

    def _refusal(self, encoding: Encoding, error: Exception) -> str:
        streams = [encoding.encoder, *(s.codec_context.name for s in self._film.copied)]
        return (
            f"cannot write {self._named} with {', '.join(streams)} in it ({error}); "
            "an output that ends in .mkv holds nearly everything"
        )

    def _failed(self, error: Exception) -> UserError:
        return UserError(
            f"cannot write {self._named} ({getattr(error, 'strerror', None) or error}); is the "
            "disk full?"
        )


def _set_decoding_times(packets: list[av.Packet]) -> None:
    """Sets the decoding times of all packets of a film: ascending, none after its display time."""
    shown = sorted(packet.pts for packet in packets)
    early = max(time - packet.pts for time, packet in zip(shown, packets, strict=True))
    for time, packet in zip(shown, packets, strict=True):
        packet.dts = time - early


def _pixel_aspect(film: Film, size: Size) -> Fraction:
    """The shape of the new pixels: square ones stay square, others keep the film's proportions."""
    old = film.facts.pixel_aspect
    if old == 1:
        return old
    (height, width), (new_height, new_width) = film.facts.size, size
    return (old * Fraction(width * new_height, height * new_width)).limit_denominator(1000)
