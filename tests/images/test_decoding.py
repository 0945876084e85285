"""Every kind of pixels that image files hold becomes the same picture, everywhere.

Each case is made from one photograph; what it must give is known without the decoder.
"""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage import data

from gaussiansr_jax import UserError, images
from gaussiansr_jax.data.pool import build_pool
from gaussiansr_jax.data.sources import ImageRef
from gaussiansr_jax.images import png

PHOTO = data.chelsea()[50:114, 100:180]
UNIT = (PHOTO / 255).astype(np.float32)
GREY = UNIT.mean(-1, keepdims=True)
ALPHA = np.tile(np.linspace(0, 1, 80, dtype=np.float32), (64, 1))[..., None]


def ints(values, bits):
    return np.rint(values * (2**bits - 1)).astype(f"u{1 if bits <= 8 else bits // 8}")


def deep(values):
    return np.rint(values * 65535).astype(np.uint16)


def tiff(values, **options):
    buffer = io.BytesIO()
    squeezed = values[..., 0] if values.shape[-1] == 1 else values
    tifffile.imwrite(buffer, squeezed, metadata=None, **options)
    return buffer.getvalue()


def pillow(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bytes8(values):
    return np.rint(values * 255).astype(np.uint8)


def inks(rgb):
    """RGB [0, 1] to inks, without a profile, with as much black as there is."""
    black = 1 - rgb.max(-1, keepdims=True)
    return np.concatenate([(1 - rgb - black) / np.maximum(1 - black, 1e-6), black], -1)


def with_chunk(png, kind, content):
    """A PNG with one more chunk before its pixels."""
    place = png.index(b"IDAT") - 4
    chunk = kind + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:place] + chunk + png[place:]


def palette_of(rgb, colors=64):
    image = Image.fromarray(rgb).quantize(colors)
    table = np.array(image.getpalette()).reshape(-1, 3)
    full = np.zeros((256, 3), np.uint16)
    full[: len(table)] = table
    return np.asarray(image), full


INDICES, TABLE = palette_of(PHOTO)
PALETTED = TABLE[INDICES] / 255
LAB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PREMULTIPLIED = np.concatenate([UNIT * ALPHA, ALPHA], -1)
STRAIGHT = np.concatenate([UNIT, ALPHA], -1)
GREY_ALPHA = np.concatenate([GREY, ALPHA], -1)
PLANES = UNIT.transpose(2, 0, 1)
LAB = np.asarray(Image.fromarray(PHOTO).convert("LAB")).view(np.int8)

