"""The official raster against the plain one, and what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy_networks
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussiansr_jax import models
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models.heads import official
from gaussiansr_jax.ops import official_raster as raster
from gaussiansr_jax.ops import selection
from gaussiansr_jax.ops.coordinates import output_size

CONFIG = {
    "encoder": {"name": "edsr-baseline", "blocks": 1, "channels": 10},
    "head": {"name": "gaussiansr", "splatting": "official", "kernels": 9, "hidden": 8},
}


def random_case(seed, batch, height, width, kernels=6):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(batch, height, width, 2)).astype(np.float32)
    logits = rng.normal(size=(batch, height, width, kernels))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    bank = np.stack([rng.uniform(0.3, 3, kernels) for _ in range(4)], -1)
    bank[:, 2] = rng.uniform(-0.8, 0.8, kernels)
    return features, weights.astype(np.float32), bank.astype(np.float32)


@partial(jax.jit, static_argnames=("scale", "stamp"))
def splat(features, weights, bank, scale, **options):
    kernels = raster.mean_kernels(selection.select(weights, bank))
    return raster.splat(features, kernels, scale, **options)


@pytest.mark.parametrize(
    ("height", "width", "out_height", "out_width"), [(1, 2, 3, 7), (8, 5, 8, 5), (36, 54, 35, 42)]
)
def test_resize_is_pytorchs_bicubic(height, width, out_height, out_width):
    image = np.random.default_rng(0).normal(size=(1, height, width, 1)).astype(np.float32)
    image = np.concatenate([image, -2 * image])
    reference = numpy_networks.bicubic(image[..., 0], (out_height, out_width))
    resize = jax.jit(raster.resize, static_argnums=1)
    ours = resize(image, (out_height, out_width))[..., 0]
    np.testing.assert_allclose(ours, reference, atol=2e-5)


@pytest.mark.parametrize(
    ("scale", "batch", "height", "width"),
    [(2.0, 1, 7, 7), (1.0, 1, 5, 9), (3.37, 1, 8, 6), (2.5, 2, 9, 15), (0.72, 1, 14, 7)],
)
def test_the_raster_is_the_plain_one(scale, batch, height, width):
    features, weights, bank = random_case(3, batch, height, width)
    reference = numpy_networks.raster(
        features.transpose(0, 3, 1, 2), weights.transpose(0, 3, 1, 2), bank, scale
    )
    ours = np.asarray(splat(features, weights, bank, scale))
    assert reference.std() > 0.05
    np.testing.assert_allclose(ours.transpose(0, 3, 1, 2), reference, atol=1e-5)


def test_another_stamp():
    features, weights, bank = random_case(4, 1, 7, 7)
    reference = numpy_networks.raster(
        features.transpose(0, 3, 1, 2), weights.transpose(0, 3, 1, 2), bank, 2.0, k=8
    )
    ours = np.asarray(splat(features, weights, bank, 2.0, stamp=8))
    np.testing.assert_allclose(ours.transpose(0, 3, 1, 2), reference, atol=1e-5)


def test_a_scale_whose_tiles_are_smaller_than_a_stamp():
    assert raster.tile_size(0.65) == 5
    with pytest.raises(UserError, match=r"at scale 0\.6 a tile has 4x4; use a scale above 0\.64"):
        raster.tile_size(0.6)


def test_halves_round_to_even():
    assert raster.tile_size(1.5) == 10 and raster.tile_size(2.5) == 18  # 10.5 and 17.5
    assert output_size((11, 13), (2.5, 2.5)) == (28, 32)  # 27.5 and 32.5
    coords = np.array([-1, -0.5, 0, 0.5, 1], np.float32)  # pixels -0.5, 0.5, 1.5, 2.5, 3.5 of 4
    np.testing.assert_array_equal(raster.nearest_half_even(coords, 4), [0, 0, 2, 2, 3])


@given(st.integers(3, 40), st.integers(3, 40), st.floats(0.8, 6))
def test_the_scale_of_a_size(height, width, scale):
    size = output_size((height, width), (scale, scale))
    found = raster.scale_for((height, width), size)
    assert output_size((height, width), (found, found)) == size


def test_a_size_of_another_aspect_ratio():
    with pytest.raises(
        UserError, match="one scale for both axes and cannot enlarge 10x10 to 20x40"
    ):
        raster.scale_for((10, 10), (20, 40))


@pytest.fixture(scope="module")
def model():
    model = models.build(CONFIG)
    lr = np.random.default_rng(5).uniform(0, 1, (2, 9, 11, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), lr)
    return model, variables, lr


@partial(jax.jit, static_argnums=0)
def encode(model, variables, lr, noise=None):
    return model.apply(variables, lr, noise=noise, method="encode")


def test_the_whole_grid_is_what_the_queries_give(model, monkeypatch):
    model, variables, lr = model
    size = (22, 28)
    field = encode(model, variables, lr)
    render = partial(model.apply, size=size, scale=2.5, method="render_whole")
    whole = jax.jit(lambda *given: render(*given))(variables, field)
    monkeypatch.setattr(official, "_STRIP_PIXELS", 5 * size[1])
    strips = jax.jit(lambda *given: render(*given))(variables, field)
    np.testing.assert_allclose(strips, whole, atol=1e-6)
    coords, cell = numpy_networks.grid(size)
    coords, cell = (np.broadcast_to(v, (2, *coords.shape)) for v in (coords, cell))

    def query(model, field):
        features = model.head.hr_features(field, 2.5)
        return model.head.query_features(features, coords, cell, lr.shape[1:3])

    scattered = jax.jit(partial(model.apply, method=query))(variables, field).reshape(whole.shape)
    np.testing.assert_allclose(scattered / 2 + 0.5, whole, atol=1e-6)


def test_it_compiles_for_a_size(model):
    model, variables, lr = model
    field = encode(model, variables, lr)
    render = jax.jit(partial(model.apply, size=(18, 22), method="render_whole"))
    at_scale = jax.jit(partial(model.apply, size=(18, 22), scale=2.0, method="render_whole"))
    whole = render(variables, field)
    assert whole.shape == (2, 18, 22, 3)
    np.testing.assert_allclose(whole, at_scale(variables, field), atol=1e-5)


def test_kernels_are_shared_by_the_batch(model):
    # A defect of the official code that the compatibility mode keeps.
    model, variables, lr = model
    both = encode(model, variables, lr).kernels
    each = [encode(model, variables, lr[i : i + 1]).kernels for i in (0, 1)]
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-4


def test_given_noise_selects(model):
    model, variables, lr = model
    quiet = np.zeros((2, 9, 11, 9), np.float32)
    loud = quiet.copy()
    loud[..., 4] = 1e4
    expectation = encode(model, variables, lr).kernels
    same = encode(model, variables, lr, quiet).kernels
    np.testing.assert_allclose(same, expectation, atol=1e-6)
    chosen = encode(model, variables, lr, loud).kernels
    head = variables["params"]["head"]
    bank = jnp.stack([head[n][4] for n in ("sigma_y", "sigma_x", "rho", "opacity")])
    np.testing.assert_allclose(chosen, np.broadcast_to(bank, (7, 7, 4)), atol=1e-5)


def test_what_the_raster_cannot_do(model):
    model, variables, lr = model
    assert not model.tileable
    field = encode(model, variables, lr)
    cell = jnp.ones((2, 2))
    with pytest.raises(UserError, match="render_whole"):
        model.apply(variables, field, jnp.zeros((2, 3, 2)), cell, method="query")
    with pytest.raises(UserError, match="render_whole"):
        model.apply(variables, field, jnp.zeros((2, 3)), jnp.zeros((2, 3)), cell, method="render")
    with pytest.raises(UserError, match="padded"):
        size = jnp.full((2, 2), 9, jnp.int32)
        model.apply(variables, jnp.asarray(lr), size, method="encode")
    with pytest.raises(UserError, match="at scale 2, not"):
        model.apply(variables, field, (20, 22), 2.0, method="render_whole")
    with pytest.raises(UserError, match="unknown splatting 'x'; choose from field, official"):
        models.build({"encoder": {"name": "rdn"}, "head": {"name": "gaussiansr", "splatting": "x"}})
