"""Adam with the papers' step schedule or a cosine one, on one vector of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict


def build_schedule(config: ConfigDict) -> optax.Schedule:
    """The learning rate as a function of the step, float32.

    "step": times `decay_factor` at each of the fractions `milestones` of `steps`, as LIIF's
    and GaussianSR's code do. "cosine": from `learning_rate` at the end of the warm-up to
    `final_learning_rate` at the end. Before, a linear warm-up of `warmup_steps` from zero.
    """
    peak, last, warmup = config.learning_rate, config.final_learning_rate, config.warmup_steps
    milestones = np.array([round(part * config.steps) for part in config.milestones], np.int32)

    def schedule(step: Int[Array, ""]) -> Float[Array, ""]:
        count = jnp.asarray(step, jnp.float32)
        if config.schedule == "cosine":
            part = jnp.clip((count - warmup) / max(config.steps - warmup, 1), 0, 1)
            rate = last + (peak - last) * 0.5 * (1 + jnp.cos(jnp.pi * part))
        else:
            passed = jnp.sum(step >= milestones, dtype=jnp.float32)
            rate = peak * config.decay_factor**passed
        return rate * jnp.minimum(count / warmup, 1) if warmup else rate

    return schedule


def build_optimizer(config: ConfigDict, encoder_size: int = 0) -> optax.GradientTransformation:
    """Clipping by the global norm (if clip_norm > 0), then Adam with `build_schedule`.

    Args:
      config: of the run.
      encoder_size: number of the encoder's parameters, which are the first of the vector; their
        learning rate is `encoder_rate` of the others'.
    """
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    optimizer = optax.chain(clip, optax.adam(build_schedule(config)))
    if config.encoder_rate != 1:

        def slow_down(updates: Float[Array, "P"], _: Any) -> Float[Array, "P"]:
            of_encoder = jnp.arange(updates.size) < encoder_size
            return jnp.where(of_encoder, jnp.float32(config.encoder_rate), 1) * updates

        optimizer = optax.chain(optimizer, optax.stateless(slow_down))

    def update(*args: Any) -> Any:
        # optax raises floats to integer powers, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(*args)

    return optax.GradientTransformation(optimizer.init, update)


def ema_decay(step: Int[Array, ""], decay: float) -> Float[Array, ""]:
    """Decay of the moving average at a step: below `decay` at first, to forget the start sooner."""
    count = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + count) / (10 + count))


def temperature(step: Int[Array, ""], config: ConfigDict) -> Float[Array, ""]:
    """Temperature of the Gumbel-softmax at a step, geometric between the ends of the schedule."""
    start, end = config.temperature
    part = jnp.minimum(step.astype(jnp.float32) / config.steps, 1)
    return jnp.float32(start) * jnp.float32(end / start) ** part
