"""Images to tiles, held-out splits, and what is said about files that cannot be used."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gaussiansr_jax.data import store as store_module
from gaussiansr_jax.data.held_out import center_crops, split_images
from gaussiansr_jax.data.pool import build_pool
from gaussiansr_jax.data.sources import ImageRef, find_images
from gaussiansr_jax.data.store import Store
from gaussiansr_jax.errors import UserError


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def refs(*paths: Path) -> list[ImageRef]:
    return [ImageRef(str(path), lambda path=path: str(path)) for path in paths]


def test_tiles_cover_an_image_and_keep_its_pixels(tmp_path):
    pixels = picture(70, 33)
    pool = build_pool(refs(save(tmp_path / "a.png", pixels)), tile_size=32, min_size=16)
    # Rows start at 0, 19, 38 and columns at 0, 1.
    assert pool.tiles.shape == (6, 32, 32, 3) and (pool.sizes == 32).all()
    np.testing.assert_array_equal(pool.tiles[3], pixels[19:51, 1:33])
    np.testing.assert_array_equal(pool.tiles[5], pixels[38:70, 1:33])


def test_an_image_smaller_than_a_tile_is_padded(tmp_path):
    pixels = picture(20, 30)
    pool = build_pool(refs(save(tmp_path / "a.png", pixels)), tile_size=32, min_size=16)
    np.testing.assert_array_equal(pool.sizes, [[20, 30]])
    np.testing.assert_array_equal(pool.tiles[0, :20, :30], pixels)
    assert not pool.tiles[0, 20:].any() and not pool.tiles[0, :, 30:].any()


def test_images_enter_reduced_where_they_are_large_enough(tmp_path):
    large, small = picture(64, 48), picture(40, 34)
    files = refs(save(tmp_path / "a.png", large), save(tmp_path / "b.png", small))
    pool = build_pool(files, tile_size=64, min_size=20, reductions=(1.0, 2.0))
    np.testing.assert_array_equal(pool.sizes, [[64, 48], [32, 24], [40, 34]])
    np.testing.assert_array_equal(pool.tiles[0, :64, :48], large)
    half = Image.fromarray(large).resize((24, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pool.tiles[1, :32, :24], half)
    with pytest.raises(UserError, match=r"smaller than the crop of 40x40: .*b.png \(40x34\)"):
        build_pool(files, tile_size=64, min_size=20, reductions=(2.0,))


def test_grey_alpha_16_bits_and_orientation(tmp_path):
    pixels = picture(24, 40)
    grey = pixels[..., 0]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    files = [
        save(tmp_path / "grey.png", grey),
        save(tmp_path / "alpha.png", np.dstack([pixels, grey])),
        save(tmp_path / "deep.png", grey.astype(np.uint16) * 257),
        save(tmp_path / "turned.png", pixels, exif=exif),
    ]
    pool = build_pool(refs(*files), tile_size=40, min_size=16)
    np.testing.assert_array_equal(pool.tiles[0, :24, :40], np.dstack([grey] * 3))
    np.testing.assert_array_equal(pool.tiles[1, :24, :40], pixels)
    np.testing.assert_array_equal(pool.tiles[2, :24, :40], np.dstack([grey] * 3))
    np.testing.assert_array_equal(pool.tiles[3, :40, :24], np.rot90(pixels, -1))


def test_all_bad_files_are_named_in_one_sentence(tmp_path):
    good = save(tmp_path / "good.png", picture(40, 40))
    small = save(tmp_path / "small.png", picture(15, 40))
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(UserError) as error:
        build_pool(refs(good, small, text), tile_size=32, min_size=16)
    said = str(error.value)
    assert "text.png" in said and "small.png (15x40)" in said and "good.png" not in said
    assert "smaller than the crop of 16x16" in said and "\n" not in said


def test_a_truncated_file_is_named(tmp_path):
    file = save(tmp_path / "cut.png", picture(64, 64))
    file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(UserError, match=r"1 image cannot be read: .*cut.png"):
        build_pool(refs(file), tile_size=32, min_size=16)


def test_many_bad_files_are_counted(tmp_path):
    files = [save(tmp_path / f"{i:02}.png", picture(8, 8)) for i in range(9)]
    with pytest.raises(UserError, match=r"9 images smaller .*04.png \(8x8\) and 4 more;"):
        build_pool(refs(*files), tile_size=32, min_size=16)


def test_the_split_is_spread_and_always_the_same():
    images = [ImageRef(str(i), io.BytesIO) for i in range(10)]
    train, held_out = split_images(images, 2)
    assert [image.name for image in held_out] == ["2", "7"]
    assert len(train) == 8 and not set(held_out) & set(train)
    assert split_images(images, 0) == (images, [])
    with pytest.raises(UserError, match="val_images=10 of 10"):
        split_images(images, 10)


def test_center_crops(tmp_path):
    pixels = picture(20, 31)
    file = save(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(center_crops(refs(file), 12)[0], pixels[4:16, 9:21])
    with pytest.raises(UserError, match=r"smaller than the crop of 24x24: .*a.png \(20x31\)"):
        center_crops(refs(file), 24)


def test_the_sample_photographs_make_a_pool():
    pool = build_pool(find_images("samples"), tile_size=256, min_size=192)
    assert len(pool.tiles) > 50 and pool.sizes.min() >= 192


def test_bad_images_are_skipped_if_so_set(tmp_path, capsys):
    good = [save(tmp_path / f"good{i}.png", picture(40, 40, i)) for i in range(2)]
    cut, small = (
        save(tmp_path / "cut.png", picture(64, 64)),
        save(tmp_path / "s.png", picture(9, 9)),
    )
    cut.write_bytes(cut.read_bytes()[:4000])
    text = tmp_path / "text.png"
    text.write_text("no image")
    files = refs(good[0], cut, small, text, good[1])
    pool = build_pool(files, tile_size=32, min_size=16, skip=True)
    expected = build_pool(refs(*good), tile_size=32, min_size=16)
    np.testing.assert_array_equal(pool.tiles, expected.tiles)
    np.testing.assert_array_equal(pool.sizes, expected.sizes)
    said = capsys.readouterr().err
    assert "text.png" in said and "s.png (9x9)" in said and "cut.png (" in said
    assert center_crops(files, 12, skip=True).shape == (2, 12, 12, 3)
    with pytest.raises(UserError, match=r"1 image cannot be read: .*cut.png .*; no image is left"):
        build_pool(refs(cut), tile_size=32, min_size=16, skip=True)


def test_tiles_on_the_disk_are_written_once(tmp_path, capsys):
    files = [save(tmp_path / f"{i}.png", picture(40, 50, i)) for i in range(3)]
    store = Store(True, str(tmp_path / "cache"))

    def build(tile_size=32):
        images = find_images(f"folder:{tmp_path}")
        return build_pool(images, tile_size, 16, store=store), capsys.readouterr().err

    (first, wrote), (second, read) = build(), build()
    plain = build_pool(find_images(f"folder:{tmp_path}"), 32, 16)
    for pool in (first, second):
        assert isinstance(pool.tiles, np.memmap)
        np.testing.assert_array_equal(pool.tiles, plain.tiles)
    (file,) = (tmp_path / "cache").iterdir()
    assert f"writing 0.00 GB of tiles to {file}" in wrote and f"tiles: {file}" in read
    assert "decoding" not in read
    # A changed image or setting gives another file.
    save(files[0], picture(40, 50, 9))
    changed, wrote = build()
    assert "writing" in wrote and not np.array_equal(changed.tiles, first.tiles)
    assert "writing" in build(tile_size=40)[1]


def test_a_damaged_image_leaves_no_file_of_tiles(tmp_path):
    file = save(tmp_path / "cut.png", picture(64, 64))
    file.write_bytes(file.read_bytes()[:4000])
    store = Store(True, str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"cut.png \("):
        build_pool(find_images(f"folder:{tmp_path}"), 32, 16, store=store)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="not on this system")
def test_too_little_room_on_the_disk_is_one_sentence(tmp_path, monkeypatch):
    files = refs(save(tmp_path / "a.png", picture(40, 50)))

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="No space left on device; set pool_cache to a folder"):
        build_pool(files, 32, 16, store=Store(True, str(tmp_path / "cache")))
    assert not list((tmp_path / "cache").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .* of tiles to"):
        build_pool(files, 32, 16, store=Store(True, str(tmp_path / "file" / "below")))


def test_memory_decides_where_tiles_lie(monkeypatch):
    monkeypatch.setattr(store_module, "available_bytes", lambda: 1000)
    assert Store().takes_disk(900) and not Store().takes_disk(700)
    assert Store(True).takes_disk(1) and not Store(False).takes_disk(10**9)


def test_a_broken_image_is_named_once_and_without_the_decoders_words(tmp_path):
    path = tmp_path / "b.png"
    path.write_bytes(b"broken")
    with pytest.raises(UserError) as error:
        build_pool([ImageRef(str(path), lambda: str(path))], 80, 16)
    assert str(error.value) == (
        f"1 image cannot be read: {path} (it is in no known format); remove or replace them, or "
        "set skip_bad_images=True"
    )


@pytest.mark.processes
def test_a_pool_on_disk_needs_little_memory(tmp_path):
    """A process may take 450 MB more; 604 MB of tiles are cut, stored and read, or refused."""

    def run(place):
        script = Path(__file__).with_name("little_memory.py")
        line = [sys.executable, script, tmp_path, place]
        return subprocess.run(line, text=True, capture_output=True)

    on_disk, in_memory = run("disk"), run("host")
    assert on_disk.returncode == 0 and "604 MB of tiles" in on_disk.stdout, on_disk
    assert in_memory.returncode == 1 and "0.6 GB of tiles do not fit" in in_memory.stderr
    assert "set pool=disk" in in_memory.stderr
