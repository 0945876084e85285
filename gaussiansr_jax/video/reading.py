"""Reading a film: what it is, its frames as planes, and everything else that it holds."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.video import color
from gaussiansr_jax.video.color import Layout

# Pixel formats whose planes are used as decoded, and their bits and subsampling (rows, columns).
# Other formats are converted to one of these.
_SUBSAMPLING = {"420": (2, 2), "422": (1, 2), "440": (2, 1), "444": (1, 1)}
_DEPTHS = {"": 8, "10le": 10, "12le": 12}
_LAYOUTS = {
    f"{kind}{name}p{depth}": (bits, *subsampling)
    for name, subsampling in _SUBSAMPLING.items()
    for depth, bits in _DEPTHS.items()
    for kind in ("yuv", "yuvj")
}
# From this size on, players take a film that does not name its matrix for BT.709.
_HD_WIDTH, _HD_HEIGHT = 1280, 577


class Facts(NamedTuple):
    """What a film is, from its first frame.

    Attributes:
      size: (height, width) of its frames as they are stored.
      layout: how `Frame.planes` are stored.
      decoded_format: FFmpeg's name of the decoder's pixel format.
      primaries: color primaries, a number of ITU-T H.273.
      transfer: transfer characteristics, likewise.
      display_matrix: nine numbers, or None if the film is shown as it is stored.
      quarter_turned: whether it is shown with rows as columns.
      pixel_aspect: width of a pixel divided by its height.
      interlaced: whether a frame holds two moments.
    """

    size: tuple[int, int]
    layout: Layout
    decoded_format: str
    primaries: int
    transfer: int
    display_matrix: tuple[int, ...] | None
    quarter_turned: bool
    pixel_aspect: Fraction
    interlaced: bool


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
      planes: luma and chroma.
      pts: its time, in units of the stream's time base.
      duration: in the same units, 0 if unknown.
    """

    planes: tuple[np.ndarray, ...]
    pts: int
    duration: int


class Film:
    """An open film.

    Attributes:
      path: the file.
      container: PyAV's.
      stream: the video stream that is read.
      facts: what it is.
      copied: the other streams that can be copied: sound and subtitles.
      left_out: what else the file holds, in words.
      damaged: how many packets could not be decoded so far.
    """

    def __init__(self, path: Path, container: av.container.InputContainer):
        """Finds the streams; `facts` come with `opened`."""
        self.path, self.container = path, container
        streams = [s for s in container.streams.video if not s.disposition & _PICTURE]
        if not streams:
            raise UserError(f"{path} holds no video; give a film, or a picture file for a picture")
        self.stream = streams[0]
        self.stream.thread_type = "AUTO"
        self.copied = [s for s in container.streams if s.type in ("audio", "subtitle")]
        left_out = set(container.streams) - {self.stream, *self.copied}
        self.left_out = sorted(f"{each.type} stream {each.index}" for each in left_out)
        self.damaged = 0
        self._end = 0.0
        self.facts: Facts | None = None

    @property
    def time_base(self) -> Fraction:
        """Seconds of one unit of `Frame.pts`."""
        return self.stream.time_base

    @property
    def ends(self) -> tuple[float, float]:
        """How far the film was read, and the end that its container announces, both in seconds.

        They are for all streams together: not every container says more. The second is 0 if the
        container announces no end.
        """
        start, duration = self.container.start_time or 0, self.container.duration or 0
        return self._end, (start + duration) / av.time_base if duration else 0.0

    @property
    def frame_count(self) -> int | None:
        """The number of frames, perhaps estimated, or None if nothing is known."""
        if self.stream.frames:
            return self.stream.frames
        seconds = _clock(self.stream.metadata.get("DURATION", ""))  # of Matroska
        if not seconds and self.container.duration:
            seconds = self.container.duration / av.time_base
        rate = self.stream.average_rate
        return max(round(seconds * rate), 1) if seconds and rate else None

    def read(self) -> Iterator[Frame | av.Packet]:
        """Frames in the order in which they are shown, and between them packets to be copied.

        Raises:
          UserError: the frames change their size or format.
        """
        last = None
        for item in self.decoded():
            if isinstance(item, av.Packet):
                yield item
                continue
            pts = item.pts
            # Frames without a time, or out of order, occur in damaged films: one tick later.
            if pts is None or (last is not None and pts <= last):
                pts = 0 if last is None else last + self._step
            last, duration = pts, item.duration or 0
            self._reached(pts + (duration or self._step), self.time_base)
            yield Frame(self._planes(item), pts, duration)

    def _reached(self, time: int, time_base: Fraction) -> None:
        self._end = max(self._end, float(time * time_base))

    @property
    def _step(self) -> int:
        rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        return max(int(1 / (rate * self.time_base)), 1)

    def decoded(self) -> Iterator[av.VideoFrame | av.Packet]:
        """PyAV's frames, and between them the packets to be copied."""
        copied = {stream.index for stream in self.copied}
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # the rest of the file is unreadable
                self.damaged += 1
                packet = None
            if packet is None:
                break
            if packet.stream.index != self.stream.index:
                if packet.size and packet.dts is not None:
                    self._reached(packet.dts + (packet.duration or 0), packet.time_base)
                    if packet.stream.index in copied:
                        yield packet
                continue
            try:
                yield from packet.decode() if packet.size else ()
            except av.FFmpegError:
                self.damaged += 1
        with suppress(av.FFmpegError, EOFError):
            yield from self.stream.decode(None)

    def _planes(self, frame: av.VideoFrame) -> tuple[np.ndarray, ...]:
        facts = self.facts
        if (frame.height, frame.width) != facts.size or frame.format.name != facts.decoded_format:
            raise UserError(
                f"{self.path} changes at {frame.time:.1f} s from {_described(facts)} to "
                f"{frame.width}x{frame.height} {frame.format.name}; cut it there into two films"
            )
        layout = facts.layout
        if frame.format.name not in _LAYOUTS:
            # RGB is converted by the layout's matrix; other formats keep their own.
            frame = frame.reformat(
                format=layout.pixel_format,
                dst_colorspace=layout.matrix if _is_rgb(frame) else None,
                dst_color_range=2 if layout.full_range else 1,
                interpolation="BICUBIC",
            )
        shapes = layout.shapes(*facts.size)
        return tuple(
            _samples(plane, shape, layout.dtype)
            for plane, shape in zip(frame.planes, shapes, strict=True)
        )


