"""The step: independence of devices, of dispatches, and no traffic with the host."""

import functools
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_model
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from gaussiansr_jax import models
from gaussiansr_jax.configs import variants
from gaussiansr_jax.data.crops import SAMPLE, sample_keys
from gaussiansr_jax.data.sampling import Sample, make_batch
from gaussiansr_jax.ops.coordinates import grid_queries
from gaussiansr_jax.training import initialization
from gaussiansr_jax.training import state as states
from gaussiansr_jax.training.config import check_config, sample_settings
from gaussiansr_jax.training.feeding import Resident
from gaussiansr_jax.training.loop import load_data
from gaussiansr_jax.training.step import Dispatcher, make_gradient, make_step, sample_loss

GAUSSIANSR = {"name": "gaussiansr", "kernels": 4, "splat_channels": 2, "hidden": 8}


def set_up(config, optimizer):
    model = models.build(config.model.to_dict())
    params = initialization.init_params(model, config.seed, config.lr_size)
    pool, _ = load_data(config, sample_settings(config).crop_size)
    return model, *states.create(params, optimizer), pool


def run(config, devices, steps, dispatch):
    """State after some steps of plain gradient descent, which scales with the gradient."""
    optimizer = optax.sgd(0.1)
    model, state, layout, pool = set_up(config, optimizer)
    devices, settings = jax.local_devices()[:devices], sample_settings(config)
    step = make_step(model, layout, optimizer, settings, config, len(devices))
    dispatcher = Dispatcher(step, devices)
    state, resident = states.replicate(state, devices), Resident(pool, settings, devices)
    losses = []
    for step in range(0, steps, dispatch):
        windows = resident.take(step, dispatch)
        with jax.transfer_guard("disallow"):
            state, metrics = dispatcher(state, windows, dispatch)
            losses.append(metrics["loss"])
    return jax.device_get(states.local(state)), np.concatenate(jax.device_get(losses))


def test_gradients_on_1_and_2_devices_agree(config):
    # Of the head whose selection is random.
    config.model.head, config.query_patch = ConfigDict(GAUSSIANSR), 2
    model, state, layout, pool = set_up(config, optax.identity())
    settings, gradients = sample_settings(config), []
    for count in (1, 2):
        devices = jax.local_devices()[:count]
        gradient = make_gradient(model, layout, settings, config, count)
        mapped = jax.pmap(
            gradient,
            states.AXIS,
            in_axes=(None, 0),
            out_axes=None,
            devices=devices,
        )
        windows = Resident(pool, settings, devices).take(0, 1)
        gradients.append(jax.device_get(mapped(state, windows)))
    (one, one_metrics), (two, two_metrics) = gradients
    assert np.abs(one).max() > 1e-4
    np.testing.assert_allclose(one, two, atol=1e-6 * np.abs(one).max(), rtol=1e-4)
    np.testing.assert_allclose(one_metrics["loss"], two_metrics["loss"], rtol=1e-5)


@functools.cache
def loss_and_gradient(head, patch):
    """Of one small sample and a head given as JSON."""
    config = {"encoder": {"name": "edsr-baseline", "blocks": 0}, "head": json.loads(head)}
    model, rng = models.build(config), np.random.default_rng(0)
    positions = np.array([0.1, 0.6, 2.1, 2.6], np.float32)  # two patches of two
    sample = Sample(
        lr=rng.random((4, 4, 3), np.float32),
        ys=positions,
        xs=positions,
        cell=np.full(2, 0.5, np.float32),
        target=rng.random((4, 4, 3), np.float32),
    )

    def loss(params):
        return sample_loss(model, patch, params, 1.0, sample, jax.random.key(0))[0]

    return jax.jit(jax.value_and_grad(loss))(tiny_model.init(config))


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_variants_have_a_loss_and_a_gradient(name):
    config = variants.get_config(name)
    check_config(config)
    # The same heads, but for widths and depths that make them slow.
    narrow = {
        "gaussiansr": {"hidden": 4, "kernels": 9},
        "liif": {"hidden": 4},
        "direct": {"trunk_channels": 4, "trunk_blocks": 1},
    }
    head = config.model.head.to_dict()
    head = json.dumps(head | narrow[head["name"]], sort_keys=True)
    loss, gradient = loss_and_gradient(head, 1 if config.query_patch == 1 else 2)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]
    assert np.isfinite(loss) and all(np.isfinite(leaf).all() for leaf in leaves)
    assert np.abs(gradient["encoder"]["conv_in"]["kernel"]).max() > 0


