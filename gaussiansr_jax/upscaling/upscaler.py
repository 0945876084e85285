"""Upscaling images of any size to any size with a trained model."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from gaussiansr_jax import models, weights
from gaussiansr_jax.upscaling.arguments import Scale, Size
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.upscaling.ensemble import Ensemble
from gaussiansr_jax.upscaling.prepared import Prepared


class Upscaler:
    """A model with its weights on the device.

    LR images are padded to few sizes and rendered in blocks of one size, so that a new image size
    or scale seldom compiles anything; large images are cut into tiles. Neither changes the result.

    Attributes:
      engine: the compiled model.
      params: the parameters as they were given.
      facts: what the weights file says of the training.
    """

    def __init__(
        self,
        params: weights.Params,
        config: dict,
        facts: dict | None = None,
        *,
        dtype: str | None = None,
        self_ensemble: bool = False,
        tile: int | None = None,
        block: int | None = None,
    ):
        """Puts the weights on the device.

        Args:
          params: parameters of the model.
          config: what `models.build` takes.
          facts: training facts.
          dtype: "float32" or "bfloat16" instead of the config's.
          self_ensemble: whether the result is the mean over the eight reflections of the image:
            a little better, for eight times the work.
          tile: side of the largest tile in LR pixels, halo included.
          block: side of a rendered block in output pixels.

        Raises:
          UserError: a setting is unknown or too small.
        """
        self.engine = Engine(params, config, dtype=dtype, tile=tile, block=block)
        self.params = params
        self.facts = facts or {}
        self._prepared = Ensemble if self_ensemble else Prepared

    @property
    def config(self) -> dict:
        """The model's config."""
        return self.engine.config

    @property
    def model(self) -> models.SuperResolver:
        """The Flax module."""
        return self.engine.model

    def upscale(
        self,
        image: UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"],
        scale: Scale | None = None,
        *,
        size: Size | None = None,
    ) -> UInt8[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 3"]:
        """Enlarges one image.

        Args:
          image: [H, W, 3] uint8, or float in [0, 1].
          scale: one factor, or (y, x), from 1 to 30; the output size is rounded.
          size: output size (height, width) in place of `scale`.

        Returns:
          [h, w, 3] of the same kind: uint8, or float32 in [0, 1] (not rounded).

        Raises:
          UserError: not such an image, scale or size; memory is too small.
        """
        return self._prepared(self.engine, image).render(scale, size=size)

    def prepare(self, image: Any) -> Prepared | Ensemble:
        """Encodes an image once, to render it at many scales; `image` as in `upscale`."""
        return self._prepared(self.engine, image).encode()
