"""PSNR on held-out images while training, and pictures of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from PIL import Image

from gaussiansr_jax import distributed
from gaussiansr_jax.distributed import Share
from gaussiansr_jax.evaluation.imresize import resize_float
from gaussiansr_jax.evaluation.metrics import psnr_y
from gaussiansr_jax.evaluation.protocol import make_pair, shave_of
from gaussiansr_jax.files import atomic_write
from gaussiansr_jax.models import SuperResolver
from gaussiansr_jax.ops.coordinates import grid_positions
from gaussiansr_jax.training.state import Layout

CHUNK = 4  # images of one call: bounds the memory


class Validator:
    """PSNR of held-out crops at a few scales, whole numbers or fractions.

    The LR images are made once, as `evaluation.protocol` says. All are padded to the largest, so
    that one compilation serves all scales. Each process scores its share of the crops.
    """

    def __init__(
        self,
        model: SuperResolver,
        layout: Layout,
        crops: UInt8[np.ndarray, "N S S 3"],
        scales: Sequence[float],
    ):
        self.scales = tuple(scales)
        self._model, self._layout = model, layout
        self._crop, self._count = crops.shape[1], len(crops)
        share = Share(jax.process_index(), jax.process_count())
        self._own = share.of(range(len(crops)))
        pairs = {scale: [make_pair(crop, scale) for crop in crops] for scale in self.scales}
        self._lr = {
            s: np.stack([lr for lr, _ in p]).astype(np.float32) / 255 for s, p in pairs.items()
        }
        self._hr = {
            s: np.stack([hr for _, hr in p]).astype(np.float32) / 255 for s, p in pairs.items()
        }
        self._predict = jax.jit(self._predict_chunk, static_argnums=5)

    def __call__(self, ema: Float[Array, "P"]) -> dict[str, float]:
        """PSNR of the Y channel as "x2", "x3", …, "mean"; every process must call it."""
        return self._score(lambda scale: self.predict(ema, scale, self._own))

    def bicubic_scores(self) -> dict[str, float]:
        """The same of MATLAB's bicubic interpolation, for comparison."""
        return self._score(lambda scale: self._bicubic(scale, self._own))

    def _score(self, images_at: Callable[[float], np.ndarray]) -> dict[str, float]:
        found = np.zeros((len(self.scales), self._count))
        for row, scale in zip(found, self.scales, strict=True):
            for index, image in zip(self._own, images_at(scale), strict=True):
                row[index] = psnr_y(image.clip(0, 1), self._hr[scale][index], shave_of(scale))
        # Each crop was scored by one process; the others have a zero there.
        means = distributed.gather(found).sum(0).mean(1)
        scores = {f"x{scale:g}": float(m) for scale, m in zip(self.scales, means, strict=True)}
        return scores | {"mean": float(means.mean())}

    def predict(
        self, ema: Float[Array, "P"], scale: float, indices: Sequence[int]
    ) -> Float[np.ndarray, "N H W 3"]:
        """Some of the held-out crops, super-resolved from their LR images."""
        lr, size = self._lr[scale], self._hr[scale].shape[1]
        valid, side = lr.shape[1], max(lr.shape[1] for lr in self._lr.values())
        cell = self._model.cell_at((size / valid, size / valid))
        whole = np.zeros((CHUNK, side, side, 3), np.float32)
        parts = [np.zeros((0, size, size, 3), np.float32)]
        for start in range(0, len(indices), CHUNK):
            part = lr[list(indices[start : start + CHUNK])]
            whole[: len(part), :valid, :valid] = part
            found = self._predict(ema, whole, np.int32(valid), np.float32(size / valid), *cell)
            parts.append(np.array(found)[: len(part), :size, :size])
            whole[:] = 0
        return np.concatenate(parts)

    def write_picture(self, path: Path, ema: Float[Array, "P"], rows: int = 3) -> None:
        """Writes LR (enlarged pixels), bicubic, prediction and target of some crops as a PNG.

        Args:
          path: the PNG.
          ema: the parameters.
          rows: at most so many crops, one below the other.
        """
        scale, shown = max(self.scales), range(min(rows, self._count))
        lr, hr = self._lr[scale][: len(shown)], self._hr[scale][: len(shown)]
        index = ((np.arange(hr.shape[1]) + 0.5) * lr.shape[1] / hr.shape[1]).astype(int)
        nearest = lr[:, index][:, :, index]
        columns = nearest, self._bicubic(scale, shown), self.predict(ema, scale, shown), hr
        sheet = np.concatenate([np.concatenate(x, 0) for x in columns], 1)
        with atomic_write(path) as temporary:
            Image.fromarray(np.rint(sheet.clip(0, 1) * 255).astype(np.uint8)).save(temporary)

    def _bicubic(self, scale: float, indices: Sequence[int]) -> Float[np.ndarray, "N H W 3"]:
        size = self._hr[scale].shape[1:3]
        images = [resize_float(self._lr[scale][index], size) for index in indices]
        return np.array(images).reshape(-1, *size, 3)

    def _predict_chunk(
        self,
        ema: Float[Array, "P"],
        lr: Float[Array, "B L L 3"],
        valid: Int[Array, ""],
        scale: Float[Array, ""],
        cell: Float[Array, "1 2"],
        patch: int | None,
    ) -> Float[Array, "B S S 3"]:
        """Only the first `valid` LR rows and columns count, and valid · scale of the output."""
        count = lr.shape[0]
        ys = jnp.broadcast_to(grid_positions(self._crop, scale), (count, self._crop))
        cell = jnp.broadcast_to(cell, (count, 2))

        def predict(module: SuperResolver, lr: Float[Array, "B L L 3"]) -> Array:
            field = module.encode(lr, jnp.full((count, 2), valid))
            return module.render(field, ys, ys, cell, patch)

        return self._model.apply({"params": self._layout.unravel(ema)}, lr, method=predict)
