"""A model on the device: the compiled functions that all upscaling goes through."""

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from gaussiansr_jax import models, weights
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.ops import splatting
from gaussiansr_jax.upscaling import tiling
from gaussiansr_jax.upscaling.arguments import Size, check_side


class _Sizes(NamedTuple):
    """Sizes that suit a kind of device; see the attributes of `Engine`."""

    tile: int
    smallest: int
    block: int
    blocks_at_once: int
    parts: tuple[int, ...]


# Small blocks waste less work at the borders of small images. A CPU goes through all of the field
# that it is given, so it is given parts.
_CPU = _Sizes(tile=512, smallest=32, block=128, blocks_at_once=1, parts=(32, 48, 80, 144))
# Large blocks, and several in a call, keep an accelerator busy. Compiling takes long there, and
# padding costs little, so images are padded to few sizes. It reads only what it needs of a field.
_ACCELERATOR = _Sizes(tile=768, smallest=256, block=512, blocks_at_once=4, parts=())

Scales = tuple[float, float]


def _in_32_bits(method: Callable) -> Callable:
    """Turns 64-bit numbers off in a method: a caller may have turned them on for other work."""

    @wraps(method)
    def wrapped(*args, **options):
        with jax.enable_x64(False):
            return method(*args, **options)

    return wrapped


