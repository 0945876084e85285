"""The head of LIIF (arXiv 2012.09161): an MLP on the four nearest features, blended by area."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gaussiansr_jax.models.heads.decoder import MLP
from gaussiansr_jax.models.heads.head import HeadInput
from gaussiansr_jax.ops.coordinates import grid_queries
from gaussiansr_jax.ops.resampling import take


@struct.dataclass
class LIIFField:
    """What depends on the LR images alone.

    Attributes:
      hidden: the first layer of the MLP without its coordinate inputs; on 3×3-unfolded features
        that is a convolution on the LR grid.
      size: valid LR size of each image.
    """

    hidden: Float[Array, "batch height width hidden"]
    size: Int[Array, "batch 2"]


class LIIFHead(nn.Module):
    """LIIF with feature unfolding, local ensemble and cell decoding.

    Attributes:
      hidden: width of the MLP.
      dtype: computation type.
    """

    hidden: int = 256
    dtype: DTypeLike = jnp.float32

    pointwise = tileable = True
    field_radius = 1
    rendering_names = None

    @property
    def radius(self) -> int:
        """LR pixels that an output sees in each direction, beyond the encoder's."""
        unfold = 1
        return unfold + self.field_radius

    def setup(self) -> None:
        """Declares the parameters; `unfold` and `position` are the first layer of the MLP."""
        self.unfold = nn.Conv(self.hidden, (3, 3), dtype=self.dtype)
        self.position = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype)
        self.decoder = MLP((self.hidden,) * 3 + (3,), nn.relu, self.dtype)

    def make_field(self, inputs: HeadInput) -> LIIFField:
        """The part of the first layer that does not depend on the query."""
        return LIIFField(self.unfold(inputs.features), inputs.size)

    def query(
        self,
        field: LIIFField,
        coords: Float[Array, "batch queries 2"],
        cell: Float[Array, "batch 2"],
    ) -> Float[Array, "batch queries 3"]:
        """RGB at scattered positions."""
        y, rel_y = _neighbors(coords[..., 0], field.size[:, 0])
        x, rel_x = _neighbors(coords[..., 1], field.size[:, 1])
        at = jax.vmap(lambda hidden, y, x: hidden[y, x])
        hidden = [[at(field.hidden, y[i], x[j]) for j in (0, 1)] for i in (0, 1)]
        rel = [[jnp.stack([rel_y[i], rel_x[j]], -1) for j in (0, 1)] for i in (0, 1)]
        return self._blend(hidden, rel, cell[:, None])

    def at_scale(self, field: LIIFField, cell: Float[Array, "batch 2"]) -> LIIFField:
        """The field itself: nothing of it depends on the scale alone."""
        del cell
        return field

    def render(
        self,
        field: LIIFField,
        ys: Float[Array, "batch height"],
        xs: Float[Array, "batch width"],
        cell: Float[Array, "batch 2"],
        patch: int | None = None,
    ) -> Float[Array, "batch height width 3"]:
        """RGB on the grid ys × xs."""
        del patch
        y, rel_y = _neighbors(ys, field.size[:, 0])
        x, rel_x = _neighbors(xs, field.size[:, 1])
        at = jax.vmap(lambda hidden, y, x: jax.vmap(take, (0, None))(take(hidden, y), x))
        hidden = [[at(field.hidden, y[i], x[j]) for j in (0, 1)] for i in (0, 1)]
        rel = [[grid_queries(rel_y[i], rel_x[j]) for j in (0, 1)] for i in (0, 1)]
        return self._blend(hidden, rel, cell[:, None, None])

    def _blend(
        self,
        hidden: list[list[Float[Array, "batch *positions hidden"]]],
        rel: list[list[Float[Array, "batch *positions 2"]]],
        cell: Float[Array, "batch *#positions 2"],
    ) -> Float[Array, "batch *positions 3"]:
        """The four predictions, each weighted by the rectangle diagonally opposite.

        The areas are separable, so each axis is normalized separately. On the center line of the
        outermost pixels all four areas vanish; the ratios along each axis still take their limit.
        """
        color = 0.0
        for i in (0, 1):
            for j in (0, 1):
                cells = jnp.broadcast_to(2 * cell, rel[i][j].shape)
                inputs = jnp.concatenate([rel[i][j], cells], -1)
                x = nn.relu(hidden[i][j] + self.position(inputs))
                near, far = (jnp.abs(r) + 1e-9 for r in (rel[i][j], rel[1 - i][1 - j]))
                share = jnp.prod(far / (near + far), -1, keepdims=True)
                color = color + share * self.decoder(x).astype(jnp.float32)
        return color


def _neighbors(
    positions: Float[Array, "batch n"], size: Int[Array, "batch"]
) -> tuple[list[Int[Array, "batch n"]], list[Float[Array, "batch n"]]]:
    """The two LR pixels around each position along one axis, and 2 · (position - index) of both.

    The factor 2 is LIIF's: its coordinates span [-1, 1] and are multiplied by the LR size.
    """
    low = jnp.floor(positions).astype(jnp.int32)
    indices = [jnp.clip(low + step, 0, size[:, None] - 1) for step in (0, 1)]
    return indices, [2 * (positions - i.astype(jnp.float32)) for i in indices]
