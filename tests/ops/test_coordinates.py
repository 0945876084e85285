import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gaussiansr_jax.ops.coordinates import grid_positions, grid_queries, nearest_index, output_size

POSITIONS = jax.jit(grid_positions, static_argnums=0)


def test_positions_at_scale_two_by_hand():
    expected = [-0.25, 0.25, 0.75, 1.25]
    np.testing.assert_allclose(POSITIONS(4, 2.0), expected, atol=1e-7)


def test_positions_start_and_batch():
    positions = POSITIONS(3, jnp.array([1.0, 4.0]), jnp.array([2, 8]))
    np.testing.assert_allclose(positions, [[2, 3, 4], [1.625, 1.875, 2.125]], atol=1e-6)


def test_nearest_rounds_half_up_and_stays_inside():
    positions = jnp.array([-3.0, -0.5, 0.49, 0.4999999, 0.5, 2.6, 9.0])
    index = jax.jit(nearest_index)(positions, 3)
    np.testing.assert_array_equal(index, [0, 0, 0, 1, 1, 2, 2])


def test_grid_queries_put_y_first():
    queries = np.asarray(jax.jit(grid_queries)(np.float32([1, 2]), np.float32([5, 6, 7])))
    assert queries.shape == (2, 3, 2)
    np.testing.assert_array_equal(queries[1, 2], [2, 7])


@given(st.integers(1, 40), st.floats(1, 30))
def test_positions_span_the_image_symmetrically(size, scale):
    (length, _) = output_size((size, size), (scale, scale))
    # Always 1200 of them, the most that there can be: one program.
    positions = np.asarray(POSITIONS(1200, length / size))[:length]
    np.testing.assert_allclose(positions + positions[::-1], size - 1, atol=1e-4 * size)
    assert positions[0] > -0.5 - 1e-5


def test_one_compilation_for_all_scales():
    compiled = jax.jit(lambda scale: grid_positions(8, scale))
    for scale in (1.0, 2.5, 30.0):
        compiled(scale)
    assert compiled._cache_size() == 1
