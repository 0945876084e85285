"""The GPU's kernels against plain JAX (which test_splatting.py checks).

On CPUs they are interpreted; with JAX_PLATFORMS=cuda, on a machine with a GPU, they run.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_fields import FOOTPRINT, HEIGHT, WIDTH, random_field
from gpu_lowering import INTERPRET, lowered

from gaussiansr_jax.ops import splatting
from gaussiansr_jax.ops.coordinates import nearest_index
from gaussiansr_jax.ops.pallas import splatting as pallas_splatting

# Fields of one, a few and many Gaussians (in groups of 2 and 4); windows that reach over the border
# and ones that do not; channels of several programs (in groups of 4).
CASES = [
    (1, 8, 3, False),
    (6, 3, 1, False),
    (16, 3, 1, True),
    (1, 2, 0, True),
    (1, 20, 1, False),
    (2, 20, 1, True),
]


def grid(rows, columns):
    ys, xs = jnp.linspace(-0.7, HEIGHT - 0.3, rows), jnp.linspace(0.4, WIDTH - 0.6, columns)
    # Patches may overlap at their ends.
    ys, xs = ys.at[2].set(ys[4]), jnp.concatenate([xs[: columns // 2], xs[columns // 2 - 30 : -30]])
    return ys, xs, nearest_index(ys, HEIGHT), nearest_index(xs, WIDTH)


def planes(count, channels, normalized):
    field = random_field(count=count, channels=channels)
    return splatting.kernel_planes(field, FOOTPRINT, normalized)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize(("count", "channels", "radius", "normalized"), CASES)
def test_kernels_equal_plain_jax(count, channels, radius, normalized, rows, monkeypatch):
    monkeypatch.setattr(pallas_splatting, "_MANY", 1 if rows > 1 else 2**30)
    parameters, positions = planes(count, channels, normalized), grid(6, 130)
    static = {"radius": radius, "normalized": normalized}
    plain = partial(splatting._by_rows, **static)

    @jax.jit
    def expect(parameters, gradient):
        field, pull_back = jax.vjp(lambda p: plain(p, *positions), parameters)
        return field, *pull_back(gradient)

    field, log_sum = pallas_splatting.forward(parameters, *positions, **static, interpret=INTERPRET)
    gradient = jax.random.normal(jax.random.key(1), field.shape)
    expected, theirs = expect(parameters, gradient)
    np.testing.assert_allclose(field, expected, rtol=1e-5, atol=1e-6)
    ours = pallas_splatting.backward(
        parameters, *positions, field, log_sum, gradient, **static, interpret=INTERPRET
    )
    if not normalized:  # the constant 0, of which nobody wants the gradient
        ours, theirs = (g.at[:, :, 5].set(0.0) for g in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_kernels_are_what_a_gpu_runs():
    def loss(field, ys, xs):
        return jnp.sum(splatting.splat_grid(field, ys, xs, FOOTPRINT, 1, True))

    ys, xs, *_ = grid(7, 9)
    traced = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0))).trace(
        random_field(), jnp.stack([ys, ys]), jnp.stack([xs, xs])
    )
    assert lowered(traced, "cuda").count("xla.gpu.triton") == 2
    assert "xla.gpu.triton" not in lowered(traced, "cpu")
