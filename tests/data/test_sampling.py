"""The sample that the device makes, against Pillow and plain indexing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gaussiansr_jax.data.crops import SAMPLE, Table, draw_crops, read_windows, sample_keys
from gaussiansr_jax.data.sampling import Windows, make_batch
from gaussiansr_jax.data.settings import SampleSettings, check_settings
from gaussiansr_jax.errors import UserError

TILE, LR, QUERIES = 72, 16, 12


def make_pool(count: int = 3, tile: int = TILE, sizes=None) -> tuple[jax.Array, Table]:
    """Noise, in which every crop is unlike all others, of a contrast that never clips."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(64, 192, (count, tile, tile, 3), dtype=np.uint8)
    sizes = np.full((count, 2), tile, np.int32) if sizes is None else np.asarray(sizes, np.int32)
    for image, (height, width) in zip(tiles, sizes, strict=True):
        image[height:], image[:, width:] = 0, 0
    return whole_pool(tiles, sizes)


def whole_pool(tiles: np.ndarray, sizes: np.ndarray) -> tuple[jax.Array, Table]:
    table = Table(sizes, np.int32(0), np.int32(len(tiles)))
    return jax.device_put((tiles, table))


@partial(jax.jit, static_argnums=2)
def draw_at(pool: tuple[jax.Array, Table], step, settings: SampleSettings, indices):
    tiles, table = pool
    crops = draw_crops(table, step[None], indices, settings, tiles.shape[1])
    windows = Windows(read_windows(tiles, crops, settings.crop_size), crops, step, jnp.int32(0))
    return make_batch(windows, sample_keys(settings.seed, step, indices, SAMPLE), step, settings)


def draw(pool: tuple[jax.Array, Table], settings: SampleSettings, count: int):
    settings = settings._replace(batch_size=count)
    return draw_at(pool, jnp.int32(5), settings, jnp.arange(count))


def reflections(image: np.ndarray):
    """All eight reflections of an image, each with its axes' order."""
    for transposed in (False, True):
        turned = image.swapaxes(0, 1) if transposed else image
        for rows in (1, -1):
            for cols in (1, -1):
                yield turned[::rows, ::cols]


def explain(pool: tuple[jax.Array, Table], sample, side: int) -> bool:
    """Whether some crop of the pool, reflected, gives this sample's target and LR image."""
    scale = side / LR
    top, left = (np.asarray(p[0] + 0.5) * scale - 0.5 for p in (sample.ys, sample.xs))
    y, x = round(float(top)), round(float(left))
    target = np.rint(np.asarray(sample.target) * 255).astype(np.uint8)
    lr = np.rint(np.asarray(sample.lr) * 255).astype(int)
    for tile, (height, width) in zip(*map(np.asarray, (pool[0], pool[1].sizes)), strict=True):
        valid = tile[:height, :width]
        for turned in reflections(valid):
            windows = np.lib.stride_tricks.sliding_window_view(turned, (2, 2), (0, 1))
            hits = np.argwhere((windows == target[:2, :2].transpose(2, 0, 1)).all((-1, -2, -3)))
            for row, col in hits - (y, x):
                if min(row, col) < 0:
                    continue
                crop = turned[row : row + side, col : col + side]
                if crop.shape[:2] != (side, side):
                    continue
                np.testing.assert_array_equal(crop[y : y + QUERIES, x : x + QUERIES], target)
                small = Image.fromarray(crop).resize((LR, LR), Image.Resampling.BICUBIC)
                # Pillow rounds after each axis, so that one level of difference remains.
                assert np.abs(np.asarray(small, int) - lr).max() <= 1
                return True
    return False


@pytest.mark.parametrize("scales", [(2.0, 2.0), (1.0, 4.0), (3.3, 3.3)])
def test_a_sample_is_a_reflected_crop_and_its_pillow_reduction(scales):
    pool = make_pool(sizes=[(72, 72), (66, 72), (72, 64)])
    batch = draw(pool, SampleSettings(LR, QUERIES, QUERIES, scales), 12)
    sides = np.rint(LR / np.asarray(batch.cell[:, 0])).astype(int)
    assert sides.min() >= round(LR * scales[0]) and sides.max() <= round(LR * scales[1])
    for index, side in enumerate(sides):
        assert explain(pool, jax.tree.map(lambda x, i=index: x[i], batch), side)


