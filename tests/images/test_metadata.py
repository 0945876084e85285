"""What a file says beside its pixels comes out again, or a note says that it does not."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
import tiny_model
from PIL import Image, PngImagePlugin

from gaussiansr_jax import images

ORIENTATION, DESCRIPTION, MAKE, EXPOSURE = 0x0112, 0x010E, 0x010F, 0x829A
EXIF, GPS = 0x8769, 0x8825
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" b="c"/></x:xmpmeta>'


def described(path, **options):
    """Writes an image that is to be turned, with EXIF, place and resolution."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[DESCRIPTION], exif[EXPOSURE] = 6, "a cat", (1, 125)
    exif[MAKE] = "??n??code & Co"
    exif[EXIF] = {0x9003: "2020:02:03 04:05:06", 0xA002: 9, 0xA003: 6, 0x829D: 2.5}
    exif[GPS] = {1: "N", 2: (48.0, 12.0, 30.0)}
    pixels = Image.fromarray(tiny_model.photo(6, 9))
    # Pillow writes ASCII only; cameras and people do not.
    block = exif.tobytes().replace(b"??n??code", "Ünïcode".encode())
    pixels.save(path, exif=block, dpi=(300, 200), **options)


def exif_of(path):
    exif = Image.Exif()
    if path.suffix == ".tif":
        exif.load_from_fp(io.BytesIO(path.read_bytes()))
    else:
        with Image.open(path) as image:
            image.load()
            exif = image.getexif()
    return exif, exif.get_ifd(EXIF), exif.get_ifd(GPS)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("source", [".jpg", ".png"])
def test_exif_is_kept_upright(tmp_path, source, suffix, bits):
    described(tmp_path / f"a{source}")
    picture = images.read(tmp_path / f"a{source}")
    assert picture.rgb.shape == (9, 6, 3)
    unit = picture.rgb / np.float32(255) if bits > 8 else picture.rgb
    large = unit.repeat(2, 0).repeat(2, 1)
    path = tmp_path / f"b{suffix}"
    notes = images.write(path, images.Picture(large, bits=bits, metadata=picture.metadata))
    exif, details, place = exif_of(path)
    # AVIF has an orientation of its own, and Pillow takes it out of EXIF.
    assert exif.get(ORIENTATION, 1 if suffix == ".avif" else 0) == 1
    assert exif[DESCRIPTION] == "a cat"
    assert exif[MAKE].encode("latin-1") == "Ünïcode & Co".encode()
    assert exif[EXPOSURE] in ((1, 125), (1.0, 125.0))
    assert details[0x9003] == "2020:02:03 04:05:06"
    assert (details[0xA003], details[0xA002]) == (18, 12)
    assert float(details[0x829D]) == 2.5
    assert place[1] == "N" and tuple(map(float, place[2])) == (48, 12, 30)
    back = images.read(path)
    assert back.rgb.shape == (18, 12, 3)
    if suffix in (".webp", ".avif"):  # only EXIF has a place for it there, and this one has none
        assert "resolution" in " ".join(notes)
    else:
        np.testing.assert_allclose(back.metadata.dpi, (300, 200), rtol=1e-4)


