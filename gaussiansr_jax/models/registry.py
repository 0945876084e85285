"""From a plain config to a model."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models import encoders, heads
from gaussiansr_jax.models.checks import check_setting
from gaussiansr_jax.models.super_resolver import SuperResolver

# By name: the class, and the settings in which it differs from the class's defaults.
ENCODERS = {
    "edsr-baseline": (encoders.EDSR, {}),
    "edsr-large": (encoders.EDSR, {"channels": 256, "blocks": 32, "res_scale": 0.1}),
    "rdn": (encoders.RDN, {}),
}
HEADS = {
    "gaussiansr": (heads.GaussianSRHead, {}),
    "liif": (heads.LIIFHead, {}),
    "direct": (heads.DirectHead, {}),
}
# Classes that one setting of a head chooses: (head, setting) -> value -> class.
VARIANTS = {
    ("gaussiansr", "splatting"): {
        "field": heads.GaussianSRHead,
        "official": heads.OfficialGaussianSRHead,
    }
}
_SETTINGS = ("encoder", "head", "dtype", "finest_cell")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build(config: Mapping[str, Any]) -> SuperResolver:
    """Builds a model.

    Args:
      config: {"encoder": {"name": …, settings}, "head": {"name": …, settings}, "dtype": "float32"
        or "bfloat16", "finest_cell": of `SuperResolver`}; settings are the fields of the encoder's
        and the head's class. The head "gaussiansr" also takes "splatting": "field" (ours) or
        "official" (the official raster).

    Raises:
      UserError: an unknown name or key, a missing part, or parts that do not fit together.

    Examples:
      >>> from gaussiansr_jax import models
      >>> model = models.build({"encoder": {"name": "edsr-baseline"}, "head": {"name": "liif"}})
      >>> model.receptive_radius
      36
    """
    for key in config:
        if key not in _SETTINGS:
            known = ", ".join(_SETTINGS)
            raise UserError(f"unknown model setting {key!r}; the settings are {known}")
    name = config.get("dtype", "float32")
    if name not in DTYPES:
        raise UserError(f"unknown dtype {name!r}; choose from {', '.join(DTYPES)}")
    encoder = _part("encoder", ENCODERS, config, DTYPES[name])
    head = _part("head", HEADS, config, DTYPES[name])
    if getattr(head, "splat_channels", 0) > encoder.channels:
        raise UserError(
            f"splat_channels of head {config['head']['name']} is {head.splat_channels}; encoder "
            f"{config['encoder']['name']} has {encoder.channels} channels"
        )
    finest = config.get("finest_cell", SuperResolver.finest_cell)
    check_setting("the model", "finest_cell", finest, SuperResolver.finest_cell)
    return SuperResolver(encoder, head, finest)


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of `build` with all settings, so that it means the same when defaults change.

    Raises:
      UserError: as `build`.
    """
    model, whole = build(config), {"dtype": config.get("dtype", "float32")}
    whole["finest_cell"] = model.finest_cell
    for kind in ("encoder", "head"):
        part = getattr(model, kind)
        whole[kind] = {**config[kind], **{name: getattr(part, name) for name in _settings(part)}}
    return whole


def parameter_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of `build`'s model, by their names joined with "/".

    Raises:
      UserError: as `build`.
    """
    return dict(_shapes(build(config)))


@functools.lru_cache(maxsize=64)
def _shapes(model: SuperResolver) -> dict[str, tuple[int, ...]]:
    def init() -> Any:
        return model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))

    # Nothing is computed here, not even the key: each program would delay the start on a GPU.
    with jax.enable_x64(False):  # whatever the caller computes with
        params = jax.eval_shape(init)["params"]
    return {k: v.shape for k, v in flax.traverse_util.flatten_dict(params, sep="/").items()}


def _settings(part: type[nn.Module] | nn.Module) -> list[str]:
    return [f for f in part.__dataclass_fields__ if f not in ("parent", "name", "dtype")]


def _part(kind: str, registry: dict, config: Mapping[str, Any], dtype: DTypeLike) -> nn.Module:
    settings = config.get(kind)
    if not isinstance(settings, Mapping):
        raise UserError(
            f"the model config has no {kind}; give {kind!r}: {{'name': one of "
            f"{', '.join(registry)}}}"
        )
    settings = dict(settings)
    name = settings.pop("name", None)
    if name not in registry:
        raise UserError(f"unknown {kind} {name!r}; choose from {', '.join(registry)}")
    cls, defaults = registry[name]
    for (owner, setting), classes in VARIANTS.items():
        if owner == name and setting in settings:
            value = settings.pop(setting)
            if value not in classes:
                raise UserError(f"unknown {setting} {value!r}; choose from {', '.join(classes)}")
            cls = classes[value]
    known = _settings(cls)
    for key, value in settings.items():
        if key not in known:
            raise UserError(f"unknown setting {key!r} of {kind} {name}; it has {', '.join(known)}")
        if isinstance(value, list):
            settings[key] = tuple(value)
        check_setting(f"{kind} {name}", key, settings[key], getattr(cls, key, None))
    return cls(**{**defaults, **settings}, dtype=dtype)
