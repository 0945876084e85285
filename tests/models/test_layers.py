"""Layers of padded images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gaussiansr_jax.models import layers

SIZES = [
    ((2, 9, 13, 8), [(5, 13), (9, 2)]),  # padded along one axis
    ((1, 8, 8, 4), [(8, 8)]),  # not at all
    ((1, 40, 70, 6), [(12, 33)]),
    ((1, 40, 70, 6), [(39, 1)]),
]


def normal(shape, dtype):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("shape", "sizes"), SIZES)
def test_row_and_column_beyond_the_image_become_zero(shape, sizes, dtype):
    x = normal(shape, dtype)
    expected = np.array(x)
    for image, (height, width) in zip(expected, sizes, strict=True):
        image[height : height + 1] = 0
        image[:, width : width + 1] = 0
    for function in (layers.zero_beyond, layers._in_one_write):
        ours = jax.jit(function)(x, np.array(sizes, np.int32))
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, expected)
    assert layers.zero_beyond(x, None) is x


def test_one_write_has_the_same_gradient():
    x, size = normal((1, 9, 13, 8), jnp.float32), jnp.array([(5, 7)])
    both = [
        jax.jit(jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x, size)))))(x)
        for f in (layers._in_one_write, layers._in_slices)
    ]
    np.testing.assert_array_equal(*both)


def test_a_gpu_writes_once():
    def text(platform):
        x, size = jnp.zeros((1, 8, 8, 4)), jnp.array([(5, 7)])
        traced = jax.jit(layers.zero_beyond).trace(x, size)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert text("cuda").count('"stablehlo.scatter"(') == 1
    assert "dynamic_update_slice" not in text("cuda")
    assert "stablehlo.scatter" not in text("cpu")
