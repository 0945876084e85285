"""Damaged files of every kind: a picture or one sentence, never a traceback.

Mutations are of real files, so that the decoders are reached behind their first checks.
"""

import io
import time
import warnings

import numpy as np
import pytest
import tifffile
import tiny_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gaussiansr_jax import UserError, images

PHOTO = tiny_model.photo(12, 15)
SECONDS = 20  # for each of the two tests, at most


def seeds():
    """Small files of every kind that is read."""
    found = {}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8769] = 6, "a cat", {0x9003: "2020:02:03 04:05:06"}
    options = {"AVIF": {}, "BMP": {}, "GIF": {}, "TGA": {}, "ICO": {"sizes": [(15, 12)]}}
    options |= {"JPEG2000": {}, **{kind: {"exif": exif} for kind in ("PNG", "JPEG", "WEBP")}}
    for kind, extra in options.items():
        buffer = io.BytesIO()
        Image.fromarray(PHOTO).save(buffer, kind, **extra)
        found[kind] = buffer.getvalue()
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).convert("P").save(buffer, "PNG", transparency=3)
    found["palette"] = buffer.getvalue()
    deep = PHOTO.astype(np.uint16) * 257
    layouts = {
        "plain": {"photometric": "rgb"},
        "lzw": {"photometric": "rgb", "compression": "lzw", "predictor": True},
        "zlib tiles": {"photometric": "rgb", "compression": "zlib", "tile": (16, 16)},
        "alpha": {"photometric": "rgb", "extrasamples": ["assocalpha"]},
    }
    for name, layout in layouts.items():
        buffer = io.BytesIO()
        values = np.dstack([deep, deep[..., :1]]) if name == "alpha" else deep
        tifffile.imwrite(buffer, values, **layout)
        found[f"tiff {name}"] = buffer.getvalue()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PHOTO.astype(np.float32) / 255, photometric="rgb")
    found["tiff float"] = buffer.getvalue()
    found["ppm"] = b"P6\n15 12\n255\n" + PHOTO.tobytes()
    found["pfm"] = b"PF\n15 12\n-1.0\n" + (PHOTO / 255).astype("<f4").tobytes()
    found["pam"] = b"P7\nWIDTH 15\nHEIGHT 12\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + PHOTO.tobytes()
    return found


SEEDS = seeds()


@st.composite
def damaged(draw):
    data = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    for _ in range(draw(st.integers(1, 4))):
        # Headers are short and decide most.
        place = draw(st.integers(0, min(len(data), 400) - 1) | st.integers(0, len(data) - 1))
        what = draw(st.sampled_from(["flip", "set", "cut", "insert", "repeat", "number"]))
        if what == "flip":
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "set":
            data[place] = draw(st.sampled_from([0, 1, 127, 128, 255]))
        elif what == "cut" and place > 8:
            del data[place:]
        elif what == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif what == "repeat":
            data[place:place] = data[place : place + 40]
        elif what == "number" and place + 4 <= len(data):
            number = draw(st.sampled_from([0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**32 - 1]))
            data[place : place + 4] = number.to_bytes(4, draw(st.sampled_from(["little", "big"])))
    return bytes(data)


def fuzz(check):
    """Runs `check` on mutated files, for a bounded time."""
    end = time.monotonic() + SECONDS

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged())
    def run(data):
        if time.monotonic() < end:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Pillow, of what is strange in a file
                check(data)

    run()


def test_mutated_files_are_pictures_or_one_sentence(tmp_path):
    path = tmp_path / "image"

    def check(data):
        path.write_bytes(data)
        for read in (images.read, images.read_rgb, images.read_size, images.read_frames):
            try:
                result = read(path)
            except UserError as error:
                assert "\n" not in str(error) and "image" in str(error)
            else:
                assert result is not None

    fuzz(check)


def test_what_is_read_can_be_written(tmp_path):
    path = tmp_path / "image"

    def check(data):
        path.write_bytes(data)
        try:
            picture = images.read(path)
        except UserError:
            return
        unit = picture.rgb if picture.bits == 8 else picture.rgb * 255
        assert np.isfinite(unit).all() and unit.min() >= 0 and unit.max() <= 255.01
        for ending in (".png", ".tif", ".webp"):
            if max(picture.rgb.shape) < 2000:
                images.write(tmp_path / f"out{ending}", picture, overwrite=True)

    fuzz(check)


@pytest.mark.parametrize("name", SEEDS)
def test_the_undamaged_files_are_read(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(SEEDS[name])
    assert images.read(path).rgb.shape in ((12, 15, 3), (15, 12, 3))
