"""PSNR on held-out images while training, and pictures of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from gaussiansr_jax.evaluation.imresize import resize_float, resize_matlab
from gaussiansr_jax.evaluation.metrics import psnr_y
from gaussiansr_jax.files import atomic_write
from gaussiansr_jax.models import SuperResolver
from gaussiansr_jax.ops.coordinates import grid_positions
from gaussiansr_jax.training.state import Layout

CHUNK = 4  # images of one call: bounds the memory


class Validator:
    """PSNR of held-out crops at a few integer scales.

    The LR images are made once, MATLAB-style and rounded to 8 bits. All are padded to the largest,
    so that one compilation serves all scales.
    """

    def __init__(
        self,
        model: SuperResolver,
        layout: Layout,
        crops: UInt8[np.ndarray, "N S S 3"],
        scales: Sequence[int],
    ):
        self.scales = tuple(scales)
        self._model, self._layout = model, layout
        self._hr = crops.astype(np.float32) / 255
        self._lr = {scale: self._reduce(crops, scale) for scale in self.scales}
        self._predict = jax.jit(self._predict_chunk)

    def __call__(self, ema: Float[Array, "P"]) -> dict[str, float]:
        """PSNR of the Y channel (borders of `scale` pixels left out), as "x2", "x3", …, "mean"."""
        return self._score(lambda scale: self.predict(ema, scale))

    def bicubic_scores(self) -> dict[str, float]:
        """The same of MATLAB's bicubic interpolation, for comparison."""
        return self._score(self._bicubic)

    def _score(self, images_at: Callable[[int], np.ndarray]) -> dict[str, float]:
        scores = {}
        for scale in self.scales:
            images = images_at(scale)
            pairs = zip(images.clip(0, 1), self._hr, strict=True)
            psnrs = [psnr_y(*pair, shave=scale) for pair in pairs]
            scores[f"x{scale}"] = float(np.mean(psnrs))
        return scores | {"mean": float(np.mean(list(scores.values())))}

    def predict(self, ema: Float[Array, "P"], scale: int) -> Float[np.ndarray, "N S S 3"]:
        """The held-out crops, super-resolved from their LR images."""
        lr, valid, full = self._lr[scale], self._hr.shape[1] // scale, self._hr.shape[1]
        side = full // min(self.scales)
        parts = []
        for start in range(0, len(lr), CHUNK):
            part = lr[start : start + CHUNK]
            pad = (0, min(CHUNK, len(lr)) - len(part)), *((0, side - valid),) * 2, (0, 0)
            padded = np.pad(part, pad)
            parts.append(np.array(self._predict(ema, padded, np.int32(valid)))[: len(part)])
        return np.concatenate(parts)

    def write_picture(self, path: Path, ema: Float[Array, "P"], rows: int = 3) -> None:
        """Writes LR (enlarged pixels), bicubic, prediction and target of some crops as a PNG.

        Args:
          path: the PNG.
          ema: the parameters.
          rows: at most so many crops, one below the other.
        """
        scale = max(self.scales)
        lr, hr = self._lr[scale][:rows], self._hr[:rows]
        nearest = lr.repeat(scale, 1).repeat(scale, 2)
        bicubic, ours = self._bicubic(scale)[:rows], self.predict(ema, scale)[:rows]
        sheet = np.concatenate([np.concatenate(x, 0) for x in (nearest, bicubic, ours, hr)], 1)
        with atomic_write(path) as temporary:
            Image.fromarray(np.rint(sheet.clip(0, 1) * 255).astype(np.uint8)).save(temporary)

    def _bicubic(self, scale):
        size = self._hr.shape[1:3]
        return np.stack([resize_float(image, size) for image in self._lr[scale]])

    @staticmethod
    def _reduce(crops, scale):
        size = (crops.shape[1] // scale,) * 2
        return np.stack([resize_matlab(crop, size) for crop in crops]).astype(np.float32) / 255

    def _predict_chunk(self, ema, lr, valid):
        """[P], [B, L, L, 3] of which `valid` pixels each way count -> [B, S, S, 3]."""
        full = self._hr.shape[1]
        scale = full / valid.astype(jnp.float32)
        ys = jnp.broadcast_to(grid_positions(full, scale), (lr.shape[0], full))
        cell = jnp.full((lr.shape[0], 2), 1 / scale)

        def predict(module, lr):
            field = module.encode(lr, size=jnp.full((lr.shape[0], 2), valid))
            return module.render(field, ys, ys, cell)

        return self._model.apply({"params": self._layout.unravel(ema)}, lr, method=predict)
