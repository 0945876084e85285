from itertools import product

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_fields import (
    FOOTPRINT,
    HEIGHT,
    WIDTH,
    random_field,
    splat,
    splat_dense,
    splat_grid,
)
from hypothesis import given
from hypothesis import strategies as st

from gaussiansr_jax.ops import splatting
from gaussiansr_jax.ops.coordinates import grid_queries


def random_queries(seed=1, count=23):
    positions = np.random.default_rng(seed).uniform(-0.5, (HEIGHT - 0.5, WIDTH - 0.5), (count, 2))
    return positions.astype(np.float32)


def normal(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def regular_grid(rows, columns):
    ys, xs = np.linspace(-0.7, HEIGHT - 0.3, rows), np.linspace(-0.4, WIDTH - 0.6, columns)
    return jnp.asarray(ys, jnp.float32), jnp.asarray(xs, jnp.float32)


def joined(*fields, axis):
    return jax.tree.map(lambda *v: np.concatenate(v, axis), *fields)


def numpy_field(gaussians, query, footprint, normalized):
    """The definition with explicit 2×2 covariances, float64."""
    total, weights = 0.0, 0.0
    rho = 0.99 * np.tanh(np.asarray(gaussians.rho, np.float64) / 0.99)
    for i in range(HEIGHT):
        for j in range(WIDTH):
            for k in range(gaussians.rho.shape[2]):
                sy, sx = np.asarray(gaussians.sigma[i, j, k], np.float64)
                c = rho[i, j, k] * sy * sx
                narrow = np.array([[sy * sy + 1e-4, c], [c, sx * sx + 1e-4]])
                covariance = narrow + np.diag(np.square(np.asarray(footprint, np.float64)))
                d = np.asarray(query) - (np.array([i, j]) + np.asarray(gaussians.offset[i, j, k]))
                height = np.sqrt(np.linalg.det(narrow) / np.linalg.det(covariance))
                q = d @ np.linalg.inv(covariance) @ d
                w = float(gaussians.opacity[i, j, k]) * height * np.exp(-0.5 * q)
                total, weights = total + w * np.asarray(gaussians.value[i, j, k]), weights + w
    return total / weights if normalized else total


@pytest.mark.parametrize("normalized", [False, True])
def test_dense_field_is_the_definition(normalized):
    gaussians, queries = random_field(), random_queries(count=4)
    ours = splat_dense(gaussians, queries, FOOTPRINT, normalized)
    expected = [numpy_field(gaussians, q, FOOTPRINT, normalized) for q in queries]
    np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=1e-5)


def test_one_gaussian_by_hand():
    # σ_y = 1, σ_x = 2 (variances 1 + 1e-4, 4 + 1e-4), query at (1, 2) from the center: q = 2
    @jax.jit
    def at(delta):
        nothing, half = jnp.zeros(1), jnp.full(1, 0.5)
        gaussian = splatting.Gaussians(jnp.zeros((1, 2)), delta, nothing, half, jnp.ones((1, 1)))
        return splatting.field_at(delta, splatting.at_footprint(gaussian, jnp.zeros(2)), False)

    value = at(np.float32([[1.0, 2.0]]))
    np.testing.assert_allclose(value, [0.5 * np.exp(-1)], rtol=1e-3)


