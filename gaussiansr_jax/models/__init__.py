"""Flax models: an encoder and a head, built from a plain config."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models.direct import DirectHead
from gaussiansr_jax.models.encoders import EDSR, validity_mask
from gaussiansr_jax.models.gaussiansr import GaussianSRHead
from gaussiansr_jax.models.liif import LIIFHead
from gaussiansr_jax.models.official_head import OfficialGaussianSRHead
from gaussiansr_jax.models.rdn import RDN

ENCODERS = {
    "edsr-baseline": (EDSR, {}),
    "edsr-large": (EDSR, {"channels": 256, "blocks": 32, "res_scale": 0.1}),
    "rdn": (RDN, {}),
}
HEADS = {
    "gaussiansr": (GaussianSRHead, {}),
    "liif": (LIIFHead, {}),
    "direct": (DirectHead, {}),
}
SPLATTING = {"field": GaussianSRHead, "official": OfficialGaussianSRHead}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class SuperResolver(nn.Module):
    """LR images -> RGB at any coordinate.

    `prepare` runs once for an image; `query` and `render` evaluate what it returns at scattered
    positions or on a regular grid. They are two evaluations of one definition. RGB is float32 in
    the range [0, 1], not clamped.

    Attributes:
      encoder: a module of `encoders`.
      head: a module with `radius`, `prepare`, `query`, `at_scale` and `render`.
    """

    encoder: nn.Module
    head: nn.Module

    @property
    def receptive_radius(self) -> int:
        """LR pixels around an output's nearest LR pixel that it depends on: the halo of a tile."""
        return self.encoder.radius + self.head.radius

    @property
    def tileable(self) -> bool:
        """Whether parts of an image can be rendered; if not, only `render_whole` works."""
        return getattr(self.head, "tileable", True)

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel is computed by itself, without its neighbors on the grid."""
        return getattr(self.head, "pointwise", True)

    def rendering_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the parameters that are needed to evaluate what `prepare` returned."""
        head = params["head"]
        names = getattr(self.head, "rendering_names", head)
        return {"head": {name: head[name] for name in names if name in head}}

    def __call__(self, lr: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w 3"]:
        """The images at their own size; what `init` traces."""
        batch, height, width, _ = lr.shape
        if not self.tileable:
            return self.render_whole(self.prepare(lr), (height, width))
        ys = jnp.broadcast_to(jnp.arange(height, dtype=jnp.float32), (batch, height))
        xs = jnp.broadcast_to(jnp.arange(width, dtype=jnp.float32), (batch, width))
        return self.render(self.prepare(lr), ys, xs, jnp.ones((batch, 2)))

    def prepare(
        self,
        lr: Float[Array, "batch height width 3"],
        size: Int[Array, "batch 2"] | None = None,
        train: bool = False,
        temperature: ArrayLike = 1.0,
        noise: Float[Array, "batch height width kernels"] | None = None,
    ) -> Any:
        """Encodes LR images.

        Args:
          lr: RGB in [0, 1].
          size: valid (height, width) from the top left corner of each image, where they are padded;
            the result is that of the unpadded images. Default: everything is valid.
          train: whether the head's selection is random; then an rng "gumbel" is needed.
          temperature: of the Gumbel-softmax, in training.
          noise: Gumbel noise for the selection of the GaussianSR head, in place of random noise.

        Returns:
          The head's field, a pytree.
        """
        padded, mask = size, None
        lr = 2 * lr - 1
        if padded is None:
            size = jnp.broadcast_to(jnp.asarray(lr.shape[1:3], jnp.int32), (lr.shape[0], 2))
        else:
            mask = validity_mask(lr.shape, size)
            lr = jnp.where(mask, lr, 0.0)
        given = {} if noise is None else {"noise": noise}
        features = self.encoder(lr, padded)
        return self.head.prepare(features, lr, size, mask, train, temperature, **given)

    def query(
        self, field: Any, coords: Float[Array, "batch queries 2"], cell: Float[Array, "batch 2"]
    ) -> Float[Array, "batch queries 3"]:
        """RGB at scattered positions.

        Args:
          field: what `prepare` returned.
          coords: positions (y, x) in LR pixels.
          cell: size of an output pixel (y, x) in LR pixels, 1 / scale.
        """
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
          field: what `prepare` returned.
          ys: rows, rising by `cell`, or in patches that do so.
          xs: columns, likewise.
          cell: size of an output pixel (y, x) in LR pixels, 1 / scale.
          patch: side of the patches; by default all is one.
        """
        return self.render_at_scale(self.at_scale(field, cell), ys, xs, cell, patch)

    def at_scale(self, field: Any, cell: Float[Array, "batch 2"]) -> Any:
        """What all parts of a grid with steps `cell` have in common, for `render_at_scale`."""
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
          field: what `prepare` returned for images that are not padded.
          size: output (height, width), static.
          scale: the scale that the size comes from, static; default: the one that gives this size.
        """
        return 0.5 * self.head.render_whole(field, size, scale) + 0.5


def build(config: Mapping[str, Any]) -> SuperResolver:
    """Builds a model.

    Args:
      config: {"encoder": {"name": …, settings}, "head": {"name": …, settings}, "dtype": "float32"
        or "bfloat16"}; settings are the fields of the encoder's and the head's class.

    Raises:
      UserError: an unknown name or key.
    """
    for key in config:
        if key not in ("encoder", "head", "dtype"):
            raise UserError(f"unknown model setting {key!r}; the settings are encoder, head, dtype")
    name = config.get("dtype", "float32")
    if name not in DTYPES:
        raise UserError(f"unknown dtype {name!r}; choose from {', '.join(DTYPES)}")
    encoder = _part("encoder", ENCODERS, config["encoder"], DTYPES[name])
    head = _part("head", HEADS, config["head"], DTYPES[name])
    return SuperResolver(encoder, head)


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of `build` with all settings, so that it means the same when defaults change.

    Raises:
      UserError: as `build`.
    """
    model, whole = build(config), {"dtype": config.get("dtype", "float32")}
    for kind in ("encoder", "head"):
        part = getattr(model, kind)
        whole[kind] = {**config[kind], **{name: getattr(part, name) for name in _settings(part)}}
    return whole


def _settings(part: type[nn.Module] | nn.Module) -> list[str]:
    return [f for f in part.__dataclass_fields__ if f not in ("parent", "name", "dtype")]


def _raster(settings: dict) -> type[GaussianSRHead]:
    """The GaussianSR head of the setting `splatting`, which it takes out."""
    name = settings.pop("splatting", "field")
    if name not in SPLATTING:
        raise UserError(f"unknown splatting {name!r}; choose from {', '.join(SPLATTING)}")
    return SPLATTING[name]


def _part(kind: str, registry: dict, config: Mapping[str, Any], dtype: jnp.dtype) -> nn.Module:
    settings = dict(config)
    name = settings.pop("name", None)
    if name not in registry:
        raise UserError(f"unknown {kind} {name!r}; choose from {', '.join(registry)}")
    cls, defaults = registry[name]
    if cls is GaussianSRHead:
        cls = _raster(settings)
    known = _settings(cls)
    for key, value in settings.items():
        if key not in known:
            raise UserError(f"unknown setting {key!r} of {kind} {name}; it has {', '.join(known)}")
        if isinstance(value, list):
            settings[key] = tuple(value)
    return cls(**{**defaults, **settings}, dtype=dtype)
