import io

import numpy as np
import pytest
import tifffile
import tiny_model
from PIL import Image, ImageCms

from gaussiansr_jax import UserError, images
from gaussiansr_jax.files import atomic_write

EXIF_ORIENTATION = 0x0112


def gradient(height, width, channels, dtype=np.uint16):
    values = np.random.default_rng(0).integers(
        0, np.iinfo(dtype).max + 1, (height, width, channels)
    )
    return values.astype(dtype)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp"])
def test_8_bit_rgb_round_trip(tmp_path, suffix):
    rgb = tiny_model.photo(6, 9)
    path = tmp_path / f"a{suffix}"
    images.write(path, images.Picture(rgb))
    picture = images.read(path)
    np.testing.assert_array_equal(picture.rgb, rgb)
    assert (picture.alpha, picture.grey, picture.bits, picture.notes) == (None, False, 8, ())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# What undoes each orientation, from the EXIF 2.3 standard: where row 0 and column 0 are seen.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: np.transpose(a, (1, 0, 2)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.transpose(a, (1, 0, 2)), 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_orientation(tmp_path, orientation, suffix):
    rgb = tiny_model.photo(4, 7)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    Image.fromarray(rgb).save(tmp_path / f"a{suffix}", exif=exif)
    picture = images.read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.rgb, UPRIGHT[orientation](rgb))
    images.write(tmp_path / "b.png", picture)
    with Image.open(tmp_path / "b.png") as written:
        assert written.getexif().get(EXIF_ORIENTATION, 1) == 1


def test_16_bit_tiff_is_turned_upright_once(tmp_path):
    values = gradient(4, 7, 3)
    tag = (EXIF_ORIENTATION, "H", 1, 6, True)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extratags=[tag])
    picture = images.read(tmp_path / "a.tif")
    assert picture.bits == 16
    np.testing.assert_allclose(picture.rgb, UPRIGHT[6](values) / 65535, atol=1e-7)


def test_grey_stays_grey(tmp_path):
    grey = tiny_model.photo(5, 8)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    picture = images.read(tmp_path / "a.png")
    assert picture.grey
    np.testing.assert_array_equal(picture.rgb, np.stack([grey] * 3, -1))
    images.write(tmp_path / "b.png", picture)
    with Image.open(tmp_path / "b.png") as written:
        assert written.mode == "L"
        np.testing.assert_array_equal(np.asarray(written), grey)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_stay(tmp_path, channels, suffix):
    values = gradient(6, 5, channels)
    alpha = values[..., -1] / np.float32(65535) if channels in (2, 4) else None
    colors = values[..., : 1 if channels < 3 else 3] / np.float32(65535)
    rgb = np.ascontiguousarray(np.broadcast_to(colors, (6, 5, 3)))
    picture = images.Picture(rgb, alpha, grey=channels < 3, bits=16)
    images.write(tmp_path / f"a{suffix}", picture)
    if suffix == ".tif":
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), values.squeeze())
    back = images.read(tmp_path / f"a{suffix}")
    assert back.bits == 16
    assert back.grey == picture.grey
    np.testing.assert_array_equal(back.rgb, rgb)
    if alpha is not None:
        np.testing.assert_array_equal(back.alpha, alpha)