@pytest.mark.parametrize("normalized", [False, True])
def test_whole_image_window_equals_dense_values_and_gradients(normalized):
    queries = random_queries()
    weight = normal(len(queries), 3)

    def value_and_gradients(evaluate):
        def loss(gaussians, queries, footprint):
            return jnp.sum(weight * evaluate(gaussians, queries, footprint))

        run = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
        return run(random_field(), queries, FOOTPRINT)

    dense = value_and_gradients(lambda g, q, f: splatting.splat_dense(g, q, f, normalized))
    window = value_and_gradients(lambda g, q, f: splatting.splat(g, q, f, 6, normalized))
    chex.assert_trees_all_close(window, dense, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("normalized", [False, True])
def test_grid_equals_scattered_values_and_gradients(normalized):
    (ys, xs), weight = regular_grid(7, 9), normal(7, 9, 3)

    def grid(gaussians):
        return splatting.splat_grid(gaussians, ys, xs, FOOTPRINT, 1, normalized)

    def scattered(gaussians):
        queries = grid_queries(ys, xs).reshape(-1, 2)
        return splatting.splat(gaussians, queries, FOOTPRINT, 1, normalized).reshape(7, 9, 3)

    def both(evaluate):
        def loss(gaussians):
            field = evaluate(gaussians)
            return jnp.sum(weight * field), field

        return jax.jit(jax.grad(loss, has_aux=True))(random_field())

    (ours, field), (theirs, expected) = both(grid), both(scattered)
    chex.assert_trees_all_close(field, expected, atol=1e-5)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalized", [False, True])
def test_gradients_of_the_grid_by_its_positions(normalized):
    # The window covers the image, so that the oracle has the same gradients.
    (ys, xs), weight = regular_grid(5, 7), normal(5, 7, 3)

    def grid(gaussians, ys, xs, footprint):
        return splatting.splat_grid(gaussians, ys, xs, footprint, 6, normalized)

    def dense(gaussians, ys, xs, footprint):
        queries = grid_queries(ys, xs).reshape(-1, 2)
        field = splatting.splat_dense(gaussians, queries, footprint, normalized)
        return field.reshape(5, 7, 3)

    ours, oracle = [
        jax.jit(jax.grad(lambda *x: jnp.sum(weight * f(*x)), (0, 1, 2, 3)))(  # noqa: B023
            random_field(), ys, xs, FOOTPRINT
        )
        for f in (grid, dense)
    ]
    chex.assert_trees_all_close(ours, oracle, rtol=1e-3, atol=1e-4)
    assert np.abs(ours[1]).min() > 1e-3 and np.abs(ours[2]).min() > 1e-3
    # By one of the axes alone, and of one image in a batch.
    field = jax.tree.map(jnp.asarray, random_field())

    def total(ys, xs):
        return jnp.sum(weight * grid(field, ys, xs, FOOTPRINT))

    alone = jax.jit(jax.grad(total, 1))(ys, xs)
    chex.assert_trees_all_close(alone, ours[2], rtol=1e-4, atol=1e-5)
    batched = jax.jit(jax.vmap(jax.grad(total), (0, None)))(
        np.stack([ys, np.asarray(ys) + np.float32(0.1)]), xs
    )
    chex.assert_trees_all_close(batched[0], ours[1], rtol=1e-4, atol=1e-5)


def test_training_does_not_pay_for_gradients_by_positions(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nobody asked for gradients by positions")

    monkeypatch.setattr(splatting, "_position_gradients", refuse)
    ys = xs = np.linspace(0, 2, 5, dtype=np.float32)
    batch = jax.tree.map(lambda v: v[None], random_field())

    @jax.jit
    @jax.grad
    def gradient(batch, ys, xs):
        @jax.checkpoint
        @jax.vmap
        def field(gaussians, ys, xs):
            return splatting.splat_grid(gaussians, ys, xs, FOOTPRINT, 1, True)

        def step(total, _):
            return total + jnp.sum(field(batch, ys, xs)), None

        return jax.lax.scan(step, 0.0, length=2)[0]

    chex.assert_tree_all_finite(gradient(batch, ys[None], xs[None]))


@pytest.mark.parametrize("start", [-0.4, 1.3, WIDTH - 2.2])
@pytest.mark.parametrize("axis", [0, 1])
def test_part_of_a_long_field(axis, start):
    # Along one axis the grid sees fewer LR pixels than there are.
    long = jax.tree.map(lambda v: np.concatenate([v, np.flip(v, axis)], axis), random_field())
    short_axis, long_axis = np.float32([0.2, 0.9]), np.float32(start + 0.7 * np.arange(3))
    ys, xs = (long_axis, short_axis) if axis == 0 else (short_axis, long_axis)
    for normalized in (False, True):
        queries = np.stack(np.meshgrid(ys, xs, indexing="ij"), -1)
        expected = splat(long, queries.reshape(-1, 2), FOOTPRINT, 1, normalized)
        field = splat_grid(long, ys, xs, FOOTPRINT, 1, normalized)
        expected = expected.reshape(*queries.shape[:2], 3)
        np.testing.assert_allclose(field, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [[0.0, 9.0], [9.0, 0.0]])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_grid_with_too_large_steps_is_not_wrong_silently(axis, steps):
    long = joined(random_field(), random_field(), axis=axis)
    grid = np.zeros(1, np.float32), np.float32(steps)
    field = splat_grid(long, *(grid[::-1] if axis == 0 else grid), FOOTPRINT, 1)
    assert np.isnan(field).all()


@given(st.floats(0.05, 1.0), st.integers(1, 3))
def test_truncation_bound(sigma, radius):
    gaussians = random_field(3)._replace(
        offset=np.zeros((HEIGHT, WIDTH, 2, 2), np.float32),
        sigma=np.full((HEIGHT, WIDTH, 2, 2), sigma, np.float32),
    )
    queries = random_queries()
    dense = splat_dense(gaussians, queries, FOOTPRINT)
    window = splat(gaussians, queries, FOOTPRINT, radius)
    variance = sigma**2 + 0.2**2 + 1e-4
    amplitude = np.abs(gaussians.opacity[..., None] * gaussians.value).sum((0, 1, 2))
    bound = amplitude * np.exp(-((radius + 0.5) ** 2) / (2 * variance))
    assert np.all(np.abs(dense - window) <= bound[None] + 1e-5)


def test_opacity_is_linear():
    gaussians, queries = random_field(), random_queries()

    def evaluate(opacity):
        return np.asarray(splat(gaussians._replace(opacity=opacity), queries, FOOTPRINT, 2))

    a, b = gaussians.opacity, random_field(9).opacity
    chex.assert_trees_all_close(
        evaluate(2 * a - 3 * b), 2 * evaluate(a) - 3 * evaluate(b), rtol=1e-4, atol=1e-4
    )


def test_transparent_gaussians_are_not_there():
    gaussians, queries = random_field(), random_queries()
    poisoned = jax.tree.map(np.copy, gaussians)
    poisoned.opacity[..., 1], poisoned.value[..., 1, :] = 0, 1e6
    alone = jax.tree.map(lambda v: v[:, :, :1], gaussians)
    for normalized in (False, True):
        chex.assert_trees_all_close(
            splat(poisoned, queries, FOOTPRINT, 2, normalized),
            splat(alone, queries, FOOTPRINT, 2, normalized),
            rtol=1e-4,
            atol=1e-5,
        )


def test_translation_equivariance():
    gaussians = random_field()
    queries = np.float32(random_queries() * 0.3 + 1.5)
    moved = jax.tree.map(
        lambda v: np.pad(v, ((2, 0), (1, 0)) + ((0, 0),) * (v.ndim - 2)), gaussians
    )
    shift = np.float32([[2.0, 1.0]])
    for normalized in (False, True):
        chex.assert_trees_all_close(
            splat(moved, queries + shift, FOOTPRINT, 1, normalized),
            splat(gaussians, queries, FOOTPRINT, 1, normalized),
            rtol=1e-4,
            atol=1e-5,
        )


def test_reflection_equivariance():
    gaussians, queries = random_field(), random_queries()
    flip = np.float32([-1, 1])
    mirrored = jax.tree.map(lambda v: v[::-1], gaussians)
    mirrored = mirrored._replace(offset=mirrored.offset * flip, rho=-mirrored.rho)
    mirrored_queries = queries * flip + np.float32([HEIGHT - 1, 0])
    for normalized in (False, True):
        chex.assert_trees_all_close(
            splat(mirrored, mirrored_queries, FOOTPRINT, 2, normalized),
            splat(gaussians, queries, FOOTPRINT, 2, normalized),
            rtol=1e-3,
            atol=1e-4,
        )


@given(st.floats(1, 30))
def test_partition_of_unity(scale):
    gaussians = random_field()._replace(value=np.full((HEIGHT, WIDTH, 2, 3), 0.37, np.float32))
    footprint = np.full(2, 0.4 / scale, np.float32)
    constant = splat(gaussians, random_queries(), footprint, 1, True)
    np.testing.assert_allclose(constant, 0.37, rtol=1e-5)


def test_footprint_is_the_convolution_with_the_pixel():
    # The average of the field over Gaussian-distributed positions is the field with the footprint.
    gaussians = random_field(sigma=(0.3, 0.6))
    footprint = np.float32([0.4, 0.25])
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    weights = weights / weights.sum()
    query = np.float32([2.3, 1.9])
    offsets = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    samples = np.float32(query + offsets * footprint)
    values = np.asarray(splat_dense(gaussians, samples, np.zeros(2, np.float32)))
    average = np.sum(values * np.outer(weights, weights).ravel()[:, None], 0)
    (widened,) = splat_dense(gaussians, query[None], footprint)
    np.testing.assert_allclose(average, widened, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("footprint", [jnp.zeros(2), FOOTPRINT], ids=["point", "pixel"])
@pytest.mark.parametrize("normalized", [False, True])
def test_extreme_parameters_stay_finite(normalized, footprint):
    def loss(gaussians, queries):
        return jnp.sum(splatting.splat(gaussians, queries, footprint, 2, normalized) ** 2)

    field, run = random_field(count=1), jax.jit(jax.value_and_grad(loss, (0, 1)))
    for sigma, rho in product([0.0, 1e-20, 1e-3, 1e3, 1e20], [0.0, -1.0, 50.0, 1e20]):
        extreme = field._replace(
            sigma=np.full_like(field.sigma, sigma), rho=np.full_like(field.rho, rho)
        )
        found = run(extreme, random_queries())
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)), (sigma, rho)


def test_the_vmapped_field_compiles_once_for_all_scales():
    compiled = jax.jit(lambda *arrays: splatting.splat_grid(*arrays, 1, True))
    for scale in (1.0, 3.3, 30.0):
        ys = np.float32(np.arange(8) / scale)
        compiled(random_field(), ys, ys, np.full(2, 0.4 / scale, np.float32))
    assert compiled._cache_size() == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_oracle_keeps_the_type(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        gaussians = jax.tree.map(lambda v: v.astype(dtype), random_field())
        value = splat_dense(gaussians, random_queries().astype(dtype), FOOTPRINT.astype(dtype))
    assert value.dtype == dtype
