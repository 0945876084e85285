import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gaussiansr_jax.ops import selection

LOGITS = jnp.array([[1.0, 0.0, -1.0, 0.5], [0.0, 0.0, 2.0, 0.0]])


def test_expectation_is_the_softmax_by_hand():
    weights = selection.class_weights(jnp.array([0.0, np.log(3.0)], jnp.float32), "expectation")
    np.testing.assert_allclose(weights, [0.25, 0.75], atol=1e-6)


def test_argmax_is_one_hot():
    weights = selection.class_weights(LOGITS, "argmax")
    np.testing.assert_array_equal(weights, [[1, 0, 0, 0], [0, 0, 1, 0]])


def test_soft_uses_noise_and_temperature():
    noise = jnp.array([[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    weights = selection.class_weights(LOGITS, "soft", 0.5, noise)
    expected = np.exp(2 * (LOGITS + noise))
    np.testing.assert_allclose(weights, expected / expected.sum(-1, keepdims=True), rtol=1e-5)


def test_straight_through_is_hard_with_the_gradient_of_soft():
    noise = selection.gumbel_noise(jax.random.key(0), LOGITS.shape)
    values = jnp.arange(4.0)

    def total(mode, logits):
        weights = selection.class_weights(logits, mode, 0.7, noise)
        return jnp.sum(weights * values[None])

    hard = selection.class_weights(LOGITS, "straight_through", 0.7, noise)
    np.testing.assert_allclose(np.sort(hard, -1)[:, -1], 1, atol=1e-6)
    np.testing.assert_array_equal(np.argmax(hard, -1), np.argmax(LOGITS + noise, -1))
    soft_gradient = jax.grad(lambda x: total("soft", x))(LOGITS)
    assert np.abs(soft_gradient).max() > 1e-3
    chex.assert_trees_all_close(
        jax.grad(lambda x: total("straight_through", x))(LOGITS), soft_gradient, rtol=1e-5
    )


def test_low_temperature_approaches_the_hard_choice():
    noise = selection.gumbel_noise(jax.random.key(1), LOGITS.shape)
    soft = selection.class_weights(LOGITS, "soft", 1e-3, noise)
    hard = selection.class_weights(LOGITS, "straight_through", 1e-3, noise)
    np.testing.assert_allclose(soft, hard, atol=1e-3)


def test_selection_frequencies_follow_the_softmax():
    draws = 20_000
    logits = jnp.broadcast_to(LOGITS[0], (draws, 4))
    noise = selection.gumbel_noise(jax.random.key(2), logits.shape)
    frequency = selection.class_weights(logits, "straight_through", 1.0, noise).mean(0)
    probability = np.asarray(jax.nn.softmax(LOGITS[0]))
    deviation = np.sqrt(probability * (1 - probability) / draws)
    assert np.all(np.abs(frequency - probability) < 4 * deviation)


def test_select_mixes_the_bank_by_hand():
    bank = jnp.array([[1.0, 10.0], [3.0, 20.0]])
    weights = jnp.array([[0.25, 0.75], [1.0, 0.0]])
    np.testing.assert_allclose(selection.select(weights, bank), [[2.5, 17.5], [1, 10]], rtol=1e-6)


@pytest.mark.parametrize("mode", ["expectation", "argmax"])
def test_deterministic_modes_refuse_noise(mode):
    with pytest.raises(ValueError, match="deterministic"):
        selection.class_weights(LOGITS, mode, noise=jnp.zeros_like(LOGITS))


def test_unknown_mode():
    with pytest.raises(ValueError, match="'hardest'"):
        selection.class_weights(LOGITS, "hardest")


def test_temperature_is_traced():
    compiled = jax.jit(selection.class_weights, static_argnums=1)
    for temperature in (0.1, 0.5, 2.0):
        compiled(LOGITS, "soft", temperature)
    assert compiled._cache_size() == 1
