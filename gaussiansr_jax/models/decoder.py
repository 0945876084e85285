"""The multi-layer perceptron at the end of the GaussianSR and LIIF heads."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class MLP(nn.Module):
    """Dense layers with an activation after each but the last.

    Attributes:
      widths: output width of each layer.
      activation: applied after each layer but the last.
      dtype: computation type.
    """

    widths: Sequence[int]
    activation: Callable[[Array], Array]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        """Applies the layers along the last axis."""
        for i, width in enumerate(self.widths):
            x = nn.Dense(width, dtype=self.dtype, name=f"dense_{i}")(x)
            if i < len(self.widths) - 1:
                x = self.activation(x)
        return x
