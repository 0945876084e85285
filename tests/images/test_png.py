"""PNG files that other programs write: interlaced, keyed, with chunks anywhere."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageFile

from gaussiansr_jax import UserError, images
from gaussiansr_jax.images import png

ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
ADAM7 += [(1, 0, 2, 1)]
COLOR_TYPES = {1: 0, 3: 2, 2: 4, 4: 6}
TURNED = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
ORIENTED = {
    "eXIf": TURNED,
    "tEXt": b"Raw profile type exif\0\nexif\n%8d\n%b\n"
    % (len(TURNED) + 6, (b"Exif\0\0" + TURNED).hex().encode()),
    "iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.encode(),
}


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def encoded(values, interlaced=False, before=b"", behind=b"", bits=16):
    """A PNG of [H, W, C], written by hand."""
    height, width, channels = values.shape
    header = (width, height, bits, COLOR_TYPES[channels], 0, 0, interlaced)
    parts = [values[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [values]
    rows = [b"\0" + row.astype(f">u{bits // 8}").tobytes() for p in parts if p.size for row in p]
    start = png.START + chunk(b"IHDR", struct.pack(">IIBBBBB", *header)) + before
    return start + chunk(b"IDAT", zlib.compress(b"".join(rows))) + behind + chunk(b"IEND", b"")


def noise(height, width, channels):
    return np.random.default_rng(0).integers(0, 65536, (height, width, channels)).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(20, 27), (1, 1), (3, 2), (5, 1)])
def test_interlaced_16_bits(channels, size, capfd):
    values = noise(*size, channels)
    picture = images.read(io.BytesIO(encoded(values, interlaced=True)))
    colors = 1 if channels < 3 else 3
    expected = np.broadcast_to(values[..., :colors] / np.float32(65535), (*size, 3))
    np.testing.assert_array_equal(picture.rgb, expected)
    if channels in (2, 4):
        np.testing.assert_array_equal(picture.alpha, values[..., -1] / np.float32(65535))
    assert picture.bits == 16 and capfd.readouterr().err == ""


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_color(channels, interlaced, bits):
    values = noise(9, 11, channels) & (2**bits - 1)
    key = struct.pack(f">{channels}H", *values[4, 5])
    content = encoded(values, interlaced, chunk(b"tRNS", key), bits=bits)
    picture = images.read(io.BytesIO(content))
    unit = picture.rgb / np.float32(255 if bits == 8 else 1)
    np.testing.assert_array_equal(
        unit, np.broadcast_to(values, (9, 11, 3)) / np.float32(2**bits - 1)
    )
    transparent = (values == values[4, 5]).all(-1)
    np.testing.assert_array_equal(picture.alpha, 1 - transparent.astype(np.float32))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_grey_of_few_bits(interlaced, bits):
    values = noise(9, 13, 1) & (2**bits - 1)
    header = struct.pack(">IIBBBBB", 13, 9, bits, 0, 0, 0, interlaced)
    rows = b""
    for y, x, dy, dx in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        for row in values[y::dy, x::dx]:
            digits = np.unpackbits(row.astype(np.uint8), axis=1)[:, 8 - bits :]
            rows += b"\0" + np.packbits(digits).tobytes()
    key = chunk(b"tRNS", struct.pack(">H", values[4, 5, 0]))
    content = png.START + chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(rows))
    picture = images.read(io.BytesIO(content + chunk(b"IEND", b"")))
    expected = np.broadcast_to(values * (255 // (2**bits - 1)), (9, 13, 3))
    np.testing.assert_array_equal(picture.rgb, expected)
    np.testing.assert_array_equal(picture.alpha, values[..., 0] != values[4, 5])
    assert picture.grey and picture.bits == 8


def test_strange_chunks_say_nothing_on_the_terminal(capfd):
    values = noise(8, 9, 3)
    strange = chunk(b"gAMA", b"\0\0\0\0") + chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))
    strange += chunk(b"tEXt", b"a\0b")[:-4] + b"????" + chunk(b"sBIT", b"\5\5\5\5\5")
    strange += chunk(b"tRNS", bytes(40)) + chunk(b"PLTE", b"abc")
    content = encoded(values, before=strange)
    assert imagecodecs.png_decode(encoded(values)).tolist() == values.tolist()
    np.testing.assert_array_equal(png.decode(io.BytesIO(content))[0][..., :3], values)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("interlaced", [False, True])
def test_missing_pixels_are_not_black(interlaced, capfd):
    values = noise(40, 30, 3)
    content = encoded(values, interlaced)
    place = content.index(b"IDAT") - 4
    pixels = zlib.compress(zlib.decompress(content[place + 8 : -16])[:-900])
    for cut in (content[:-1000], content[:place] + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")):
        with pytest.raises(UserError, match="cannot read"):
            images.read(io.BytesIO(cut))


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ORIENTED)
def test_the_size_is_upright_and_read_without_the_pixels(monkeypatch, behind, bits, kind):
    values = noise(30, 20, 3) & (2**bits - 1)
    place = "behind" if behind else "before"
    content = encoded(values, bits=bits, **{place: chunk(kind.encode(), ORIENTED[kind])})
    sizes = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: (sizes.append(self.size), load(self))[1]
    )
    assert images.read_size(io.BytesIO(content)) == (20, 30)
    assert set(sizes) <= {(1, 1)}
    monkeypatch.undo()
    picture = images.read(io.BytesIO(content))
    unit = picture.rgb / np.float32(255 if bits == 8 else 1)
    np.testing.assert_array_equal(unit, np.rot90(values, -1) / np.float32(2**bits - 1))


@pytest.mark.parametrize("kind", ORIENTED)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_an_orientation_is_undone_once(tmp_path, kind, suffix):
    content = encoded(noise(30, 20, 3), before=chunk(kind.encode(), ORIENTED[kind]))
    images.write(tmp_path / f"a.{suffix}", images.read(io.BytesIO(content)))
    again = images.read(tmp_path / f"a.{suffix}")
    assert again.rgb.shape == (20, 30, 3)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        image.load()
        assert image.getexif().get(0x0112, 1) == 1
