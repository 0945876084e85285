"""Which tile each sample takes, and which tiles each device must hold for that."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussiansr_jax.data import crops
from gaussiansr_jax.data.crops import Table, draw_crops, draw_tile, piece
from gaussiansr_jax.data.hosts import Hosts
from gaussiansr_jax.data.settings import SampleSettings


def tiles_of(index, total, parts, monkeypatch):
    """The tiles of one sample, one for each number that can be drawn."""
    tiles = []
    for fine in range(total):
        monkeypatch.setattr(crops.jax.random, "randint", lambda *a, fine=fine: fine)
        tiles.append(draw_tile(jax.random.key(0), index, total, parts))
    return tiles


@pytest.mark.parametrize(("total", "parts"), [(7, 3), (3, 7), (12, 4), (5, 1), (1, 4)])
def test_over_a_batch_every_tile_is_equally_likely(total, parts, monkeypatch):
    drawn = [tiles_of(index, total, parts, monkeypatch) for index in range(parts)]
    np.testing.assert_array_equal(np.bincount(np.ravel(drawn)), np.full(total, parts))
    # Each sample has its own part, and the parts follow each other.
    for before, after in itertools.pairwise(drawn):
        assert max(before) <= min(after)


@given(st.integers(1, 400), st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
def test_a_device_holds_the_tiles_of_its_samples(total, share, devices, hosts):
    total_devices, pieces = devices * hosts, []
    batch = share * total_devices
    for host in range(hosts):
        first, count = Hosts(host, hosts, devices).piece(total)
        for device in Hosts(host, hosts, devices).device_indices:
            start, length = piece(device, total_devices, total)
            pieces.append(length)
            assert first <= start and start + length <= first + count <= total
            for index in range(device * share, (device + 1) * share):
                least = index * (total // batch) + index * (total % batch) // batch
                most = index * (total // batch) + (index * (total % batch) + total - 1) // batch
                assert start <= least and most < start + length
    assert len(set(pieces)) == 1 and pieces[0] <= -(-total // total_devices) + 1


def test_large_pools_and_batches_stay_within_32_bits():
    total, batch = 2**31 - 1 - 2**30, 2**15
    tile = draw_tile(jax.random.key(0), jnp.int32(batch - 1), jnp.int32(total), batch)
    assert total - total // batch - 2 <= tile < total


@pytest.mark.parametrize("scales", [(1.0, 4.0), (2.0, 2.0), (1.3, 3.7), (3.3, 3.3)])
def test_scales_are_uniform_and_rounded_to_pixels(scales):
    settings = SampleSettings(8, 8, 8, scales)
    keys = jax.random.split(jax.random.key(0), 20_000)
    sides = np.asarray(jax.vmap(lambda key: crops.draw_side(key, settings))(keys))
    expected = np.rint(8 * np.linspace(*scales, 200_001)).astype(int)
    assert sides.min() == expected.min() and sides.max() == expected.max()
    shares = (np.bincount(x, minlength=33) / len(x) for x in (sides, expected))
    np.testing.assert_allclose(*shares, atol=0.01)


def test_crops_lie_inside_their_tiles_and_windows():
    sizes = np.array([[40, 50], [64, 33], [37, 64]], np.int32)
    settings = SampleSettings(8, 8, 8, (1.0, 4.0), batch_size=64)
    table = Table(jnp.asarray(sizes), np.int32(0), np.int32(3))
    drawn = draw_crops(table, jnp.arange(1), jnp.arange(64), settings, 64)
    drawn = jax.tree.map(lambda x: x[0], drawn)
    corner, side = drawn.start + drawn.inside, drawn.side[:, None]
    assert (corner >= 0).all() and (corner + side <= sizes[drawn.tile]).all()
    assert (drawn.start >= 0).all() and (drawn.start + 32 <= 64).all()
    assert (drawn.inside >= 0).all() and (drawn.inside + side <= 32).all()
    assert set(np.asarray(drawn.tile)) == {0, 1, 2} and len(np.unique(side)) > 10