_PICTURE = av.stream.Disposition.attached_pic


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[Film]:
    """Opens a film.

    Raises:
      UserError: there is no such file, or it is not a film, holds no video, or cannot be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no film {path}; check the name")
    with _container(path) as container:
        probed = Film(path, container)
        first = next((x for x in probed.decoded() if not _is_packet(x)), None)
        if first is None:
            raise UserError(f"no frame of {path} can be decoded: it is truncated or damaged")
        facts = _facts(first, probed.stream, path)
    with _container(path) as container:  # opened again: not every file can be rewound
        film = Film(path, container)
        film.facts = facts
        yield film


def _container(path: Path) -> av.container.InputContainer:
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise UserError(
            f"cannot read {path} as a film ({error.strerror}): it is truncated, damaged or "
            "something else"
        ) from error


def _is_packet(item: av.VideoFrame | av.Packet) -> bool:
    return isinstance(item, av.Packet)


def _facts(frame: av.VideoFrame, stream: av.VideoStream, path: Path) -> Facts:
    name = frame.format.name
    matrix, full_range = int(frame.colorspace), frame.color_range == 2 or name.startswith("yuvj")
    if name in _LAYOUTS:
        bits, vertical, horizontal = _LAYOUTS[name]
    else:
        bits = 8 if max(c.bits for c in frame.format.components) <= 8 else 10
        vertical, horizontal = (1, 1) if _is_rgb(frame) else _subsampling(frame.format)
    if _is_rgb(frame):
        matrix, full_range = color.BT709, True
    elif matrix in (color.UNSPECIFIED, 3):
        hd = frame.width >= _HD_WIDTH or frame.height >= _HD_HEIGHT
        matrix = color.BT709 if hd else color.BT601_525
    if matrix not in color.MATRICES:
        raise UserError(
            f"{path} stores its colors with matrix {matrix} of H.273, which is not supported; "
            "convert it to BT.709 first, for example with ffmpeg"
        )
    display = _display_matrix(frame)
    return Facts(
        (frame.height, frame.width),
        Layout(bits, vertical, horizontal, full_range, matrix),
        name,
        int(frame.color_primaries),
        int(frame.color_trc),
        display,
        display is not None and display[0] == display[4] == 0,
        stream.sample_aspect_ratio or Fraction(1),
        bool(frame.interlaced_frame),
    )


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    data = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    if data is None:
        return None
    matrix = tuple(int(n) for n in np.frombuffer(bytes(data), np.int32))
    return None if (matrix[0], matrix[1], matrix[3]) == (65536, 0, 0) and matrix[4] > 0 else matrix


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def _subsampling(pixel_format: av.VideoFormat) -> tuple[int, int]:
    """Luma rows and columns per chroma sample, at most 2."""
    if len(pixel_format.components) < 3:  # grey
        return 2, 2
    rows, cols = 64 // pixel_format.chroma_height(64), 64 // pixel_format.chroma_width(64)
    return (2, 2) if rows == 2 else (1, min(cols, 2))


def _samples(plane: av.video.plane.VideoPlane, shape: tuple[int, int], dtype: np.dtype):
    """A copy of a plane's samples [h, w], without the padding of its rows."""
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return rows[: shape[0], : shape[1]].copy()


def _clock(text: str) -> float:
    """Seconds of a time like 00:01:02.5, 0 if it is none."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else 0.0


def _described(facts: Facts) -> str:
    return f"{facts.size[1]}x{facts.size[0]} {facts.decoded_format}"