def test_16_bits_become_8_in_formats_that_have_no_more(tmp_path):
    picture = images.Picture(np.full((4, 4, 3), 0.5, np.float32), bits=16)
    images.write(tmp_path / "a.bmp", picture)
    np.testing.assert_array_equal(images.read(tmp_path / "a.bmp").rgb, 128)
    images.write(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(images.read_rgb(tmp_path / "a.png"), 128)


def test_alpha_round_trip(tmp_path):
    rgb, alpha = tiny_model.photo(5, 6), gradient(5, 6, 1, np.uint8)[..., 0] / np.float32(255)
    images.write(tmp_path / "a.png", images.Picture(rgb, alpha))
    back = images.read(tmp_path / "a.png")
    np.testing.assert_array_equal(back.rgb, rgb)
    np.testing.assert_allclose(back.alpha, alpha, atol=1e-6)
    with pytest.raises(UserError, match=r"holds no transparency; use \.png"):
        images.write(tmp_path / "a.jpg", back)


def test_colors_of_transparent_pixels_come_from_the_nearest_visible():
    rgb = np.zeros((3, 5, 3), np.uint8)
    rgb[:, 0], rgb[:, 4] = 200, 100
    alpha = np.float32([[1, 0, 0, 0, 0.5]] * 3)
    bled = images.bleed_colors(images.Picture(rgb, alpha))
    np.testing.assert_array_equal(bled.rgb[1, [0, 1, 3, 4], 0], [200, 200, 100, 100])
    np.testing.assert_array_equal(bled.alpha, alpha)


def test_alpha_is_enlarged_by_bicubic():
    alpha = np.zeros((8, 8), np.float32)
    alpha[:, 4:] = 1
    large = images.resize_alpha(alpha, (16, 32))
    assert large.shape == (16, 32)
    assert (large.min(), large.max()) == (0, 1)
    # Output pixel 15 is at 3.375 in LR pixels: Keys' a = -1/2 at distances 0.625 and 1.625.
    near, far = 1.5 * 0.625**3 - 2.5 * 0.625**2 + 1, -0.5 * 1.625**3 + 2.5 * 1.625**2 - 4.5
    np.testing.assert_allclose(large[8, 15], near + far, atol=1e-5)


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(np.uint8([[0, 1], [2, 1]]), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png", transparency=1)
    picture = images.read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.rgb[0], [[10, 20, 30], [40, 50, 60]])
    np.testing.assert_array_equal(picture.alpha, [[1, 0], [1, 0]])


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    picture = images.read(tmp_path / "a.jpg")
    assert np.abs(picture.rgb.astype(int) - [255, 0, 0]).max() <= 3


def test_floats_stay_in_tiff(tmp_path):
    rgb = np.random.default_rng(0).random((5, 6, 3), np.float32)
    picture = images.Picture(rgb, rgb[..., 0], bits=32)
    images.write(tmp_path / "a.tif", picture)
    back = images.read(tmp_path / "a.tif")
    assert back.bits == 32
    np.testing.assert_array_equal(back.rgb, rgb)
    np.testing.assert_array_equal(back.alpha, rgb[..., 0])
    images.write(tmp_path / "a.png", picture)
    deep = images.read(tmp_path / "a.png")
    assert deep.bits == 16
    np.testing.assert_allclose(deep.rgb, rgb, atol=0.51 / 65535)


def test_color_profile_is_kept(tmp_path):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for bits in (8, 16):
        rgb = tiny_model.photo(4, 4) if bits == 8 else np.zeros((4, 4, 3), np.float32)
        for suffix in (".png", ".tif"):
            path = tmp_path / f"{bits}{suffix}"
            images.write(path, images.Picture(rgb, bits=bits, icc=icc))
            assert images.read(path).icc == icc


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    picture = images.read(tmp_path / "a.gif")
    assert picture.notes == ("only the first of 2 frames is used",)
    np.testing.assert_array_equal(picture.rgb[0, 0], [255, 0, 0])


def damaged_files():
    buffer = io.BytesIO()
    Image.fromarray(tiny_model.photo(40, 40)).save(buffer, "PNG")
    png = buffer.getvalue()
    return {"text": b"no image at all", "empty": b"", "cut": png[: len(png) // 2], "crc": png[:60]}


@pytest.mark.parametrize("kind", damaged_files())
def test_damaged_files(tmp_path, kind):
    path = tmp_path / "bad.png"
    path.write_bytes(damaged_files()[kind])
    with pytest.raises(UserError, match=r"cannot read .*bad\.png as an image"):
        images.read(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no image file"):
        images.read(tmp_path / "missing.png")


def test_existing_files_are_not_replaced_unasked(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(UserError, match="exists already; pass --overwrite"):
        images.write(path, images.Picture(tiny_model.photo(4, 4)))
    assert path.read_bytes() == b"precious"
    images.write(path, images.Picture(tiny_model.photo(4, 4)), overwrite=True)
    assert images.read(path).rgb.shape == (4, 4, 3)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(UserError, match="disk full"), atomic_write(path) as temporary:
        temporary.write_bytes(b"half")
        raise OSError(28, "disk full")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_unwritable_places(tmp_path):
    picture = images.Picture(tiny_model.photo(4, 4))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write"):
        images.write(tmp_path / "file" / "a.png", picture)
    with pytest.raises(UserError, match=r"no image format ends in '\.xyz'"):
        images.write(tmp_path / "a.xyz", picture)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="it is a folder"):
        images.write(tmp_path / "folder.png", picture)


def test_find(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "._b.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c.png").mkdir()
    assert images.find([tmp_path]) == [tmp_path / "a.JPG", tmp_path / "b.png"]
    assert images.find([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]
    with pytest.raises(UserError, match="no images in"):
        images.find([tmp_path / "c.png"])
    with pytest.raises(UserError, match="no file or folder"):
        images.find([tmp_path / "missing"])
