import dataclasses
import json
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gaussiansr_jax import models
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models.registry import ENCODERS
from gaussiansr_jax.ops.coordinates import grid_positions, grid_queries

ENCODER = {"name": "edsr-baseline", "channels": 8, "blocks": 1}
HEADS = [
    {"name": "gaussiansr", "kernels": 9, "splat_channels": 4, "window": 5, "hidden": 16},
    {"name": "gaussiansr", "splat_channels": 0, "hidden": 16},
    {"name": "liif", "hidden": 16},
    {"name": "direct", "grid": 2, "trunk_channels": 16, "trunk_blocks": 1},
    {
        "name": "direct",
        "grid": 2,
        "trunk_channels": 16,
        "trunk_blocks": 1,
        "bank": 5,
        "opacity": False,
    },
]
LR = jnp.asarray(np.random.default_rng(1).random((2, 7, 9, 3), np.float32))
SCALE = jnp.array([[2.0, 3.3], [1.9, 2.6]])  # per sample and per axis; no query on a tie


@pytest.fixture(scope="module", params=HEADS, ids=lambda h: f"{h['name']}-{len(h)}")
def model_and_params(request):
    model = models.build({"encoder": ENCODER, "head": request.param})
    params = jax.jit(model.init)(jax.random.key(0), LR)["params"]
    # Fresh parameters leave parts idle (ρ = 0, tiny last layers): move all of them.
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda p: p + np.float32(0.1 * rng.normal(size=p.shape)), params)
    return model, jax.tree.map(np.asarray, params)


@partial(jax.jit, static_argnums=(0, 1))
def grid(height=8, width=6):
    ys = grid_positions(height, SCALE[:, 0], jnp.array([0, 3]))
    return ys, grid_positions(width, SCALE[:, 1], jnp.array([2, 0])), 1 / SCALE


@partial(jax.jit, static_argnums=0)
def render(model, params, lr, size=None, at=None):
    field = model.apply({"params": params}, lr, size, method="encode")
    return model.apply({"params": params}, field, *(at or grid()), method="render")


def test_grid_equals_scattered_queries(model_and_params):
    model, params = model_and_params
    ys, xs, cell = grid()

    @jax.jit
    def query(params):
        field = model.apply({"params": params}, LR, method="encode")
        coords = grid_queries(ys, xs).reshape(2, -1, 2)
        return model.apply({"params": params}, field, coords, cell, method="query")

    scattered = query(params)
    dense = render(model, params, LR)
    assert dense.dtype == jnp.float32
    assert float(dense.std()) > 1e-3
    np.testing.assert_allclose(dense, scattered.reshape(dense.shape), atol=2e-5)


def test_patches_equal_scattered_queries(model_and_params):
    model, params = model_and_params
    ys, xs, cell = grid(12, 14)
    # The second patches begin before, and a little after, the first ones' ends.
    rows, cols = np.array([*range(5), *range(4, 9)]), np.array([*range(5), *range(8, 13)])
    ys, xs = ys[:, rows], xs[:, cols]

    @jax.jit
    def both(params):
        field = model.apply({"params": params}, LR, method="encode")
        coords = grid_queries(ys, xs).reshape(2, -1, 2)
        scattered = model.apply({"params": params}, field, coords, cell, method="query")
        dense = model.apply({"params": params}, field, ys, xs, cell, 5, method="render")
        return scattered.reshape(dense.shape), dense

    np.testing.assert_allclose(*both(params), atol=2e-5)


def test_patches_of_one_pixel_equal_scattered_queries():
    """Positions closer together than the features that are read around each of them."""
    model = models.build({"encoder": ENCODER, "head": HEADS[0], "finest_cell": 0.4})
    params = jax.jit(model.init)(jax.random.key(0), LR)["params"]
    ys, xs, cell = grid(12, 14)
    limited, patch = model.cell_at((5.0, 4.0))
    np.testing.assert_allclose(limited, [[0.4, 0.4]])
    assert patch == 1

    @jax.jit
    def both(params):
        field = model.apply({"params": params}, LR, method="encode")
        coords = grid_queries(ys, xs).reshape(2, -1, 2)
        wide = jnp.broadcast_to(limited, (2, 2))
        scattered = model.apply({"params": params}, field, coords, wide, method="query")
        dense = model.apply({"params": params}, field, ys, xs, wide, patch, method="render")
        narrow = model.apply({"params": params}, field, ys, xs, cell, method="render")
        return scattered.reshape(dense.shape), dense, narrow

    scattered, dense, narrow = both(params)
    np.testing.assert_allclose(scattered, dense, atol=2e-5)
    assert float(jnp.abs(dense - narrow).max()) > 1e-3


