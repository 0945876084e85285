"""Short films for tests: a photograph that moves, and a tone."""

from fractions import Fraction

import av
import jax
import numpy as np
from skimage import data

from gaussiansr_jax.video import color

# As whole programs: operations that JAX executes one by one are compiled one by one.
to_rgb, from_rgb = (jax.jit(f, static_argnames="layout") for f in (color.to_rgb, color.from_rgb))
BT709, BT601 = 1, 6


def frames(count, height=48, width=64, step=2):
    """Crops [count, H, W, 3] of a photograph, each `step` pixels further right."""
    photo = data.astronaut()[100 : 100 + height]
    return np.stack([photo[:, step * i : step * i + width] for i in range(count)])


def write(
    path,
    rgb,
    *,
    pixel_format="yuv420p",
    encoder="libx264",
    options=None,
    times=None,
    time_base=Fraction(1, 1000),
    rate=25,
    matrix=None,
    full_range=False,
    sound=False,
    sound_seconds=None,
    **stream_settings,
):
    """Writes a film of these frames, at these `times` in units of the time base."""
    options = options or ({"crf": "10"} if encoder.startswith("libx26") else {})
    times = times or [round(i / rate / time_base) for i in range(len(rgb))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[1:3], pixel_format
        stream.codec_context.time_base = time_base
        for name, value in stream_settings.items():
            target = stream if hasattr(stream, name) else stream.codec_context
            value(target) if callable(value) else setattr(target, name, value)
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full_range else 1
        if sound:
            audio = container.add_stream("aac", rate=48000, layout="mono")
        for time, pixels in zip(times, rgb, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                format=pixel_format,
                dst_colorspace=matrix or BT601,
                dst_color_range=2 if full_range else 1,
            )
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        if sound:
            seconds = sound_seconds or float(times[-1] * time_base)
            tone = np.sin(np.arange(int(48000 * seconds)) / 20).astype(np.float32)
            for start in range(0, len(tone) - 1023, 1024):
                frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "fltp", "mono")
                frame.sample_rate, frame.pts = 48000, start
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
        container.mux(stream.encode(None))
    return path


def read(path):
    """The frames of a film, decoded."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def packets(path, kind):
    """(time in seconds, bytes) of each packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def planes(frame, layout):
    """The samples of a decoded frame."""
    shapes, size = layout.shapes(frame.height, frame.width), layout.dtype.itemsize
    return tuple(
        np.frombuffer(plane, layout.dtype).reshape(-1, plane.line_size // size)[:h, :w].copy()
        for plane, (h, w) in zip(frame.planes, shapes, strict=True)
    )