# name: (bytes, colors that are right, bits, alpha or None)
CASES = {
    # 16-bit and other depths
    "rgb16": (tiff(deep(UNIT), photometric="rgb"), UNIT, 16, None),
    "rgb8": (tiff(PHOTO, photometric="rgb"), UNIT, 8, None),
    "rgb16 big-endian": (tiff(deep(UNIT), photometric="rgb", byteorder=">"), UNIT, 16, None),
    "rgb16 bigtiff": (tiff(deep(UNIT), photometric="rgb", bigtiff=True), UNIT, 16, None),
    "rgb32": (
        tiff(np.rint(UNIT.astype("f8") * (2**32 - 1)).astype("u4"), photometric="rgb"),
        UNIT,
        16,
        None,
    ),
    "grey12": (tiff(np.rint(GREY * 4095).astype("u2"), bitspersample=12), GREY, 16, None),
    "rgb12": (
        tiff(np.rint(UNIT * 4095).astype("u2"), photometric="rgb", bitspersample=12),
        UNIT,
        16,
        None,
    ),
    "grey4": (
        tiff(ints(np.rint(GREY * 15) / 15, 4), bitspersample=4),
        np.rint(GREY * 15) / 15,
        8,
        None,
    ),
    "grey1": (tiff(GREY > 0.5, photometric="minisblack"), GREY > 0.5, 8, None),
    "float16": (tiff(UNIT.astype("f2"), photometric="rgb"), UNIT, 32, None),
    "float32": (tiff(UNIT, photometric="rgb"), UNIT, 32, None),
    "float64 grey": (tiff(GREY.astype("f8")), GREY, 32, None),
    "float32 predictor": (
        tiff(UNIT, photometric="rgb", compression="zlib", predictor=3),
        UNIT,
        32,
        None,
    ),
    "float32 alpha": (
        tiff(STRAIGHT, photometric="rgb", extrasamples=["unassalpha"]),
        UNIT,
        32,
        ALPHA,
    ),
    # layout and compression
    "planes16": (tiff(deep(PLANES), photometric="rgb", planarconfig="separate"), UNIT, 16, None),
    "planes8": (tiff(bytes8(PLANES), photometric="rgb", planarconfig="separate"), UNIT, 8, None),
    "planes float": (tiff(PLANES, photometric="rgb", planarconfig="separate"), UNIT, 32, None),
    "planes tiled": (
        tiff(deep(PLANES), photometric="rgb", planarconfig="separate", tile=(32, 32)),
        UNIT,
        16,
        None,
    ),
    "tiled": (tiff(deep(UNIT), photometric="rgb", tile=(16, 48)), UNIT, 16, None),
    "strips": (tiff(deep(UNIT), photometric="rgb", rowsperstrip=7), UNIT, 16, None),
    **{
        f"{name} {'predictor' * predictor}": (
            tiff(deep(UNIT), photometric="rgb", compression=name, predictor=predictor),
            UNIT,
            16,
            None,
        )
        for name in ("lzw", "zlib", "zstd", "lzma")
        for predictor in (False, True)
    },
    "packbits": (tiff(PHOTO, photometric="rgb", compression="packbits"), UNIT, 8, None),
    # black and white
    "white is zero 16": (tiff(65535 - deep(GREY), photometric="miniswhite"), GREY, 16, None),
    "white is zero 8": (
        tiff(255 - bytes8(GREY), photometric="miniswhite"),
        bytes8(GREY) / 255,
        8,
        None,
    ),
    "white is zero 1": (tiff(GREY <= 0.5, photometric="miniswhite"), GREY > 0.5, 8, None),
    "fax": (
        pillow(
            Image.fromarray(bytes8(GREY > 0.5)[..., 0]).convert("1"), "TIFF", compression="group4"
        ),
        GREY > 0.5,
        8,
        None,
    ),
    # transparency and other extra channels
    "associated 16": (
        tiff(deep(PREMULTIPLIED), photometric="rgb", extrasamples=["assocalpha"]),
        UNIT,
        16,
        ALPHA,
    ),
    "associated 8": (
        tiff(bytes8(PREMULTIPLIED), photometric="rgb", extrasamples=["assocalpha"]),
        UNIT,
        8,
        ALPHA,
    ),
    "associated planes": (
        tiff(
            deep(PREMULTIPLIED.transpose(2, 0, 1)),
            photometric="rgb",
            planarconfig="separate",
            extrasamples=["assocalpha"],
        ),
        UNIT,
        16,
        ALPHA,
    ),
    "associated grey": (
        tiff(
            deep(GREY_ALPHA * np.concatenate([ALPHA, ALPHA**0], -1)),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["assocalpha"],
        ),
        GREY,
        16,
        ALPHA,
    ),
    "associated float": (
        tiff(PREMULTIPLIED, photometric="rgb", extrasamples=["assocalpha"]),
        UNIT,
        32,
        ALPHA,
    ),
    "straight 16": (
        tiff(deep(STRAIGHT), photometric="rgb", extrasamples=["unassalpha"]),
        UNIT,
        16,
        ALPHA,
    ),
    "straight 8": (
        tiff(bytes8(STRAIGHT), photometric="rgb", extrasamples=["unassalpha"]),
        UNIT,
        8,
        ALPHA,
    ),
    "unspecified 16": (
        tiff(deep(STRAIGHT), photometric="rgb", extrasamples=["unspecified"]),
        UNIT,
        16,
        None,
    ),
    "unspecified 8": (
        tiff(bytes8(STRAIGHT), photometric="rgb", extrasamples=["unspecified"]),
        UNIT,
        8,
        None,
    ),
    "unspecified grey": (
        tiff(
            deep(GREY_ALPHA),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["unspecified"],
        ),
        GREY,
        16,
        None,
    ),
    "second extra is alpha": (
        tiff(
            deep(np.concatenate([UNIT, 1 - ALPHA, ALPHA], -1)),
            photometric="rgb",
            extrasamples=["unspecified", "unassalpha"],
        ),
        UNIT,
        16,
        ALPHA,
    ),
    "alpha and more": (
        tiff(
            deep(np.concatenate([UNIT, ALPHA, 1 - ALPHA, ALPHA], -1)),
            photometric="rgb",
            extrasamples=["unassalpha", "unspecified", "unspecified"],
        ),
        UNIT,
        16,
        ALPHA,
    ),
    # inks, Lab, YCbCr, palettes
    "cmyk 8": (tiff(bytes8(inks(UNIT)), photometric="separated"), UNIT, 8, None),
    "cmyk 16": (tiff(deep(inks(UNIT)), photometric="separated"), UNIT, 16, None),
    "cmyk 16 planes": (
        tiff(deep(inks(UNIT).transpose(2, 0, 1)), photometric="separated", planarconfig="separate"),
        UNIT,
        16,
        None,
    ),
    "cmyk alpha": (
        tiff(
            deep(np.concatenate([inks(UNIT), ALPHA], -1)),
            photometric="separated",
            extrasamples=["unassalpha"],
        ),
        UNIT,
        16,
        ALPHA,
    ),
    "lab": (pillow(Image.fromarray(PHOTO).convert("LAB"), "TIFF"), UNIT, 8, None),
    "lab 16": (
        tiff(
            np.concatenate(
                [
                    LAB[..., :1].view(np.uint8).astype("u2") * 257,
                    (LAB[..., 1:].astype("i2") * 256).view("u2"),
                ],
                -1,
            ),
            photometric="cielab",
            iccprofile=LAB_PROFILE,
        ),
        UNIT,
        16,
        None,
    ),
    "icc lab": (
        tiff(
            np.concatenate(
                [LAB[..., :1].view(np.uint8), (LAB[..., 1:].astype("i2") + 128).astype(np.uint8)],
                -1,
            ),
            photometric="icclab",
        ),
        UNIT,
        8,
        None,
    ),
    "ycbcr": (pillow(Image.fromarray(PHOTO).convert("YCbCr"), "TIFF"), UNIT, 8, None),
    "palette 8": (
        tiff(INDICES, photometric="palette", colormap=TABLE.T * np.uint16(257)),
        PALETTED,
        8,
        None,
    ),
    "palette 8 shifted": (
        tiff(INDICES, photometric="palette", colormap=TABLE.T * np.uint16(256)),
        PALETTED,
        8,
        None,
    ),
    "palette of bytes": (tiff(INDICES, photometric="palette", colormap=TABLE.T), PALETTED, 8, None),
    # PNG
    "png 16": (imagecodecs.png_encode(deep(UNIT)), UNIT, 16, None),
    "png 16 alpha": (imagecodecs.png_encode(deep(STRAIGHT)), UNIT, 16, ALPHA),
    "png 16 grey": (imagecodecs.png_encode(deep(GREY)[..., 0]), GREY, 16, None),
    "png 16 grey alpha": (imagecodecs.png_encode(deep(GREY_ALPHA)), GREY, 16, ALPHA),
    "png 8 grey alpha": (pillow(Image.fromarray(bytes8(GREY_ALPHA)), "PNG"), GREY, 8, ALPHA),
    "png 16 one color": (
        with_chunk(
            imagecodecs.png_encode(deep(UNIT)), b"tRNS", struct.pack(">HHH", *deep(UNIT)[0, 0])
        ),
        UNIT,
        16,
        (deep(UNIT) != deep(UNIT)[0, 0]).any(-1, keepdims=True),
    ),
    "png 16 one grey": (
        with_chunk(
            imagecodecs.png_encode(deep(GREY)[..., 0]),
            b"tRNS",
            struct.pack(">H", deep(GREY)[0, 0, 0]),
        ),
        GREY,
        16,
        deep(GREY) != deep(GREY)[0, 0],
    ),
    "png palette": (
        pillow(Image.fromarray(PHOTO).quantize(64), "PNG", transparency=3),
        PALETTED,
        8,
        (INDICES != 3)[..., None],
    ),
    "png palette alphas": (
        pillow(Image.fromarray(PHOTO).quantize(64), "PNG", transparency=bytes(range(0, 256, 4))),
        PALETTED,
        8,
        INDICES[..., None] * 4 / 255,
    ),
    "png 1": (
        pillow(Image.fromarray(bytes8(GREY > 0.5)[..., 0]).convert("1"), "PNG"),
        GREY > 0.5,
        8,
        None,
    ),
    # others
    "cmyk jpeg": (
        pillow(Image.fromarray(bytes8(inks(UNIT)), "CMYK"), "JPEG", quality=100, subsampling=0),
        UNIT,
        8,
        None,
    ),
    "jpeg 2000": (pillow(Image.fromarray(PHOTO), "JPEG2000"), UNIT, 8, None),
    "jpeg 2000 16": (
        imagecodecs.jpeg2k_encode(deep(UNIT), level=0, reversible=True),
        UNIT,
        16,
        None,
    ),
    "jpeg 2000 12": (
        imagecodecs.jpeg2k_encode(
            np.rint(UNIT * 4095).astype("u2"), level=0, reversible=True, bitspersample=12
        ),
        UNIT,
        16,
        None,
    ),
    "qoi": (imagecodecs.qoi_encode(PHOTO), UNIT, 8, None),
    "tga": (pillow(Image.fromarray(bytes8(STRAIGHT)), "TGA"), UNIT, 8, ALPHA),
    "ico": (pillow(Image.fromarray(PHOTO), "ICO", sizes=[(80, 64)]), UNIT, 8, None),
    "avif": (
        pillow(Image.fromarray(PHOTO), "AVIF", quality=100, subsampling="4:4:4"),
        UNIT,
        8,
        None,
    ),
    "pgm 16": (b"P5\n80 64\n65535\n" + deep(GREY).astype(">u2").tobytes(), GREY, 16, None),
    "ppm 16": (b"P6\n80 64\n65535\n" + deep(UNIT).astype(">u2").tobytes(), UNIT, 16, None),
    "pgm 10": (b"P5 80 64 1023\n" + np.rint(GREY * 1023).astype(">u2").tobytes(), GREY, 16, None),
    "ppm 8": (b"P6\n# a cat\n80 64\n255\n" + PHOTO.tobytes(), UNIT, 8, None),
    "ppm of 100": (
        b"P6\n80 64\n100\n" + np.rint(UNIT * 100).astype("u1").tobytes(),
        np.rint(UNIT * 100) / 100,
        8,
        None,
    ),
    "pgm text": (
        b"P2\n80 64\n255\n" + " ".join(map(str, bytes8(GREY).ravel())).encode(),
        GREY,
        8,
        None,
    ),
    "pbm": (b"P4\n80 64\n" + np.packbits(GREY[..., 0] <= 0.5, -1).tobytes(), GREY > 0.5, 8, None),
    "pam": (
        b"P7\nWIDTH 80\nHEIGHT 64\nDEPTH 4\nMAXVAL 65535\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
        + deep(STRAIGHT).astype(">u2").tobytes(),
        UNIT,
        16,
        ALPHA,
    ),
    "pfm": (b"PF\n80 64\n-1.0\n" + UNIT[::-1].astype("<f4").tobytes(), UNIT, 32, None),
    "pfm grey": (b"Pf\n80 64\n1.0\n" + GREY[::-1].astype(">f4").tobytes(), GREY, 32, None),
}
# Where one level of 255 is not enough: 8-bit Lab, lossy codecs, division of small numbers.
TOLERANCE = {
    "lab": 3,
    "lab 16": 3,
    "icc lab": 3,
    "ycbcr": 3,
    "cmyk jpeg": 4,
    "avif": 6,
    "cmyk 8": 2,
}


