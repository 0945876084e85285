from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gaussiansr_jax.ops import resampling
from gaussiansr_jax.ops.coordinates import grid_positions, grid_queries

IMAGE = np.array([[0, 1, 4, 9, 7], [2, 3, 5, 1, 0], [6, 8, 2, 4, 1], [1, 0, 3, 5, 9]], np.float32)
# torch.nn.functional.interpolate(IMAGE, size=(3, 11), mode="bicubic"), PyTorch 2.13
TORCH_3X11 = [
    [0.1113, 0.3122, 0.5276, 1.4570, 2.5684, 4.1956, 6.2713, 7.6526, 7.5641, 6.3392, 5.7809],
    [4.4635, 4.9976, 6.1423, 6.3309, 5.1562, 3.5000, 2.5910, 1.9205, 0.5612, -0.5384, -1.1835],
    [1.8468, 1.6679, 1.2537, 1.3081, 1.8398, 2.8044, 3.6579, 4.5949, 6.1708, 7.4437, 8.1895],
]  # fmt: skip


antialiased_matrix = jax.jit(
    resampling.antialiased_matrix, static_argnums=(0, 1), static_argnames="boundary"
)


@jax.jit
def interpolate(image, size):
    """Bicubic interpolation of a [H, W] image to 3 × 11 by the two matrices.

    The image of a `size` lies in one corner of the array.
    """
    rows = resampling.cubic_matrix(grid_positions(3, 3 / 4), size[0], image.shape[0])
    cols = resampling.cubic_matrix(grid_positions(11, 11 / 5), size[1], image.shape[1])
    return resampling.separable(image[..., None], rows, cols)[..., 0]


def test_cubic_kernel_by_hand():
    # k(0) = 1, k(1) = k(2) = 0; a = -1/2: k(1/2) = 9/16, k(3/2) = -1/16
    kernel = jax.jit(resampling.cubic_kernel, static_argnums=1)
    values = kernel(np.float32([0, 1, -2, 0.5, -1.5]), -0.5)
    np.testing.assert_allclose(values, [1, 0, 0, 0.5625, -0.0625], atol=1e-7)


def test_interpolation_equals_pytorch():
    np.testing.assert_allclose(interpolate(IMAGE, IMAGE.shape), TORCH_3X11, atol=1e-4)


def test_interpolation_at_scattered_positions_equals_the_matrices():
    @jax.jit
    def scattered(image):
        positions = grid_positions(3, 3 / 4), grid_positions(11, 11 / 5)
        return resampling.bicubic_at(image, grid_queries(*positions), jnp.array([4, 5]))

    np.testing.assert_allclose(scattered(IMAGE[..., None])[..., 0], TORCH_3X11, atol=1e-4)


def test_rounding_of_whole_positions_changes_no_taps():
    """Else a program that rounds one expression in two ways mixes the taps of both."""
    two = np.float32(2)
    around = np.stack([np.nextafter(two, np.float32(0)), two, np.nextafter(two, np.float32(3))])
    index, weight = jax.jit(resampling.cubic_taps, static_argnums=1)(around, 6)
    np.testing.assert_array_equal(index, [[1, 2, 3, 4]] * 3)
    np.testing.assert_allclose(weight, [[0, 1, 0, 0]] * 3, atol=1e-6)


def test_interpolation_inside_padding_ignores_the_padding():
    padded = np.pad(IMAGE, ((0, 3), (0, 6)), constant_values=99)
    np.testing.assert_allclose(interpolate(padded, IMAGE.shape), TORCH_3X11, atol=1e-4)


@settings(max_examples=6)
@given(st.integers(8, 40), st.integers(8, 40), st.integers(4, 60), st.integers(4, 60))
def test_renormalized_resize_equals_pillow(height, width, out_height, out_width):
    image = np.random.default_rng(0).random((height, width), np.float32)
    resize = jax.jit(resampling.resize, static_argnums=(1, 2))
    ours = resize(image[..., None], (out_height, out_width), "renormalize")
    pillow = Image.fromarray(image).resize((out_width, out_height), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(ours[..., 0], np.asarray(pillow), atol=2e-5)


@settings(max_examples=6)
@given(st.integers(12, 30), st.floats(1, 4))
def test_symmetric_boundary_is_that_of_the_mirrored_signal(length, scale):
    # Mirroring the signal at both ends and cutting the middle out of the result is the same.
    out = int(length / scale)
    signal = np.random.default_rng(length).random(length).astype(np.float32)
    symmetric = jax.jit(partial(resampling.antialiased_matrix, out, length, boundary="symmetric"))
    matrix = symmetric(scale)
    center = (np.arange(out)[:, None] + 0.5) * scale - 0.5 + length
    mirrored = np.pad(signal, length, mode="symmetric")
    distance = (center - np.arange(3 * length)) / scale
    weights = jax.jit(resampling.cubic_kernel, static_argnums=1)(np.float32(distance), -0.5)
    weights /= weights.sum(1, keepdims=True)
    np.testing.assert_allclose(matrix @ signal, weights @ mirrored, atol=2e-5)


def test_halving_by_hand():
    # a = -1/2 at scale 2: taps at ±1/4, ±3/4, ±5/4, ±7/4 of the widened kernel
    taps = np.array([-0.01171875, -0.03515625, 0.11328125, 0.43359375])
    expected = np.concatenate([taps, taps[::-1]])
    matrix = antialiased_matrix(8, 16, 2.0)
    np.testing.assert_allclose(matrix[4, 5:13], expected, atol=1e-6)
    np.testing.assert_allclose(np.delete(matrix[4], np.arange(5, 13)), 0, atol=1e-7)


def test_valid_region_with_an_offset():
    whole = antialiased_matrix(5, 12, 12 / 5)
    shifted = np.asarray(antialiased_matrix(5, 20, 12 / 5, offset=3, in_size=12))
    np.testing.assert_allclose(shifted[:, 3:15], whole, atol=1e-6)
    assert np.all(np.delete(shifted, np.arange(3, 15), 1) == 0)


def test_one_compilation_for_all_scales():
    compiled = jax.jit(lambda *arguments: resampling.antialiased_matrix(6, 24, *arguments))
    for scale in (1.0, 2.5, 4.0):
        rows = compiled(scale, 1, 6 * scale)
        np.testing.assert_allclose(np.sum(rows, 1), 1, atol=1e-5)
    assert compiled._cache_size() == 1


def test_unknown_boundary():
    with pytest.raises(ValueError, match="'wrap'"):
        antialiased_matrix(2, 4, 2.0, boundary="wrap")


def test_take_and_its_gradient():
    rng, index = np.random.default_rng(0), jnp.array([[0, 2, 2], [4, 2, 0]])
    image, weight = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 3), (2, 3, 3)))

    def both(take):
        def loss(image):
            taken = take(image)
            return jnp.sum(taken * weight), taken

        return jax.jit(jax.grad(loss, has_aux=True))(image)

    (ours, taken), (theirs, expected) = (
        both(lambda x: resampling.take(x, index)),
        both(lambda x: x[index]),
    )
    np.testing.assert_array_equal(taken, expected)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