class Engine:
    """A model with its weights on the device.

    Attributes:
      config: the model's config.
      model: the Flax module.
      on_cpu: whether the device is a CPU.
      tile: side of the largest tile in LR pixels, halo included.
      smallest: side of the smallest padded image in LR pixels.
      block: side of a rendered block in output pixels.
      blocks_at_once: blocks of one call.
      parts: sides in LR pixels of the parts of a field that blocks are rendered from (`part`). They
        are few, so that few programs serve images of any size. If empty, blocks are rendered from
        the whole field.
      packs: whether encoding several small images at once (`sheets`) is faster.
      programs: the compiled functions, which engines of equal models share.
    """

    def __init__(
        self,
        params: weights.Params,
        config: dict,
        *,
        dtype: str | None = None,
        tile: int | None = None,
        block: int | None = None,
    ):
        """Puts the weights on the device; arguments as for `Upscaler`."""
        backend = _backend()
        self.on_cpu = backend == "cpu"
        sizes = _CPU if self.on_cpu else _ACCELERATOR
        self.config = {**config, "dtype": dtype} if dtype else config
        self.tile = check_side("tile", tile) or sizes.tile
        self.smallest = min(self.tile, sizes.smallest)
        self.block = check_side("block", block) or sizes.block
        self.blocks_at_once, self.parts = sizes.blocks_at_once, sizes.parts
        self.model = models.build(self.config)
        self.packs = self.on_cpu and self.model.tileable
        cudnn_layout = backend == "gpu"
        self._rendering_params = jax.device_put(self.model.rendering_params(params))
        encoding = _in_cudnn_layout(params, self.model.encoder.dtype) if cudnn_layout else params
        self._encoding_params = jax.device_put(encoding)
        self.programs = programs(self.model, cudnn_layout)

    @property
    def halo(self) -> int:
        """LR pixels by which a tile must reach beyond the outputs that are taken from it."""
        # One more than the model sees: the device may round to another nearest LR pixel.
        return self.model.receptive_radius + 1

    @_in_32_bits
    def encode(self, lr: np.ndarray, size: np.ndarray | None) -> Any:
        """The model's field of padded images [1, H, W, 3] whose valid size is `size` [1, 2]."""
        return self.programs.encode(self._encoding_params, lr, size)

    @_in_32_bits
    def encode_sheet(self, lr: np.ndarray, mask: np.ndarray) -> Any:
        """The field of several images in one array [1, H, W, 3]; `mask` says where they are."""
        return self.programs.encode(self._encoding_params, lr, mask)

    @_in_32_bits
    def cut(self, sheet: Any, corner: Size, size: Size, side: int) -> Any:
        """The field of one image out of a sheet, as `encode` would give it.

        Args:
          sheet: what `encode_sheet` returned; its last pixel belongs to no image.
          corner: the image's first row and column.
          size: its height and width.
          side: height and width that it is padded to.
        """
        corner, size = np.array(corner, np.int32), np.array([size], np.int32)
        return self.programs.cut(sheet, corner, size, side=side)

    @_in_32_bits
    def field_bytes(self, lr: np.ndarray, size: np.ndarray | None) -> int:
        """Device memory that the result of `encode` takes."""
        field = jax.eval_shape(self.programs.encode, self._encoding_params, lr, size)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(field))

    def part_side(self, block: int, scales: Scales) -> int | None:
        """Side of the part of a field that any block of an output needs; None: the whole field.

        Args:
          block: side of the block in output pixels.
          scales: output pixels per LR pixel along both axes.
        """
        seen = (block + 2 * self.rim - 1) / min(scales) + 2 * self.model.head.field_radius + 2
        return next((side for side in self.parts if side >= seen), None)

    @_in_32_bits
    def at_scale(self, field: Any, scales: Scales) -> Any:
        """The scaled field that all blocks of an output share.

        Args:
          field: what `encode` returned.
          scales: output pixels per LR pixel along y and x.
        """
        cell, _ = self.model.cell_at(scales)
        return self.programs.at_scale(self._rendering_params, field, cell)

    @_in_32_bits
    def gaussians(self, field: Any, corner: Size, size: Size) -> splatting.Gaussians:
        """The Gaussians of some LR pixels of the one image in `field`; `value` is the opacity.

        Args:
          field: what `encode` returned.
          corner: first row and column.
          size: rows and columns.

        Raises:
          UserError: the field of this model does not consist of Gaussians.
        """
        if not hasattr(self.model.head, "gaussians") or not self.model.tileable:
            raise UserError("this model has no Gaussians to show; choose one that has")
        return self.programs.gaussians(field, np.array(corner, np.int32), size=size)

    @property
    def rim(self) -> int:
        """Output pixels around a block that are rendered and thrown away.

        A head that is not `pointwise` reads each output's neighbors; the outermost ones lack some.
        """
        return _rim(self.model)

    def positions(self, block: int, first: int, scale: float, start: int) -> np.ndarray:
        """Positions of the outputs that `render` computes for one block, along one axis.

        Args:
          block: side of the block in output pixels.
          first: first output pixel of the block.
          scale: output pixels per LR pixel.
          start: first LR pixel of the encoded piece.

        Returns:
          [block + 2 rim] float32, in LR pixels from `start`.
        """
        positions = tiling.positions(block + 2 * self.rim, scale, first - self.rim)
        return (positions - start).astype(np.float32)

    @_in_32_bits
    def render(
        self, field: Any, ys: np.ndarray, xs: np.ndarray, scales: Scales, as_uint8: bool
    ) -> jax.Array:
        """Blocks [N, Y, X, 3] of output, on the device.

        Args:
          field: what `at_scale` returned for one image.
          ys: `positions` [N, …] of the rows of each block.
          xs: `positions` [N, …] of the columns.
          scales: as for `at_scale`.
          as_uint8: whether the result is uint8 and not float32 in [0, 1].
        """
        cell, patch = self.model.cell_at(scales)
        return self.programs.render(self._rendering_params, field, ys, xs, cell, patch, as_uint8)

    def render_part(
        self,
        field: Any,
        ys: np.ndarray,
        xs: np.ndarray,
        side: int,
        scales: Scales,
        as_uint8: bool,
    ) -> jax.Array:
        """`render` of one block, [1, Y, X, 3], from the part of the field that it sees.

        Args:
          field: what `encode` returned for one image.
          ys: `positions` [Y] of the block's rows.
          xs: `positions` [X] of its columns.
          side: `part_side` of the block.
          scales: as for `render`, and so is `as_uint8`.
        """
        radius = self.model.head.field_radius
        top, left = (max(math.floor(x[0]) - radius, 0) for x in (ys, xs))
        part = self.at_scale(self.part(field, (top, left), side), scales)
        return self.render(part, (ys - top)[None], (xs - left)[None], scales, as_uint8)

    def part(self, field: Any, corner: Size, side: int) -> Any:
        """`side` × `side` LR pixels of a field, on the host; zero where the field has none.

        Args:
          field: what `encode` returned for one image.
          corner: first row and column.
          side: height and width.
        """
        top, left = corner

        def cut(x):
            x = np.asarray(x)
            if x.ndim < 4:  # the valid size
                return np.clip(x - np.array(corner, x.dtype), 0, side)
            x = x[:, top : top + side, left : left + side]
            missing = [(0, side - n if axis in (1, 2) else 0) for axis, n in enumerate(x.shape)]
            return np.pad(x, missing)

        return jax.tree.map(cut, field)

    @_in_32_bits
    def render_whole(
        self, field: Any, size: Size, scale: float | None, as_uint8: bool
    ) -> jax.Array:
        """The whole output [h, w, 3] of a model that is not tileable, still on the device."""
        return self.programs.render_whole(
            self._rendering_params, field, size=size, scale=scale, as_uint8=as_uint8
        )


