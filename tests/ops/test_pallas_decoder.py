"""The decoder: its GPU kernel and its gradients against plain JAX.

On CPUs the kernel is interpreted; with JAX_PLATFORMS=cuda, on a machine with a GPU, it runs.
"""

from itertools import pairwise

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gpu_lowering import INTERPRET, lowered

from gaussiansr_jax.models.heads import decoder
from gaussiansr_jax.ops.pallas import decoder as pallas_decoder
from gaussiansr_jax.ops.pallas.instructions import PLAIN


def arguments(shape=(2, 13, 11), hidden=32, dtype=jnp.bfloat16):
    rng = np.random.default_rng(0)
    batch, *positions = shape
    sizes = (hidden,) * 5 + (3,)

    def normal(scale, *shape):
        return jnp.asarray(rng.normal(scale=scale, size=shape), jnp.float32)

    return (
        jnp.asarray(rng.normal(size=(*shape, 2 * hidden)), dtype),
        normal(0.1, 2 * hidden),
        jnp.asarray(rng.uniform(-1, 1, (*shape, 2)), jnp.float32),
        normal(3, batch, *[1] * len(positions), hidden // 2),
        [(normal((2 / n) ** 0.5, n, m), normal(0.1, m)) for n, m in pairwise(sizes)],
    )


def error(ours, exact):
    return np.sqrt(np.mean(np.square(ours - exact)))


@pytest.mark.parametrize("columns", [16, 32])
@pytest.mark.parametrize("shape", [(2, 13, 11), (1, 5)])  # neither fills the programs' rows
def test_kernel_is_as_exact_as_plain_jax(monkeypatch, shape, columns):
    monkeypatch.setattr(pallas_decoder, "_COLUMNS", columns)

    @jax.jit
    def all_of_them(waves, *others):
        exact = decoder._decode(waves.astype(jnp.float32), *others)
        plain = decoder._decode(waves, *others)
        return exact, plain, pallas_decoder.decode(waves, *others, interpret=INTERPRET)

    exact, plain, ours = (np.asarray(x) for x in all_of_them(*arguments(shape)))
    assert ours.dtype == np.float32
    assert 0 < error(ours, exact) < 1.2 * error(plain, exact) < 0.03 * exact.std()


def test_functions_of_the_kernel():
    x = np.linspace(-30, 30, 60001, dtype=np.float32)

    @jax.jit
    def all_of_them(x):
        return (
            pallas_decoder._gelu(x, PLAIN),
            decoder.exact_gelu(x),
            *pallas_decoder._cos_sin(x, PLAIN),
        )

    gelu, exact_gelu, *cos_sin = all_of_them(x)
    np.testing.assert_allclose(gelu, exact_gelu, atol=3e-5, rtol=1e-6)
    for ours, exact in zip(cos_sin, (np.cos, np.sin), strict=True):
        np.testing.assert_allclose(ours, exact(np.pi * np.asarray(x, np.float64)), atol=1e-5)


def test_cosine_and_sine_are_exact():
    t = np.linspace(-30.0, 30.0, 60001)

    @jax.jit
    def both(t):
        return jax.jvp(lambda t: jnp.stack(decoder.cos_sin_pi(t)), [t], [jnp.ones(t.shape)])

    values, slopes = both(np.float32(t))
    t = np.pi * np.float64(np.float32(t))
    np.testing.assert_allclose(values, [np.cos(t), np.sin(t)], atol=2e-7)
    np.testing.assert_allclose(slopes, np.pi * np.stack([-np.sin(t), np.cos(t)]), atol=2e-6)


def text(function, *arguments, platform="cuda"):
    return lowered(jax.jit(function).trace(*arguments), platform)


def test_the_kernel_is_what_a_gpu_runs_without_gradients():
    def gradient(*arguments):
        return jax.grad(lambda x: jnp.sum(decoder.decode(x, *arguments[1:])))(arguments[0])

    low, high = arguments(), arguments(dtype=jnp.float32)
    assert text(decoder.decode, *low).count("xla.gpu.triton") == 1
    assert "triton" not in text(decoder.decode, *low, platform="cpu")
    assert "triton" not in text(decoder.decode, *high)
    assert "triton" not in text(gradient, *low)


def test_phases_of_every_query_and_other_widths_need_no_kernel():
    waves, bias, relative, phase, layers = arguments((2, 5))
    same = jnp.broadcast_to(phase, (2, 5, 16))
    assert not pallas_decoder.supports(waves, same)
    expected = jax.jit(decoder._decode)(waves, bias, relative, phase, layers)
    ours = jax.jit(decoder.decode)(waves, bias, relative, same, layers)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert not pallas_decoder.supports(jnp.zeros((1, 5, 2 * 48), jnp.bfloat16), phase)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_mlp_has_the_parameters_and_gradients_of_dense_layers(dtype):
    class Dense(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.gelu(nn.Dense(16, dtype=dtype, name="dense_0")(x), approximate=False)
            return nn.Dense(3, dtype=dtype, name="dense_1")(x)

    ours, theirs = decoder.MLP((16, 3), decoder.exact_gelu, dtype), Dense()
    x = np.random.default_rng(1).normal(size=(4, 50, 8)).astype(np.float32)
    params = jax.jit(theirs.init)(jax.random.key(0), x)
    chex.assert_trees_all_equal(jax.jit(ours.init)(jax.random.key(0), x), params)

    def gradients(module):
        def loss(*v):
            return jnp.mean(module.apply(*v).astype(jnp.float32) ** 2)

        return jax.jit(jax.grad(loss, (0, 1)))

    tolerance = 1e-6 if dtype == jnp.float32 else 1e-2  # theirs sums in bfloat16
    expected = gradients(theirs)(params, x)
    chex.assert_trees_all_close(
        gradients(ours)(params, x), expected, atol=tolerance, rtol=tolerance
    )


@pytest.mark.parametrize(("outputs", "padding"), [(9, "SAME"), (16, "VALID")])
def test_convolution_is_that_of_flax(outputs, padding):
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 4)).astype(np.float32)
    layer = nn.Conv(outputs, (3, 3), padding=padding)
    params = jax.jit(layer.init)(jax.random.key(0), x)
    affine = jax.jit(decoder.Affine(outputs).init, static_argnums=(1, 2, 3))(
        jax.random.key(0), 3, 3, 4
    )
    chex.assert_trees_all_equal(affine, params)

    def ours(params, x):
        kernel, bias = params["params"]["kernel"], params["params"]["bias"]
        return decoder.add_bias(decoder.convolve(x, kernel, padding), bias)

    def both(function):
        def loss(*v):
            output = function(*v)
            return jnp.sum(output**2), output

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)

    chex.assert_trees_all_close(both(ours), both(layer.apply), atol=1e-4, rtol=1e-5)