def test_positions_rise_by_the_cell_and_stay_inside():
    batch = draw(make_pool(), SampleSettings(LR, QUERIES, QUERIES, (1.0, 4.0)), 32)
    cell = np.asarray(batch.cell)
    np.testing.assert_array_equal(cell[:, 0], cell[:, 1])
    for positions in (np.asarray(batch.ys), np.asarray(batch.xs)):
        np.testing.assert_allclose(
            np.diff(positions), cell[:, :1].repeat(QUERIES - 1, 1), atol=1e-5
        )
        assert positions.min() > -0.5 and positions.max() < LR - 0.5
    assert len(np.unique(cell[:, 0])) > 12  # each sample has its own scale


@pytest.mark.parametrize("high", [1.0, 4.0])
def test_single_queries_take_one_row_and_column_for_each_lr_pixel(high):
    ramp = np.arange(TILE, dtype=np.uint8)
    tile = np.stack([*np.meshgrid(ramp, ramp, indexing="ij"), np.zeros((TILE, TILE))], -1)
    pool = whole_pool(tile[None].astype(np.uint8), np.full((1, 2), TILE, np.int32))
    batch = draw(pool, SampleSettings(LR, LR, 1, (1.0, high)), 16)
    for index in range(16):
        sample = jax.tree.map(lambda x, i=index: np.asarray(x[i]), batch)
        scale = 1 / sample.cell[0]
        for axis, positions in enumerate((sample.ys, sample.xs)):
            # Which LR pixel a target pixel on the border of two belongs to is left open.
            assert np.abs(positions - np.arange(LR)).max() <= 0.5 + 0.5 / scale
            steps = np.diff(positions) * scale
            np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
            # The ramp along this axis is in one of two channels and may fall.
            shown = np.abs(np.diff(sample.target * 255, axis=axis)).max((1 - axis, 2))
            np.testing.assert_allclose(shown, steps, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 1.3, 2.0])
def test_single_queries_may_outnumber_the_rows_of_a_crop(scale):
    settings = SampleSettings(LR, 2 * LR, 1, (scale, scale))
    check_settings(settings, TILE)
    batch = draw(make_pool(), settings, 8)
    side = round(LR * scale)
    for positions, cell in zip(np.asarray(batch.ys), np.asarray(batch.cell[:, 0]), strict=True):
        index = np.sort((positions + 0.5) / cell - 0.5)
        np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
        assert index.min() > -0.5 and index.max() < side - 0.5
        # Every row is in reach of a query, and at most two away from the next.
        assert np.diff(index).max() < 2.5


def test_patches_are_spread_over_the_crop():
    patch = 4
    batch = draw(make_pool(), SampleSettings(LR, LR, patch, (1.0, 4.0)), 32)
    for positions, cell in zip(np.asarray(batch.ys), np.asarray(batch.cell[:, 0]), strict=True):
        patches = positions.reshape(-1, patch)
        np.testing.assert_allclose(np.diff(patches, axis=1), cell, atol=1e-5)
        # Each lies in its own part of the LR image.
        part = LR / len(patches)
        edges = np.arange(len(patches)) * part - 0.5
        assert (patches >= edges[:, None] - cell).all()
        assert (patches <= edges[:, None] + part + cell).all()


def test_single_queries_differ_from_sample_to_sample():
    batch = draw(make_pool(), SampleSettings(LR, LR, 1, (3.0, 3.0)), 16)
    assert len({ys.tobytes() for ys in np.asarray(batch.ys)}) == 16


def test_lr_lies_on_the_grid_of_8_bits():
    lr = (
        np.asarray(draw(make_pool(), SampleSettings(LR, QUERIES, QUERIES, (1.0, 4.0)), 32).lr) * 255
    )
    np.testing.assert_allclose(lr, np.rint(lr), atol=1e-4)
    assert lr.min() >= 0 and lr.max() <= 255


