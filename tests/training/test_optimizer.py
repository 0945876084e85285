"""Schedules, clipping and decay, against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gaussiansr_jax.training.config import default_config
from gaussiansr_jax.training.optimizer import (
    build_optimizer,
    build_schedule,
    ema_decay,
    temperature,
)


def rates(steps, **settings):
    config = default_config()
    config.update(steps=1000, learning_rate=8.0, **settings)
    schedule = build_schedule(config)
    return [float(schedule(jnp.int32(step))) for step in steps]


def test_step_schedule_halves_at_the_milestones():
    assert rates([0, 199, 200, 400, 600, 799, 800, 999]) == [8, 8, 4, 2, 1, 1, 0.5, 0.5]


def test_step_schedule_after_a_warm_up():
    steps = [0, 50, 100, 199, 200, 999]
    np.testing.assert_allclose(rates(steps, warmup_steps=100), [0, 4, 8, 8, 4, 0.5])


def test_cosine_schedule():
    found = rates([0, 250, 500, 1000], schedule="cosine", final_learning_rate=2.0)
    np.testing.assert_allclose(found, [8, 2 + 6 * (1 + 0.5**0.5) / 2, 5, 2], rtol=1e-6)
    found = rates([0, 50, 100, 1000], schedule="cosine", warmup_steps=100)
    np.testing.assert_allclose(found, [0, 4, 8, 0], atol=1e-6)


def test_the_first_step_of_adam_is_the_learning_rate():
    config = default_config()
    config.update(learning_rate=0.5, clip_norm=1.0)
    optimizer = build_optimizer(config)
    params = jnp.zeros(3)
    updates, _ = optimizer.update(jnp.array([3.0, -4.0, 0.0]), optimizer.init(params), params)
    np.testing.assert_allclose(updates, [-0.5, 0.5, 0.0], rtol=1e-5)


def test_the_encoder_learns_at_its_own_rate():
    config = default_config()
    config.update(learning_rate=0.5, encoder_rate=0.25)
    optimizer = build_optimizer(config, encoder_size=2)
    params = jnp.zeros(4)
    updates, _ = optimizer.update(jnp.array([3.0, -4.0, 5.0, -1.0]), optimizer.init(params), params)
    np.testing.assert_allclose(updates, [-0.125, 0.125, -0.5, 0.5], rtol=1e-5)


def test_decay_of_the_moving_average_starts_low():
    found = [float(ema_decay(jnp.int32(step), 0.999)) for step in (0, 8, 10**6)]
    np.testing.assert_allclose(found, [0.1, 0.5, 0.999], rtol=1e-6)


@pytest.mark.parametrize(("step", "expected"), [(0, 2.0), (500, 1.0), (1000, 0.5), (2000, 0.5)])
def test_temperature_is_geometric(step, expected):
    config = default_config()
    config.update(steps=1000, temperature=(2.0, 0.5))
    found = jax.jit(lambda s: temperature(s, config))(jnp.int32(step))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