def test_rounding_at_the_edge_of_an_image_changes_nothing():
    """Features half a pixel beyond the outermost centers count as inside."""
    model = models.build({"encoder": ENCODER, "head": HEADS[0], "finest_cell": 0.25})
    params = jax.jit(model.init)(jax.random.key(0), LR)["params"]

    @jax.jit
    def query(params, coords):
        field = model.apply({"params": params}, LR[:1], method="encode")
        cell = jnp.full((1, 2), 0.25)
        return model.apply({"params": params}, field, coords, cell, method="query")[0]

    for y in (-0.25, 6.25):
        around = np.float32([[[y - 1e-5, 2.3], [y, 2.3], [y + 1e-5, 2.3]]])
        colors = np.asarray(query(params, around))
        np.testing.assert_allclose(colors, np.broadcast_to(colors[1], (3, 3)), atol=1e-4)


@pytest.mark.parametrize(
    ("finest", "scales", "cell", "patch"),
    [
        (0.0, (30.0, 8.0), (1 / 30, 1 / 8), None),
        (0.25, (4.0, 2.5), (0.25, 0.4), None),
        (0.25, (6.0, 2.0), (0.25, 0.5), 1),
        (0.25, (1.0, 12.0), (1.0, 0.25), 1),
    ],
)
def test_the_head_is_told_of_no_smaller_pixel_than_it_knows(finest, scales, cell, patch):
    model = models.build({"encoder": ENCODER, "head": HEADS[0], "finest_cell": finest})
    found = model.cell_at(scales)
    np.testing.assert_allclose(found[0], [cell], rtol=1e-6)
    assert found[1] == patch


def test_padding_changes_nothing(model_and_params):
    model, params = model_and_params
    padded = jnp.pad(LR, ((0, 0), (0, 4), (0, 3), (0, 0)), constant_values=0.7)
    size = jnp.array([[7, 9], [7, 9]])
    # What leaked in would be some 1e-2; CPUs add up convolutions of other sizes in another order.
    np.testing.assert_allclose(
        render(model, params, padded, size), render(model, params, LR), atol=1e-4
    )


def test_samples_do_not_depend_on_their_batch_mates(model_and_params):
    model, params = model_and_params
    others = np.array(LR)
    others[1] = 1 - others[0]
    both, others = (np.asarray(render(model, params, lr)) for lr in (LR, others))
    np.testing.assert_allclose(both[0], others[0], atol=1e-5)
    assert np.abs(both[1] - others[1]).max() > 1e-2


def test_receptive_radius_is_tight_enough_to_tile_by(model_and_params):
    model, params = model_and_params
    radius, half = model.receptive_radius, 4
    side = 2 * (radius + half)
    lr = jax.random.uniform(jax.random.key(4), (1, side, side, 3))
    positions = jnp.linspace(radius + half - 0.5, radius + half + 0.4, 5)[None]
    at = positions, positions, jnp.full((1, 2), 0.225)
    inside = render(model, params, lr, at=at)
    moved = tuple(v - half + 1 for v in at[:2]) + at[2:]
    cropped = render(model, params, lr[:, half - 1 : 1 - half, half - 1 : 1 - half], at=moved)
    np.testing.assert_allclose(cropped, inside, atol=1e-5)


def test_all_parameters_get_finite_gradients(model_and_params):
    model, params = model_and_params

    def loss(params):
        rngs = {"gumbel": jax.random.key(3)}
        apply = partial(model.apply, {"params": params}, rngs=rngs)
        field = apply(LR, train=True, temperature=0.8, method="encode")
        return jnp.mean(jnp.abs(apply(field, *grid(), method="render") - 0.3))

    gradients = jax.jit(jax.grad(loss))(params)
    chex.assert_tree_all_finite(gradients)
    unused = ("classifier", "sigma_y", "sigma_x", "rho", "opacity")
    for path, gradient in jax.tree.leaves_with_path(gradients):
        idle = any(name in jax.tree_util.keystr(path) for name in unused)
        if not (idle and getattr(model.head, "splat_channels", 1) == 0):
            assert float(jnp.abs(gradient).max()) > 0, path


def test_bfloat16_computes_with_float32_parameters(model_and_params):
    model, params = model_and_params
    low = models.SuperResolver(
        model.encoder.clone(dtype=jnp.bfloat16), model.head.clone(dtype=jnp.bfloat16)
    )
    shapes = jax.eval_shape(low.init, jax.random.key(0), LR)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    exact, rounded = render(model, params, LR), render(low, params, LR)
    assert rounded.dtype == jnp.float32
    assert 0 < float(jnp.abs(exact - rounded).max()) < 0.2 * float(jnp.abs(exact).max())


@pytest.mark.parametrize("head", [HEADS[0], HEADS[4]], ids=["gaussiansr", "direct"])
def test_training_selection_is_random_and_evaluation_is_not(head):
    model = models.build({"encoder": ENCODER, "head": head})
    variables = jax.jit(model.init)(jax.random.key(0), LR)

    @partial(jax.jit, static_argnums=1)
    def sigma(seed, train):
        rngs = {"gumbel": jax.random.key(seed)}
        field = model.apply(variables, LR, train=train, method="encode", rngs=rngs)
        return field.gaussians.sigma if hasattr(field, "gaussians") else field.kernels[..., :2]

    assert float(jnp.abs(sigma(0, True) - sigma(1, True)).max()) > 1e-2
    chex.assert_trees_all_equal(sigma(0, False), sigma(1, False))