def test_a_sample_depends_on_seed_step_and_index_alone():
    pool, settings = make_pool(), SampleSettings(LR, QUERIES, QUERIES, (1.0, 4.0), 0.0, 8, 3)
    whole = draw_at(pool, jnp.int32(7), settings, jnp.arange(8))
    part = draw_at(pool, jnp.int32(7), settings, jnp.arange(4, 6))
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[4:6], b)
    for seed, step in ((4, 7), (3, 8)):
        other = draw_at(pool, jnp.int32(step), settings._replace(seed=seed), jnp.arange(8))
        assert not np.array_equal(whole.target, other.target)


def test_all_reflections():
    # One tile that is just the crop: what differs is the reflection alone.
    targets = draw(make_pool(1, 8), SampleSettings(8, 8, 8, (1.0, 1.0)), 60).target
    assert len({np.asarray(target).tobytes() for target in targets}) == 8


def test_other_colors_are_of_one_kind_for_a_whole_sample():
    pool = make_pool()
    plain = draw(pool, SampleSettings(LR, QUERIES, QUERIES, (2.0, 2.0)), 64)
    mixed = draw(pool, SampleSettings(LR, QUERIES, QUERIES, (2.0, 2.0), 0.5), 64)
    np.testing.assert_array_equal(plain.ys, mixed.ys)
    found, same = set(), 0
    for index in range(64):
        before, after = (
            np.asarray(part[index]).reshape(-1, 3) for part in (plain.target, mixed.target)
        )
        if np.array_equal(before, after):
            same += 1
            continue
        # Each channel is a linear function of one of the channels before, with equal factors.
        columns = np.hstack([before, np.ones((len(before), 1))])
        factors, rest, *_ = np.linalg.lstsq(columns, after, rcond=None)
        contrast = np.abs(factors[:3]).max()
        assert 0.5 <= contrast <= 1 and np.abs(rest).max() < 1e-6
        order = tuple(np.argmax(np.abs(factors[:3]), axis=0))
        signed = factors[order, range(3)]
        np.testing.assert_allclose(signed, signed[0], atol=1e-4)
        np.testing.assert_allclose(np.abs(factors[:3]).sum(), 3 * contrast, atol=1e-3)
        found |= {order, bool(signed[0] > 0)}
        # The LR image has the same colors, but for the rounding to 8 bits.
        pixels = np.asarray(plain.lr[index]).reshape(-1, 3)
        expected = pixels @ factors[:3] + factors[3]
        assert np.abs(expected - np.asarray(mixed.lr[index]).reshape(-1, 3)).max() < 1.01 / 255
        assert after.min() >= 0 and after.max() <= 1
    assert len(found) == 6 + 2
    assert 16 < same < 48


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SampleSettings(48, 48, 48, (1.0, 30.0)), "1440 pixels is larger than tile_size=256"),
        (SampleSettings(48, 49, 49, (1.0, 4.0)), "query_size=49 does not fit"),
        (SampleSettings(48, 96, 12, (1.0, 4.0)), "query_size=96 does not fit"),
        (SampleSettings(48, 48, 48, (0.5, 4.0)), "finite numbers, ascending"),
        (SampleSettings(48, 48, 48, (1.0, float("inf"))), "finite numbers, ascending"),
        (SampleSettings(48, 48, 48, (4.0, 2.0)), "finite numbers, ascending"),
        (SampleSettings(48, 48, 0, (1.0, 4.0)), "query_patch=0 must lie between 1 and"),
        (SampleSettings(48, 48, 10, (1.0, 4.0)), "48 is not a multiple of query_patch=10"),
        (SampleSettings(48, 40, 1, (1.0, 4.0)), "query_size=40 is below lr_size=48"),
        (SampleSettings(48, 48, 1, (1.0, 4.0), 1.5), "recolored is 1.5; .* from 0 to 1"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(UserError, match=words):
        check_settings(settings, 256)


def test_scale_30_fits_into_a_large_tile():
    settings = SampleSettings(4, 4, 4, (1.0, 30.0))
    check_settings(settings, 128)
    batch = draw(make_pool(2, 128), settings, 16)
    assert np.isfinite(np.asarray(batch.lr)).all()
    assert np.asarray(batch.cell).min() < 1 / 15
