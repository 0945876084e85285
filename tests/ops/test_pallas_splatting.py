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
    (1, 2, 3, False),
    (6, 3, 1, False),
    (16, 3, 1, True),
    (1, 2, 0, True),
    (1, 20, 1, False),
    (2, 20, 1, True),
]


def grid(rows, columns):
    ys, xs = np.linspace(-0.7, HEIGHT - 0.3, rows), np.linspace(0.4, WIDTH - 0.6, columns)
    # Patches may overlap at their ends.
    ys[2], xs = ys[4], np.concatenate([xs[: columns // 2], xs[columns // 2 - 30 : -30]])
    return ys.astype(np.float32), xs.astype(np.float32)


@pytest.mark.parametrize(("count", "channels", "radius", "normalized"), CASES)
def test_kernels_equal_plain_jax(count, channels, radius, normalized, monkeypatch):
    static = {"radius": radius, "normalized": normalized}
    kernels = {**static, "interpret": INTERPRET}

    def forward(*arguments, many):
        monkeypatch.setattr(pallas_splatting, "_MANY", many)
        return pallas_splatting.forward(*arguments, **kernels)

    @jax.jit
    def all_of_them(gaussians, ys, xs, gradient):
        parameters = splatting.kernel_planes(gaussians, FOOTPRINT, normalized)
        positions = ys, xs, nearest_index(ys, HEIGHT), nearest_index(xs, WIDTH)
        by_four_rows, _ = forward(parameters, *positions, many=1)
        field, log_sum = forward(parameters, *positions, many=2**30)
        ours = pallas_splatting.backward(
            parameters, *positions, field, log_sum, gradient, **kernels
        )
        plain = partial(splatting._by_rows, **static)
        expected, pull_back = jax.vjp(lambda p: plain(p, *positions), parameters)
        return by_four_rows, field, ours, expected, *pull_back(gradient)

    gradient = np.random.default_rng(1).normal(size=(channels, 6, 130)).astype(np.float32)
    gaussians = random_field(count=count, channels=channels)
    results = all_of_them(gaussians, *grid(6, 130), gradient)
    by_four_rows, field, ours, expected, theirs = (np.array(result) for result in results)
    for each in (field, by_four_rows):
        np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-6)
    if not normalized:  # the constant 0, of which nobody wants the gradient
        ours[:, :, 5] = theirs[:, :, 5] = 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_kernels_are_what_a_gpu_runs():
    def loss(field, ys, xs):
        return jnp.sum(splatting.splat_grid(field, ys, xs, FOOTPRINT, 1, True))

    ys, xs = grid(7, 9)
    traced = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0))).trace(
        random_field(), np.stack([ys, ys]), np.stack([xs, xs])
    )
    assert lowered(traced, "cuda").count("xla.gpu.triton") == 2
    assert "xla.gpu.triton" not in lowered(traced, "cpu")
