"""The parameters that training starts from: random ones, or parts of trained weights."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from gaussiansr_jax import loading
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models import SuperResolver


def init_params(model: SuperResolver, seed: int, lr_size: int) -> Any:
    """Random parameters of a model, the same on every device."""
    return _init(model, jax.random.key(seed), _images(lr_size))


def param_shapes(model: SuperResolver, lr_size: int) -> Any:
    """The shapes and types of `init_params`; nothing is compiled."""
    return _init.eval_shape(model, jax.random.key(0), _images(lr_size))


@partial(jax.jit, static_argnums=0)
def _init(model: SuperResolver, key: Key[Array, ""], lr: Float[Array, "1 L L 3"]) -> Any:
    return model.init(key, lr)["params"]


def _images(lr_size: int) -> Float[np.ndarray, "1 L L 3"]:
    return np.zeros((1, lr_size, lr_size, 3), np.float32)


def init_from(
    params: Any, name: str, parts: Sequence[str] = ("encoder", "head")
) -> tuple[Any, list[str]]:
    """Takes over those of the model's parts ("encoder", "head") that weights have in equal shape.

    Args:
      params: the parameters, by part.
      name: what `loading.resolve` takes.
      parts: those that may be taken over.

    Returns:
      the parameters, and which parts were taken.

    Raises:
      UserError: no such weights, or no part fits.
    """
    given, _, _ = loading.resolve(name)
    shapes, given_shapes = (jax.tree.map(np.shape, tree) for tree in (params, given))
    fitting = [part for part in parts if shapes[part] == given_shapes.get(part)]
    if not fitting:
        raise UserError(
            f"no part of the weights {name} fits the model ({', '.join(parts)}); "
            "choose the model that they belong to, or leave init_from empty"
        )
    return {part: given[part] if part in fitting else params[part] for part in params}, fitting
