"""The model: an encoder and a head."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models.heads.head import HeadInput
from gaussiansr_jax.models.layers import Valid, validity_mask


class SuperResolver(nn.Module):
    """LR images -> RGB at any coordinate.

    `encode` runs once for an image; `query` and `render` evaluate what it returns at scattered
    positions or on a regular grid. They are two evaluations of one definition. RGB is float32 in
    the range [0, 1], not clamped.

    Attributes:
      encoder: a module of `encoders`.
      head: a module as `heads.Head` describes.
      finest_cell: the smallest output pixel that the head is told of, in LR pixels; see `cell_at`.
    """

    encoder: nn.Module
    head: nn.Module
    finest_cell: float = 0.0

    @property
    def receptive_radius(self) -> int:
        """LR pixels around an output's nearest LR pixel that it depends on: the halo of a tile."""
        return self.encoder.radius + self.head.radius

    @property
    def tileable(self) -> bool:
        """Whether parts of an image can be rendered; if not, only `render_whole` works."""
        return self.head.tileable

    @property
    def pointwise(self) -> bool:
        """Whether no output pixel depends on its neighbors on the grid."""
        return self.head.pointwise

    def cell_at(self, scales: tuple[float, float]) -> tuple[Float[np.ndarray, "1 2"], int | None]:
        """`cell` and `patch` of `render`, and `cell` of `query`, for an output.

        An output pixel measures 1 / scale LR pixels. A head that reads this number, or the features
        that far around a position, has learned to do so at the scales of its training only. Beyond
        them it does better with the smallest pixel that it knows, `finest_cell`: positions then lie
        closer together than the features that are read around each of them, so that each pixel is
        a patch of its own. LTE (Lee and Jin, CVPR 2022) is evaluated with the same limit.

        Args:
          scales: output pixels per LR pixel along y and x.

        Returns:
          The size [1, 2] of an output pixel (y, x) in LR pixels, not below `finest_cell`; and the
          side of a patch: 1 if the size is limited along y or x, else None.
        """
        cell = 1 / np.asarray([scales], np.float32)
        limited = np.maximum(cell, np.float32(self.finest_cell))
        return limited, None if np.array_equal(cell, limited) else 1

    def rendering_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that are needed to evaluate what `encode` returned."""
        head = params["head"]
        names = head if self.head.rendering_names is None else self.head.rendering_names
        return {"head": {name: head[name] for name in names if name in head}}

    def __call__(self, lr: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w 3"]:
        """The images at their own size; what `init` traces."""
        batch, height, width, _ = lr.shape
        if not self.tileable:
            return self.render_whole(self.encode(lr), (height, width))
        ys = jnp.broadcast_to(jnp.arange(height, dtype=jnp.float32), (batch, height))
        xs = jnp.broadcast_to(jnp.arange(width, dtype=jnp.float32), (batch, width))
        return self.render(self.encode(lr), ys, xs, jnp.ones((batch, 2)))

    def encode(
        self,
        lr: Float[Array, "batch height width 3"],
        valid: Valid | None = None,
        train: bool = False,
        temperature: ArrayLike = 1.0,
        noise: Float[Array, "batch height width kernels"] | None = None,
    ) -> Any:
        """Encodes LR images.

        Args:
          lr: RGB in [0, 1].
          valid: for padded images the valid (height, width) of each, from its top left corner; the
            result there is that of the unpadded images. Where several images lie in one array, at
            least one pixel apart, a mask [B, H, W, 1] of their pixels; the result at these is that
            of each image alone. By default everything is valid.
          train: whether the head's selection is random; then an rng "gumbel" is needed.
          temperature: of the Gumbel-softmax, in training.
          noise: Gumbel noise for the selection, in place of random noise.

        Returns:
          The head's field, a pytree.
        """
        lr, mask = 2 * lr - 1, None
        packed = valid is not None and valid.ndim == 4
        if valid is None or packed:
            size = jnp.broadcast_to(jnp.asarray(lr.shape[1:3], jnp.int32), (lr.shape[0], 2))
        else:
            size = valid
        if valid is not None:
            mask = valid if packed else validity_mask(lr.shape, size)
            lr = jnp.where(mask, lr, 0.0)
        features = self.encoder(lr, valid)
        inputs = HeadInput(features, lr, size, mask, train, temperature, noise, packed)
        return self.head.make_field(inputs)

    def query(
        self, field: Any, coords: Float[Array, "batch queries 2"], cell: Float[Array, "batch 2"]
    ) -> Float[Array, "batch queries 3"]:
        """RGB at scattered positions.

        Args:
          field: what `encode` returned.
          coords: positions (y, x) in LR pixels.
          cell: size of an output pixel (y, x) in LR pixels, of `cell_at`.

        Raises:
          UserError: the head is not tileable.
        """
        self._check_tileable()
        return 0.5 * self.head.query(field, coords, cell) + 0.5

    def render(
        self,
        field: Any,
        ys: Float[Array, "batch height"],
        xs: Float[Array, "batch width"],
        cell: Float[Array, "batch 2"],
        patch: int | None = None,
    ) -> Float[Array, "batch height width 3"]:
        """RGB on the grid ys × xs of positions in LR pixels.

        Args:
          field: what `encode` returned.
          ys: rows, ascending in steps of `cell`; with `patch`, within each patch.
          xs: columns, likewise.
          cell: size of an output pixel (y, x) in LR pixels; it and `patch` are those of `cell_at`.
          patch: side of the patches that rows and columns consist of; by default all is one patch.
        """
        return self.render_at_scale(self.at_scale(field, cell), ys, xs, cell, patch)

    def at_scale(self, field: Any, cell: Float[Array, "batch 2"]) -> Any:
        """What all parts of a grid with steps `cell` have in common, for `render_at_scale`.

        Raises:
          UserError: the head is not tileable.
        """
        self._check_tileable()
        return self.head.at_scale(field, cell)

    def render_at_scale(
        self,
        field: Any,
        ys: Float[Array, "batch height"],
        xs: Float[Array, "batch width"],
        cell: Float[Array, "batch 2"],
        patch: int | None = None,
    ) -> Float[Array, "batch height width 3"]:
        """`render` of what `at_scale` returned."""
        return 0.5 * self.head.render(field, ys, xs, cell, patch) + 0.5

    def render_whole(
        self, field: Any, size: tuple[int, int], scale: float | None = None
    ) -> Float[Array, "batch height width 3"]:
        """RGB of the whole output, for the head that is not tileable, the official raster.

        Args:
          field: what `encode` returned for images that are not padded.
          size: output (height, width), static.
          scale: the scale that the size comes from, static; default: the one that gives this size.
        """
        return 0.5 * self.head.render_whole(field, size, scale) + 0.5

    def _check_tileable(self) -> None:
        if not self.tileable:
            raise UserError(
                "the official raster needs the whole image and a fixed scale: use render_whole, or "
                "splatting='field' for scattered queries, tiles and training"
            )
