from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussiansr_jax import UserError
from gaussiansr_jax.upscaling import tiling


def whole(length, out_length):
    return tiling.Axis(out_length / length, 0, out_length)


def test_bucket_is_the_next_of_the_list():
    buckets = {
        n: tiling.bucket(n, 32, 512) for n in (1, 32, 33, 48, 49, 64, 65, 97, 129, 193, 257, 512)
    }
    assert list(buckets.values()) == [32, 32, 48, 48, 64, 64, 96, 128, 192, 256, 384, 512]
    assert tiling.bucket(70, smallest=32, largest=80) == 80
    assert tiling.bucket(20, smallest=64, largest=512) == 64


@given(
    length=st.integers(1, 400),
    scale=st.floats(1, 30),
    halo=st.integers(1, 20),
    core=st.integers(8, 40),
)
def test_every_output_pixel_has_its_halo(length, scale, halo, core):
    out_length, tile = round(length * scale), 2 * halo + core
    windows = tiling.windows(length, whole(length, out_length), tile, halo)
    assert windows[0].out_start == 0
    assert windows[-1].out_stop == out_length
    assert all(a.out_stop == b.out_start for a, b in pairwise(windows))
    positions = tiling.positions(out_length, out_length / length)
    for start, size, first, last in windows:
        assert 0 <= start
        assert start + size <= length
        assert size <= tile
        assert start % 8 == 0
        nearest = np.clip(np.floor(positions[first:last] + 0.5), 0, length - 1)
        assert start == 0 or nearest.min() - halo >= start
        assert start + size == length or nearest.max() + halo < start + size


def test_few_pieces_where_few_suffice():
    # Two pieces of 100 overlap by two halos of 10: 180 pixels, but not 181.
    assert len(tiling.windows(180, whole(180, 180), 100, 10)) == 2
    assert len(tiling.windows(181, whole(181, 181), 100, 10)) == 3
    assert tiling.windows(100, whole(100, 370), 100, 10) == [(0, 100, 0, 370)]


def test_tile_within_its_halo_is_refused():
    with pytest.raises(UserError, match="tile of 20"):
        tiling.windows(100, whole(100, 100), 20, 10)


def test_blocks_cover_once():
    assert tiling.blocks(5, 12, 3) == [(5, 8), (8, 11), (11, 12)]


@given(length=st.integers(1, 2000), scale=st.floats(1, 30), start=st.integers(0, 1500))
def test_positions_are_exact_in_every_piece(length, scale, start):
    positions = tiling.positions(3 * length, scale)
    exact = (np.arange(3 * length) + 0.5) / scale - 0.5
    np.testing.assert_allclose(positions, exact, rtol=0, atol=2**-15)
    np.testing.assert_array_equal(
        tiling.positions(length, scale, length), positions[length:][:length]
    )
    local = positions[(positions > start) & (positions < start + 1023)] - start
    np.testing.assert_array_equal(local.astype(np.float32), local)