def test_resolution_without_exif(tmp_path):
    Image.fromarray(tiny_model.photo(6, 9)).save(tmp_path / "a.png", dpi=(300, 200))
    picture = images.read(tmp_path / "a.png")
    for suffix in (".jpg", ".webp", ".tif", ".avif", ".bmp"):
        assert images.write(tmp_path / f"b{suffix}", picture) == ()
        with Image.open(tmp_path / f"b{suffix}") as image:
            exif = image.getexif()
            dpi = image.info.get("dpi") or (exif[0x011A], exif[0x011B])
            np.testing.assert_allclose(list(map(float, dpi)), (300, 200), rtol=2e-3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_xmp_is_kept_upright(tmp_path, suffix):
    described(tmp_path / "a.jpg", xmp=XMP)
    picture = images.read(tmp_path / "a.jpg")
    notes = images.write(tmp_path / f"b{suffix}", picture)
    assert "XMP" not in " ".join(notes)
    xmp = images.read(tmp_path / f"b{suffix}").metadata.xmp
    assert xmp == XMP.replace(b'"6"', b'"1"')


def test_tiff_keeps_what_tiff_says(tmp_path):
    described(tmp_path / "a.jpg", xmp=XMP)
    images.write(tmp_path / "b.tif", images.read(tmp_path / "a.jpg"))
    images.write(tmp_path / "c.tif", images.read(tmp_path / "b.tif"))
    exif, details, place = exif_of(tmp_path / "c.tif")
    assert exif[DESCRIPTION] == "a cat" and exif[MAKE].encode("latin-1") == "Ünïcode & Co".encode()
    assert details[0x9003] == "2020:02:03 04:05:06" and place[1] == "N"
    with tifffile.TiffFile(tmp_path / "c.tif") as file:
        assert file.pages[0].tags[0x011A].value == (300, 1)


def test_text_and_gamma_stay_in_png(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Jane")
    info.add_itxt("Title", "Ein Käfer")
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    Image.fromarray(tiny_model.photo(6, 9)).save(tmp_path / "a.png", pnginfo=info)
    picture = images.read(tmp_path / "a.png")
    for bits in (8, 16):
        rgb = picture.rgb / np.float32(255) if bits == 16 else picture.rgb
        path = tmp_path / f"{bits}.png"
        images.write(path, images.Picture(rgb, bits=bits, metadata=picture.metadata))
        with Image.open(path) as written:
            written.load()
            assert written.text == {"Author": "Jane", "Title": "Ein Käfer"}
            assert written.info["gamma"] == pytest.approx(0.45455)
    for suffix in (".jpg", ".tif", ".bmp"):
        (note,) = images.write(tmp_path / f"a{suffix}", picture)
        assert "no place for" in note and "gamma" in note and "'Author'" in note


def test_comments(tmp_path):
    Image.fromarray(tiny_model.photo(6, 9)).save(tmp_path / "a.jpg", comment="made by hand")
    picture = images.read(tmp_path / "a.jpg")
    assert images.write(tmp_path / "b.jpg", picture) == ()
    assert images.read(tmp_path / "b.jpg").metadata.comment == b"made by hand"
    assert "comment" in images.write(tmp_path / "b.webp", picture)[0]


def test_lost_depth_is_noted(tmp_path):
    picture = images.Picture(np.full((4, 4, 3), 0.5, np.float32), bits=32)
    assert "16-bit" in images.write(tmp_path / "a.png", picture)[0]
    assert "8-bit" in images.write(tmp_path / "a.jpg", picture)[0]
    assert images.write(tmp_path / "a.tif", picture) == ()


def test_exif_too_long_for_jpeg_is_noted(tmp_path):
    exif = Image.Exif()
    exif[DESCRIPTION] = "x" * 70_000
    Image.fromarray(tiny_model.photo(6, 9)).save(tmp_path / "a.png", exif=exif)
    (note,) = images.write(tmp_path / "a.jpg", images.read(tmp_path / "a.png"))
    assert "EXIF" in note


@pytest.mark.parametrize(("kind", "form"), [(3, "Hxx"), (4, "I"), (8, "hxx"), (9, "i")])
def test_orientation_in_any_whole_number_is_undone_once(tmp_path, kind, form):
    block = b"Exif\0\0II*\0" + struct.pack(f"<IHHHI{form}I", 8, 1, ORIENTATION, kind, 1, 6, 0)
    Image.fromarray(tiny_model.photo(6, 9)).save(tmp_path / "a.png", exif=block)
    picture = images.read(tmp_path / "a.png")
    assert picture.rgb.shape == (9, 6, 3)
    images.write(tmp_path / "b.png", picture)
    np.testing.assert_array_equal(images.read(tmp_path / "b.png").rgb, picture.rgb)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # of Pillow
@pytest.mark.parametrize("block", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x"])
@pytest.mark.parametrize("source", ["jpg", "png", "webp"])
def test_damaged_exif_costs_no_picture(tmp_path, source, block):
    path = tmp_path / f"a.{source}"
    Image.fromarray(tiny_model.photo(6, 9)).save(path, exif=block)
    assert images.read_size(path) == (6, 9)
    picture = images.read(path)
    assert picture.rgb.shape == (6, 9, 3)
    for suffix in ("png", "jpg", "tif", "webp", "avif"):
        notes = images.write(tmp_path / f"b.{suffix}", picture)
        assert picture.metadata.exif is None or "EXIF" in " ".join(notes)
        assert images.read_size(tmp_path / f"b.{suffix}") == (6, 9)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_damaged_exif_is_a_note_and_no_raw_warning(tmp_path, suffix):
    """Pillow's own words would reach stderr, where they are not turned into errors."""
    path = tmp_path / f"a.{suffix}"
    described(path)
    content = path.read_bytes()
    # The description's letters are now said to lie far outside of the block.
    order = "<" if b"II*\0" in content else ">"
    entry = struct.pack(f"{order}HHI", DESCRIPTION, 2, 6)
    at = content.index(entry) + len(entry)
    content = content[:at] + struct.pack(f"{order}I", 10**6) + content[at + 4 :]
    if suffix == "png":
        start = content.index(b"eXIf")
        length = int.from_bytes(content[start - 4 : start])
        end = start + 4 + length
        content = (
            content[:end] + struct.pack(">I", zlib.crc32(content[start:end])) + content[end + 4 :]
        )
    path.write_bytes(content)
    script = (
        "import sys; from gaussiansr_jax import images; picture = images.read(sys.argv[1]);"
        "print(picture.rgb.shape, picture.notes);"
        "[images.write(sys.argv[1] + end, picture) for end in ('.tif', '.avif', '.jpg')]"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "(9, 6, 3) ('its EXIF is damaged, and part of it may be lost',)\n"
