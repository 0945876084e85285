from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gaussiansr_jax.ops import selection

class_weights = jax.jit(selection.class_weights, static_argnums=1)
gumbel_noise = jax.jit(selection.gumbel_noise, static_argnums=1)
LOGITS = np.array([[1.0, 0.0, -1.0, 0.5], [0.0, 0.0, 2.0, 0.0]], np.float32)


def test_expectation_is_the_softmax_by_hand():
    weights = class_weights(np.float32([0, np.log(3)]), "expectation")
    np.testing.assert_allclose(weights, [0.25, 0.75], atol=1e-6)


def test_argmax_is_one_hot():
    weights = class_weights(LOGITS, "argmax")
    np.testing.assert_array_equal(weights, [[1, 0, 0, 0], [0, 0, 1, 0]])


def test_soft_uses_noise_and_temperature():
    noise = np.float32([[0, 3, 0, 0], [0, 0, 0, 0]])
    weights = class_weights(LOGITS, "soft", 0.5, noise)
    expected = np.exp(2 * (LOGITS + noise))
    np.testing.assert_allclose(weights, expected / expected.sum(-1, keepdims=True), rtol=1e-5)


def test_straight_through_is_hard_with_the_gradient_of_soft():
    noise = np.asarray(gumbel_noise(jax.random.key(0), LOGITS.shape))

    @partial(jax.jit, static_argnums=0)
    @partial(jax.grad, argnums=1, has_aux=True)
    def gradient(mode, logits):
        weights = selection.class_weights(logits, mode, 0.7, jnp.asarray(noise))
        return jnp.sum(weights * jnp.arange(4.0)[None]), weights

    (soft_gradient, _), (ours, hard) = (gradient(m, LOGITS) for m in ("soft", "straight_through"))
    np.testing.assert_allclose(np.sort(hard, -1)[:, -1], 1, atol=1e-6)
    np.testing.assert_array_equal(np.argmax(hard, -1), np.argmax(LOGITS + noise, -1))
    assert np.abs(soft_gradient).max() > 1e-3
    chex.assert_trees_all_close(ours, soft_gradient, rtol=1e-5)


def test_low_temperature_approaches_the_hard_choice():
    noise = gumbel_noise(jax.random.key(1), LOGITS.shape)
    soft = class_weights(LOGITS, "soft", 1e-3, noise)
    hard = class_weights(LOGITS, "straight_through", 1e-3, noise)
    np.testing.assert_allclose(soft, hard, atol=1e-3)


def test_selection_frequencies_follow_the_softmax():
    draws = 20_000
    logits = np.broadcast_to(LOGITS[0], (draws, 4))
    noise = gumbel_noise(jax.random.key(2), logits.shape)
    frequency = np.mean(class_weights(logits, "straight_through", 1.0, noise), 0)
    probability = np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum()
    deviation = np.sqrt(probability * (1 - probability) / draws)
    assert np.all(np.abs(frequency - probability) < 4 * deviation)


def test_select_mixes_the_bank_by_hand():
    bank = np.float32([[1, 10], [3, 20]])
    weights = np.float32([[0.25, 0.75], [1, 0]])
    selected = jax.jit(selection.select)(weights, bank)
    np.testing.assert_allclose(selected, [[2.5, 17.5], [1, 10]], rtol=1e-6)


@pytest.mark.parametrize("mode", ["expectation", "argmax"])
def test_deterministic_modes_refuse_noise(mode):
    with pytest.raises(ValueError, match="deterministic"):
        class_weights(LOGITS, mode, noise=np.zeros_like(LOGITS))


def test_unknown_mode():
    with pytest.raises(ValueError, match="'hardest'"):
        class_weights(LOGITS, "hardest")


def test_temperature_is_traced():
    compiled = jax.jit(lambda logits, t: selection.class_weights(logits, "soft", t))
    for temperature in (0.1, 0.5, 2.0):
        compiled(LOGITS, temperature)
    assert compiled._cache_size() == 1