@pytest.mark.parametrize("name", CASES)
def test_every_kind_gives_the_photograph(tmp_path, name):
    content, colors, bits, alpha = CASES[name]
    path = tmp_path / "image"
    path.write_bytes(content)
    picture = images.read(path)
    assert picture.bits == bits
    assert picture.rgb.dtype == (np.uint8 if bits == 8 else np.float32)
    assert picture.grey == (np.shape(colors)[-1] == 1)
    unit = picture.rgb / np.float32(255 if bits == 8 else 1)
    visible = np.broadcast_to(ALPHA > 0.5, unit.shape) if name.startswith("associated") else True
    difference = np.abs(unit - colors)[np.broadcast_to(visible, unit.shape)]
    assert difference.max() <= (TOLERANCE.get(name, 1) + 0.01) / 255
    if alpha is None:
        assert picture.alpha is None
    else:
        np.testing.assert_allclose(picture.alpha, alpha[..., 0], atol=0.51 / 255)
    # The profile of Lab or ink pixels does not stay on RGB.
    assert picture.icc in (None, SRGB_PROFILE)


@pytest.mark.parametrize("name", CASES)
def test_training_sees_what_upscaling_sees(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(CASES[name][0])
    rgb = images.read_rgb(path)
    assert images.read_size(path) == rgb.shape[:2] == (64, 80)
    picture = images.read(path)
    exact = picture.rgb if picture.bits == 8 else np.rint(picture.rgb * 255)
    np.testing.assert_array_equal(rgb, exact)
    for source in (str(path), io.BytesIO(path.read_bytes())):
        tiles = build_pool([ImageRef("a", lambda source=source: source)], 80, 16).tiles
        np.testing.assert_array_equal(tiles[0, :64, :80], rgb)


REFUSED = {
    "float beyond 1": (tiff(UNIT * 255, photometric="rgb"), "floating-point values from .* to 2"),
    "float nan": (tiff(np.where(UNIT > 0.9, np.nan, UNIT), photometric="rgb"), "floating-point"),
    "signed": (tiff(deep(GREY / 2).astype("i2")), "int16, which has no natural white"),
    "complex": (tiff(GREY.astype("c8")), "complex64"),
    "counts": (tiff(deep(GREY).astype("u4")), "32-bit values that are all below"),
    "raw": (tiff(deep(GREY), photometric="cfa"), "color kind CFA"),
    "five inks": (
        tiff(
            deep(np.concatenate([inks(UNIT), ALPHA], -1)),
            photometric="separated",
            extratags=[(332, "H", 1, 2, True)],
        ),
        "SEPARATED",
    ),
    "many": (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nENDHDR\n" + bytes(10), "5 channels"),
    "cut strips": (tiff(deep(UNIT), photometric="rgb")[:-900], "cut short|cannot read"),
    "cut ppm": (b"P6\n80 64\n255\n" + PHOTO.tobytes()[:-100], "cannot read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused_by_its_name(tmp_path, name):
    content, said = REFUSED[name]
    path = tmp_path / "image.tif"
    path.write_bytes(content)
    for read in (images.read, images.read_rgb):
        with pytest.raises(UserError, match=said) as error:
            read(path)
        assert "image.tif" in str(error.value) and "\n" not in str(error.value)


def test_overshoot_of_floats_is_clipped_with_a_note(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", UNIT / UNIT.max() * 1.05, photometric="rgb")
    picture = images.read(tmp_path / "a.tif")
    assert picture.rgb.max() <= 1 and "clipped" in picture.notes[0]


def test_pages_are_counted_without_previews(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(PHOTO, photometric="rgb", metadata=None)
        file.write(PHOTO[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    assert images.read(tmp_path / "a.tif").notes == ()
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        for page in (PHOTO, PHOTO[::-1], PHOTO):
            file.write(page, photometric="rgb", metadata=None)
    picture = images.read(tmp_path / "b.tif")
    assert picture.notes == ("only the first of 3 pages is used",)
    np.testing.assert_array_equal(picture.rgb, PHOTO)


def test_a_profile_of_other_pixels_is_left_out_with_a_note(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png", icc_profile=LAB_PROFILE)
    picture = images.read(tmp_path / "a.png")
    assert picture.icc is None and "Lab" in picture.notes[0]
    Image.fromarray(PHOTO).save(tmp_path / "a.png", icc_profile=SRGB_PROFILE)
    assert images.read(tmp_path / "a.png").icc == SRGB_PROFILE


def test_a_damaged_profile_is_left_out_with_a_note(tmp_path):
    for profile in (SRGB_PROFILE[:60], SRGB_PROFILE[:-9], b"junk" * 50):
        Image.fromarray(PHOTO).save(tmp_path / "a.png", icc_profile=profile)
        picture = images.read(tmp_path / "a.png")
        assert picture.icc is None and "it is damaged" in picture.notes[0]


def test_a_palette_with_alpha():
    colormap = (320, "H", 768, (TABLE * 257).T.ravel(), True)
    options = {"photometric": "minisblack", "planarconfig": "contig", "extratags": [colormap]}
    values = np.dstack([INDICES, bytes8(ALPHA)])
    content = bytearray(tiff(values, extrasamples=["unassalpha"], **options))
    place = content.index(struct.pack("<HHI", 262, 3, 1))
    content[place + 8] = 3  # the tag PhotometricInterpretation: a palette
    picture = images.read(io.BytesIO(content))
    np.testing.assert_array_equal(picture.rgb, TABLE[INDICES])
    np.testing.assert_allclose(picture.alpha, ALPHA[..., 0], atol=0.51 / 255)


@pytest.mark.parametrize(("kind", "suffix"), [("HEIF", "heic"), ("JXL", "jxl")])
def test_optional_formats(tmp_path, kind, suffix):
    package = {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}[kind]
    module = pytest.importorskip(package)
    if kind == "HEIF":
        module.register_heif_opener()
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PHOTO).save(path, kind, quality=95)
    assert np.abs(images.read_rgb(path).astype(int) - PHOTO).mean() < 4
    assert images.read(path).bits == 8


STEPS = np.linspace(0, 1, 64 * 80, dtype=np.float32).reshape(64, 80, 1)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif_deeper_than_8_bits(channels, bits):
    values = np.rint(np.repeat(STEPS, channels, -1) * (2**bits - 1)).astype("u2")
    squeezed = values[..., 0] if channels == 1 else values
    content = imagecodecs.avif_encode(squeezed, level=100, bitspersample=bits)
    picture = images.read(io.BytesIO(content))
    assert picture.bits == 16 and picture.grey == (channels == 1) and picture.notes == ()
    expected = np.broadcast_to(values[..., :1] / np.float32(2**bits - 1), (64, 80, 3))
    assert np.abs(picture.rgb - expected).max() < 2**-bits * 2
    if channels == 4:
        assert np.abs(picture.alpha - expected[..., 0]).max() < 2**-bits * 2
    assert len(np.unique(picture.rgb)) > 900
    assert images.read_size(io.BytesIO(content)) == (64, 80)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16, 32])
@pytest.mark.parametrize("shape", [(64, 80, 3), (64, 80), (20, 33, 4), (33, 20, 3)])
def test_jpeg_xl_deeper_than_8_bits(bits, shape):
    pytest.importorskip("pillow_jxl")
    unit = np.random.default_rng(0).random(shape, np.float32)
    values = unit if bits == 32 else np.rint(unit * (2**bits - 1)).astype("u2")
    options = {} if bits == 32 else {"bitspersample": bits}
    content = imagecodecs.jpegxl_encode(values, lossless=True, **options)
    picture = images.read(io.BytesIO(content))
    assert picture.bits == max(bits, 16)
    unit = values / np.float32(1 if bits == 32 else 2**bits - 1)
    expected = unit[..., None] if unit.ndim == 2 else unit
    np.testing.assert_array_equal(
        picture.rgb, np.broadcast_to(expected[..., :3], picture.rgb.shape)
    )
    assert images.read_size(io.BytesIO(content)) == shape[:2]


def test_heic_deeper_than_8_bits():
    heif = pytest.importorskip("pillow_heif")
    deep_values = np.repeat(STEPS * 65535, 3, -1).astype("u2")
    buffer = io.BytesIO()
    heif.from_bytes("RGB;16", (80, 64), deep_values.tobytes()).save(buffer, quality=-1)
    picture = images.read(buffer)
    assert picture.bits == 16 and np.abs(picture.rgb - STEPS).max() < 0.004
    assert len(np.unique(picture.rgb[..., 0])) > 700


@pytest.mark.parametrize("name", CASES)
def test_all_frames_begin_with_the_first(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(CASES[name][0])
    picture, (first,) = images.read(path), images.read_frames(path)
    np.testing.assert_array_equal(first.rgb, picture.rgb)
    np.testing.assert_array_equal(first.alpha, picture.alpha)
    assert first.bits == picture.bits and first.notes == picture.notes


def test_pages_in_ycbcr(tmp_path):
    """Behind a preview, and each with its own colors."""
    preview, *pages = (
        Image.fromarray(array).convert("YCbCr") for array in (PHOTO[::4, ::4], PHOTO, 255 - PHOTO)
    )
    path = tmp_path / "a.tif"
    preview.save(path, save_all=True, append_images=pages, description="a cat")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        subfile = file.pages[0].tags.get("NewSubfileType")
    if subfile is None:  # what Pillow writes has none: the tag of the description becomes it
        place = content.index(struct.pack("<HH", 270, 2))
        struct.pack_into("<HHII", content, place, 254, 4, 1, 1)
        path.write_bytes(content)
    assert images.read_size(path) == PHOTO.shape[:2]
    first = images.read(path)
    assert first.notes == ("only the first of 2 pages is used",)
    assert np.abs(first.rgb.astype(int) - PHOTO).max() <= 3
    frames = images.read_frames(path)
    assert [frame.notes for frame in frames] == [(), ()]
    np.testing.assert_array_equal(frames[0].rgb, first.rgb)
    assert np.abs(frames[1].rgb.astype(int) - (255 - PHOTO)).max() <= 3


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_all_frames_are_upright(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    path, frames = tmp_path / f"a.{kind}", [Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)]
    options = {"lossless": True} if kind == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], exif=exif, **options)
    pictures = images.read_frames(path)
    assert images.read_size(path) == (80, 64)
    for picture, frame in zip(pictures, (PHOTO, 255 - PHOTO), strict=True):
        np.testing.assert_array_equal(picture.rgb, np.rot90(frame, -1))


def with_chunks(content, *chunks):
    """A PNG with chunks behind its header."""
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return content[:33] + b"".join(parts) + content[33:]


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ((9, 16), "HDR colors (BT.2020, PQ)"),
        ((9, 18), "(BT.2020, HLG)"),
        ((12, 13), "(Display P3)"),
    ],
)
@pytest.mark.parametrize("kind", ["png", "avif"])
def test_color_tags_that_are_lost_are_named(kind, tag, words):
    if kind == "png":
        png8 = imagecodecs.png_encode(PHOTO)
        content = with_chunks(png8, (b"cICP", bytes([*tag, 0, 1])))
    else:
        content = imagecodecs.avif_encode(PHOTO, level=90, primaries=tag[0], transfer=tag[1])
    (note,) = images.read(io.BytesIO(content)).notes
    assert words in note and "as sRGB" in note


@pytest.mark.parametrize("tag", [(1, 13), (1, 1), (2, 2)])
def test_usual_color_tags_are_not_named(tag):
    content = with_chunks(imagecodecs.png_encode(PHOTO), (b"cICP", bytes([*tag, 0, 1])))
    assert images.read(io.BytesIO(content)).notes == ()
    content = imagecodecs.avif_encode(PHOTO, level=90, primaries=tag[0], transfer=tag[1])
    assert images.read(io.BytesIO(content)).notes == ()


def test_a_note_on_animations_deeper_than_8_bits():
    """Pillow reads them with 8 bits."""
    values = np.stack([deep(UNIT), deep(1 - UNIT)]) >> 6
    content = imagecodecs.avif_encode(values, level=90, bitspersample=10)
    frames = images.read_frames(io.BytesIO(content))
    assert [frame.bits for frame in frames] == [8, 8]
    assert [frame.notes for frame in frames] == [("its 10-bit frames are read with 8 bits",), ()]
    content = imagecodecs.avif_encode(values.astype("u1"), level=90)
    assert images.read_frames(io.BytesIO(content))[0].notes == ()


def test_a_note_on_png_animations_of_16_bits():
    first, second = (imagecodecs.png_encode(deep(unit)) for unit in (UNIT, 1 - UNIT))
    parts = [
        second[start : start + length]
        for kind, start, length in png._chunks(io.BytesIO(second))
        if kind == b"IDAT"
    ]
    height, width = UNIT.shape[:2]

    def control(number):
        return struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 10, 0, 0)

    def chunk(kind, data):
        return with_chunks(b"", (kind, data))

    animated = with_chunks(first, (b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", control(0)))
    later = chunk(b"fcTL", control(1)) + chunk(b"fdAT", struct.pack(">I", 2) + b"".join(parts))
    frames = images.read_frames(io.BytesIO(animated[:-12] + later + animated[-12:]))
    assert len(frames) == 2
    assert frames[0].notes == ("its 16-bit frames are read with 8 bits",)