def test_direct_head_reproduces_constant_images_at_every_scale():
    model = models.build({"encoder": ENCODER, "head": HEADS[3]})
    params = jax.jit(model.init)(jax.random.key(0), LR)["params"]
    # All Gaussians carry one color: whatever their shapes, the normalized field must be that color.
    out = params["head"]["out"]
    bias = jax.random.normal(jax.random.key(1), out["bias"].shape)
    # Offset 2, σ 2, ρ, color 3, opacity.
    is_color = jnp.isin(jnp.arange(bias.size) % 9, jnp.arange(5, 8))
    params["head"]["out"] = {
        "kernel": jnp.zeros_like(out["kernel"]),
        "bias": jnp.where(is_color, 0.2, bias),
    }
    image = jnp.full((1, 7, 9, 3), 0.4)
    for scale in (1.0, 3.3, 30.0):
        positions = grid_positions(11, jnp.array([scale]))
        at = positions, positions, jnp.full((1, 2), 1 / scale, jnp.float32)
        np.testing.assert_allclose(render(model, params, image, at=at), 0.4 + 0.1, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"encoder": {"name": "vgg"}, "head": HEADS[0]}, "unknown encoder 'vgg'"),
        ({"encoder": ENCODER, "head": {"name": "nerf"}}, "unknown head 'nerf'"),
        ({"encoder": ENCODER, "head": {"name": "liif", "width": 3}}, "unknown setting 'width'"),
        ({"encoder": ENCODER, "head": HEADS[0], "dtype": "int8"}, "unknown dtype 'int8'"),
        ({"encoder": ENCODER, "head": HEADS[0], "heads": 2}, "unknown model setting 'heads'"),
        ({"encoder": ENCODER, "head": HEADS[0], "finest_cell": 4.0}, "a number from 0 to 1"),
        ({"encoder": ENCODER, "head": HEADS[0], "finest_cell": "1/4"}, "a number from 0 to 1"),
    ],
)
def test_unknown_names_are_said(config, message):
    with pytest.raises(UserError, match=message):
        models.build(config)


def test_liif_is_continuous_at_the_center_line_of_the_outermost_pixels():
    # There all four areas of the blending vanish together.
    model = models.build({"encoder": ENCODER, "head": HEADS[2]})
    params = jax.jit(model.init)(jax.random.key(0), LR)["params"]

    @jax.jit
    def query(params, lr, coords, cell):
        field = model.apply({"params": params}, lr, method="encode")
        return model.apply({"params": params}, field, coords, cell, method="query")

    around = np.float32([[[y, 2.3] for y in (-1e-4, -1e-7, 0.0, 1e-7, 1e-4)]])
    (colors,) = np.asarray(query(params, LR[:1], around, np.full((1, 2), 1 / 3, np.float32)))
    np.testing.assert_allclose(colors, np.broadcast_to(colors[:1], (5, 3)), atol=1e-3)


@pytest.mark.parametrize(
    "head",
    [*HEADS, {"name": "gaussiansr", "splatting": "official"}],
    ids=lambda h: f"{h['name']}-{len(h)}",
)
def test_a_complete_config_names_every_setting_and_builds_the_same_model(head):
    config = {"encoder": ENCODER, "head": head}
    whole = json.loads(json.dumps(models.complete(config)))
    assert models.build(whole) == models.build(config)
    assert models.complete(whole) == models.complete(config)
    assert all(whole["head"][name] == value for name, value in head.items())
    fields = {field.name for field in dataclasses.fields(models.build(config).head)}
    assert set(whole["head"]) == (fields - {"parent", "dtype"}) | set(head)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_keeps_padding_out_and_knows_its_radius(name):
    small = {
        "edsr-baseline": {"channels": 8, "blocks": 2},
        "edsr-large": {"channels": 8, "blocks": 2},
        "rdn": {"channels": 8, "growth": 8, "blocks": 2, "layers": 2},
    }
    config = {"encoder": {"name": name, **small[name]}, "head": {"name": "direct"}}
    encoder = models.build(config).encoder
    side = 2 * encoder.radius + 3
    lr = jax.random.uniform(jax.random.key(5), (1, side, side, 3), minval=-1.0)
    params = jax.jit(encoder.init)(jax.random.key(0), lr)
    features = jax.jit(encoder.apply)(params, lr)
    assert features.shape[:3] == lr.shape[:3] and float(features.std()) > 1e-4
    padded = jnp.pad(lr, ((0, 0), (0, 5), (0, 2), (0, 0)))
    valid = jax.jit(encoder.apply)(params, padded, jnp.array([[side, side]]))[:, :side, :side]
    np.testing.assert_allclose(valid, features, atol=1e-4)
    # A pixel at the corner changes nothing beyond the radius.
    changed = jax.jit(encoder.apply)(params, lr.at[0, 0, 0].set(1.0)) - features
    reach = np.argwhere(np.abs(np.array(changed[0])).max(-1) > 1e-7).max()
    assert 0 < reach <= encoder.radius
