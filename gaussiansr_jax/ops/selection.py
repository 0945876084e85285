"""Which of the K learned kernels a pixel uses: Gumbel-softmax and its deterministic limits.

References:
  GaussianSR (arXiv 2407.18046): its classifier over a bank of learned kernels.
  E. Jang, S. Gu, B. Poole, "Categorical reparameterization with Gumbel-softmax", 2017.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

MODES = ("soft", "straight_through", "argmax", "expectation")
RANDOM_MODES = ("soft", "straight_through")


def gumbel_noise(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard Gumbel noise, float32."""
    return jax.random.gumbel(key, shape, jnp.float32)


def class_weights(
    logits: Float[Array, "... kernels"],
    mode: str,
    temperature: ArrayLike = 1.0,
    noise: Float[Array, "... kernels"] | None = None,
) -> Float[Array, "... kernels"]:
    """Weights of the kernels at each pixel; they sum to 1.

    Args:
      logits: the classifier's output.
      mode: "soft", softmax((logits + noise) / temperature); "straight_through", one-hot of the
        largest of logits + noise with the gradient of "soft"; "argmax", one-hot of the largest
        logit; "expectation", softmax(logits).
      temperature: positive; may be traced. Used by the first two modes.
      noise: Gumbel noise for the first two modes; None means none.

    Raises:
      ValueError: unknown mode, or noise given to a deterministic mode.

    Examples:
      >>> logits = jnp.array([0.0, 1.0, 3.0])
      >>> class_weights(logits, "argmax").tolist()
      [0.0, 0.0, 1.0]
      >>> [round(float(weight), 2) for weight in class_weights(logits, "expectation")]
      [0.04, 0.11, 0.84]
      >>> noise = gumbel_noise(jax.random.key(0), logits.shape)
      >>> float(class_weights(logits, "soft", temperature=0.5, noise=noise).sum().round(5))
      1.0
    """
    if mode not in MODES:
        raise ValueError(f"selection mode {mode!r} is not one of {', '.join(MODES)}")
    if mode == "expectation" or mode == "argmax":
        if noise is not None:
            raise ValueError(f"selection mode {mode!r} is deterministic and takes no noise")
        if mode == "expectation":
            return jax.nn.softmax(logits)
        return _one_hot_of_largest(logits)
    perturbed = logits if noise is None else logits + noise.astype(logits.dtype)
    soft = jax.nn.softmax(perturbed / jnp.asarray(temperature, logits.dtype))
    if mode == "soft":
        return soft
    return soft + jax.lax.stop_gradient(_one_hot_of_largest(perturbed) - soft)


def _one_hot_of_largest(logits: Float[Array, "... kernels"]) -> Float[Array, "... kernels"]:
    return jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=logits.dtype)


def select(
    weights: Float[Array, "... kernels"], bank: Float[Array, "kernels parameters"]
) -> Float[Array, "... parameters"]:
    """The kernel parameters of each pixel: the class-weighted sum over the bank, float32.

    Examples:
      >>> bank = jnp.array([[0.2, 0.2], [1.0, 3.0]])
      >>> [round(float(sigma), 2) for sigma in select(jnp.array([0.5, 0.5]), bank)]
      [0.6, 1.6]
    """
    return jnp.matmul(weights, bank, precision=jax.lax.Precision.HIGHEST)