class Programs:
    """The functions of a model that are compiled, for any weights."""

    def __init__(self, model: models.SuperResolver, cudnn_layout: bool):
        """`cudnn_layout`: whether the weights are those of `_in_cudnn_layout`."""
        self._model, self._cudnn_layout = model, cudnn_layout
        self.encode = jax.jit(self._encode)
        self.cut = jax.jit(self._cut, static_argnames="side")
        self.at_scale = jax.jit(self._at_scale)
        self.gaussians = jax.jit(self._gaussians, static_argnames="size")
        self.render = jax.jit(self._render, static_argnames=("patch", "as_uint8"))
        self.render_whole = jax.jit(
            self._render_whole, static_argnames=("size", "scale", "as_uint8")
        )

    def _encode(self, params, lr, size):
        if self._cudnn_layout:
            params = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 3) if x.ndim == 4 else x, params)
        lr = lr.astype(jnp.float32) / 255 if lr.dtype == jnp.uint8 else lr
        return self._model.apply({"params": params}, lr, size, method="encode")

    def _cut(self, sheet, corner, size, side):
        rows = jnp.arange(side)[:, None] < size[0, 0]
        cols = jnp.arange(side)[None, :] < size[0, 1]
        inside = (rows & cols)[None]

        def of_image(leaf):
            if leaf.ndim < 3:  # the valid size
                return size
            widths = [(0, side if axis in (1, 2) else 0) for axis in range(leaf.ndim)]
            start = (0, *corner, *([0] * (leaf.ndim - 3)))
            shape = (1, side, side, *leaf.shape[3:])
            part = jax.lax.dynamic_slice(jnp.pad(leaf, widths), start, shape)
            # Outside of the image there is the field of an empty pixel, not of a neighboring image.
            where = inside.reshape(1, side, side, *([1] * (leaf.ndim - 3)))
            return jnp.where(where, part, leaf[:, -1:, -1:])

        return jax.tree.map(of_image, sheet)

    def _at_scale(self, params, field, cell):
        return self._model.apply({"params": params}, field, cell, method="at_scale")

    def _gaussians(self, field, corner, size):
        gaussians = self._model.head.gaussians(field)

        def cut(x):
            start = (corner[0], corner[1], *(0,) * (x.ndim - 3))
            return jax.lax.dynamic_slice(x[0], start, (*size, *x.shape[3:]))

        return jax.tree.map(cut, gaussians._replace(value=gaussians.opacity[..., None]))

    def _render(self, params, field, ys, xs, cell, patch, as_uint8):
        def one_block(grid):
            place = *(x[None] for x in grid), cell, patch
            variables = {"params": params}
            rgb = self._model.apply(variables, field, *place, method="render_at_scale")[0]
            rim, (height, width, _) = _rim(self._model), rgb.shape
            return _quantized(rgb[rim : height - rim, rim : width - rim], as_uint8)

        if len(ys) == 1:  # not inside a loop, where convolutions are slow on CPUs
            return one_block((ys[0], xs[0]))[None]
        return jax.lax.map(one_block, (ys, xs))

    def _render_whole(self, params, field, size, scale, as_uint8):
        variables = {"params": params}
        rgb = self._model.apply(variables, field, size, scale, method="render_whole")[0]
        return _quantized(rgb, as_uint8)


@lru_cache(maxsize=8)
def programs(model: models.SuperResolver, cudnn_layout: bool) -> Programs:
    """The programs of a model; engines of equal models trace and compile them once."""
    return Programs(model, cudnn_layout)


def _rim(model: models.SuperResolver) -> int:
    return 0 if model.pointwise else 1


def _backend() -> str:
    """The kind of device: "cpu", "gpu" or "tpu".

    Raises:
      UserError: the one that JAX was told to use does not start.
    """
    try:
        return jax.default_backend()
    # At a second try JAX raises an AssertionError.
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"JAX cannot use the platform {jax.config.jax_platforms!r}; leave JAX_PLATFORMS out or "
            "install what the platform needs, such as jax[cuda13]"
        ) from error


def _in_cudnn_layout(params: weights.Params, dtype: DTypeLike) -> weights.Params:
    """The parameters as cuDNN takes them: kernels [O, H, W, I], and biases, in the computing type.

    Without this, each call would convert each of them in a separate kernel launch. Only the
    parameters of convolutions change; all those that `encode` uses compute in that type.
    """
    if "kernel" in params and params["kernel"].ndim == 4:
        kernel = np.moveaxis(np.asarray(params["kernel"], dtype), 3, 0)
        rest = {name: np.asarray(x, dtype) for name, x in params.items()}
        return {**rest, "kernel": np.ascontiguousarray(kernel)}
    return {k: _in_cudnn_layout(v, dtype) if isinstance(v, dict) else v for k, v in params.items()}


def _quantized(rgb: jax.Array, as_uint8: bool) -> jax.Array:
    rgb = jnp.clip(rgb.astype(jnp.float32), 0, 1)
    return jnp.round(rgb * 255).astype(jnp.uint8) if as_uint8 else rgb