def test_the_loss_is_that_of_scattered_queries(config):
    config.model.head = ConfigDict(GAUSSIANSR)
    config.query_patch = 2
    model, state, layout, pool = set_up(config, optax.identity())
    params, settings = layout.unravel(state.params), sample_settings(config)
    windows = Resident(pool, settings, jax.local_devices()[:1]).take(0, 1)
    windows = jax.tree.map(lambda x: x[0], windows)

    @jax.jit
    def first_sample(windows):
        step = jnp.int32(0)
        keys = sample_keys(config.seed, step, jnp.arange(config.batch_size), SAMPLE)
        return jax.tree.map(lambda x: x[0], make_batch(windows, keys, step, settings))

    sample, key = first_sample(windows), jax.random.key(4)

    def predict(module, sample):
        one = jax.tree.map(lambda x: x[None], sample)
        field = module.encode(one.lr, train=True)
        queries = grid_queries(one.ys, one.xs).reshape(1, -1, 2)
        return module.query(field, queries, one.cell)

    apply = jax.jit(partial(model.apply, rngs={"gumbel": key}, method=predict))
    color = np.asarray(apply({"params": params}, sample))
    expected = 2 * np.mean(np.abs(color.reshape(sample.target.shape) - sample.target))
    ours = jax.jit(partial(sample_loss, model, settings.query_patch))
    loss, _ = ours(params, jnp.float32(1), sample, key)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_devices_and_dispatches_change_nothing(config):
    one, losses = run(config, devices=1, steps=4, dispatch=1)
    eight, eight_losses = run(config, devices=8, steps=4, dispatch=2)
    assert one.step == eight.step == 4 and losses.shape == (4,)
    np.testing.assert_allclose(losses, eight_losses, rtol=1e-4)
    np.testing.assert_allclose(one.params, eight.params, atol=1e-5)
    np.testing.assert_allclose(one.ema, eight.ema, atol=1e-5)
    assert not np.array_equal(one.params, one.ema)


def test_the_gradient_of_unraveling_is_that_of_jax():
    tree = {"a": np.ones((3, 4), np.float32), "b": {"c": np.arange(5, dtype=np.float32)}}
    optimizer = optax.identity()
    state, layout = states.create(tree, optimizer)
    vector, plain = ravel_pytree(tree)
    np.testing.assert_array_equal(state.params, vector)

    def gradient(unravel):
        def loss(vector):
            leaves = jax.tree.leaves(unravel(vector))
            return sum(float(i + 1) * jnp.sum(jnp.sin(leaf)) for i, leaf in enumerate(leaves))

        return jax.jit(jax.grad(loss))(vector)

    np.testing.assert_array_equal(gradient(layout.unravel), gradient(plain))


def test_shapes_of_parameters_are_known_before_they_are_drawn(config):
    model = models.build(config.model.to_dict())
    shapes = initialization.param_shapes(model, config.lr_size)
    drawn = initialization.init_params(model, config.seed, config.lr_size)
    of = lambda leaf: (leaf.shape, leaf.dtype)  # noqa: E731
    assert jax.tree.map(of, shapes) == jax.tree.map(of, drawn)


def test_the_layout_gives_names_and_back(config):
    _, state, layout, _ = set_up(config, optax.identity())
    tree = layout.to_tree(state.params)
    assert tree["encoder"]["conv_in"]["kernel"].shape == (3, 3, 3, 4)
    np.testing.assert_array_equal(layout.to_vector(tree), state.params)
    assert layout.size == sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_replicas_share_no_memory():
    # Where numpy's memory is aligned, JAX takes it for its own on CPUs.
    memory = np.zeros(4096 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    vector = memory[start : start + 4096].view(np.float32)
    vector[:] = 1
    (replicas,) = states.replicate([vector], jax.local_devices())
    vector[:] = 2
    shards = [shard.data for shard in replicas.addressable_shards]
    assert len({shard.unsafe_buffer_pointer() for shard in shards}) == 8
    np.testing.assert_array_equal(shards, np.ones((8, 1024), np.float32))
