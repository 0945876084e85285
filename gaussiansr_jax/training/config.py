"""The settings of a training run, their defaults and their checks."""

import json
import math
from typing import Any

from ml_collections import ConfigDict, config_dict

from gaussiansr_jax import models
from gaussiansr_jax.data.settings import SampleSettings, check_settings
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.evaluation import protocol
from gaussiansr_jax.upscaling.arguments import MAX_SCALE

SCHEDULES = ("step", "cosine")
POOLS = ("auto", "device", "host", "disk")


def default_config() -> ConfigDict:
    """The settings that every config starts from, those of GaussianSR's and LIIF's papers."""
    return ConfigDict(
        {
            # Everything random follows from it.
            "seed": 0,
            # What `models.build` takes.
            "model": {
                "encoder": {"name": "edsr-baseline"},
                "head": {"name": "gaussiansr"},
                "dtype": "bfloat16",
                # The smallest output pixel that the head is told of beyond the scales of training,
                # in LR pixels; see `SuperResolver.cell_at`.
                "finest_cell": 0.0,
            },
            # Weights (a name or a path) whose encoder, or whole model if it fits, is taken over.
            "init_from": "",
            # Which of these parts may be taken over.
            "init_parts": ("encoder", "head"),
            # HR images: folder:DIR[,DIR...], tfds:NAME[:SPLIT] or samples.
            "source": "samples",
            # Held-out images: as many of `source`, or all of another source.
            "val_images": 10,
            "val_source": "",
            # Side of the HR center crops that are judged, and the scales, fractional ones too.
            "val_crop": 192,
            "val_scales": (2, 3, 4),
            # Side of the HR tiles that the images are cut into.
            "tile_size": 256,
            # Where the tiles are kept: "device", divided among all devices; "host", which sends the
            # crops in advance; "disk", the same from a file; "auto": "device" if they fit there.
            "pool": "auto",
            # The folder of that file; "" is ~/.cache/gaussiansr-jax/tiles.
            "pool_cache": "",
            # Whether images that are unreadable or too small are left out, with a message.
            "skip_bad_images": False,
            # Factors by which each image enters reduced, 1 being as it is; see `build_pool`.
            "reductions": (1.0,),
            # Share of the samples with exchanged, inverted and weaker colors.
            "recolored": 0.0,
            # Sides of the LR patch and of the grid of target pixels that is queried.
            "lr_size": 48,
            "query_size": 48,
            # Side of the patches of adjacent target pixels that the grid consists of, spread over
            # the LR patch; None is one patch.
            "query_patch": config_dict.placeholder(int),
            # Scales of the samples, from the least to the largest.
            "scale_range": (1.0, 4.0),
            # Samples of a step over all devices.
            "batch_size": 16,
            # Of the whole run; the schedules stretch with it.
            "steps": 60_000,
            # At its highest.
            "learning_rate": 1e-4,
            # That of the encoder, as a share of it: below 1 where the encoder is trained already.
            "encoder_rate": 1.0,
            # "step": times decay_factor at each of `milestones` (fractions of `steps`);
            # "cosine": down to final_learning_rate.
            "schedule": "step",
            "milestones": (0.2, 0.4, 0.6, 0.8),
            "decay_factor": 0.5,
            "final_learning_rate": 0.0,
            # Steps in which the learning rate grows from zero.
            "warmup_steps": 0,
            # Largest global norm of the gradient; 0 turns clipping off.
            "clip_norm": 0.0,
            # Of the moving average of the weights, which is judged and exported.
            "ema_decay": 0.999,
            # Temperature of the Gumbel-softmax, geometric from start to end.
            "temperature": (1.0, 1.0),
            # Steps of one call of the device; None is 1 on CPUs and 500 elsewhere.
            "steps_per_dispatch": config_dict.placeholder(int),
            # Steps between log lines, validations and checkpoints, rounded up to dispatches.
            "log_every": 500,
            "val_every": 5_000,
            "checkpoint_every": 5_000,
        }
    )


def sample_settings(config: ConfigDict) -> SampleSettings:
    """The part of a config that makes samples."""
    low, high = config.scale_range
    patch = config.query_size if config.query_patch is None else config.query_patch
    scales = (float(low), float(high))
    return SampleSettings(
        lr_size=config.lr_size,
        query_size=config.query_size,
        query_patch=patch,
        scale_range=scales,
        recolored=config.recolored,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def check_config(config: ConfigDict) -> None:
    """Checks all settings, before any image is read.

    Raises:
      UserError: an unknown, missing or impossible setting.
    """
    _check_keys(config)
    _check_sequences(config)
    if not models.build(config.model.to_dict()).tileable:
        raise UserError(
            "a head with splatting='official' cannot be trained here, only ported and evaluated; "
            "train with splatting='field'"
        )
    _check_pair(config, "scale_range")
    _check_pair(config, "temperature")
    smallest = 1 / config.scale_range[1]
    if config.model.get("finest_cell", 0.0) > smallest * (1 + 1e-6):
        raise UserError(
            f"finest_cell of the model is {config.model.finest_cell:g}, but scale_range trains "
            f"with output pixels of {smallest:g}; make it 1 / {config.scale_range[1]:g}, or 0"
        )
    if not set(config.init_parts) <= {"encoder", "head"}:
        raise UserError(f"init_parts is {config.init_parts}; it must name encoder, head or both")
    check_settings(sample_settings(config), config.tile_size)
    positive = "batch_size steps learning_rate encoder_rate tile_size lr_size query_size val_crop"
    others = ("decay_factor", "log_every", "val_every", "checkpoint_every")
    for name in [*positive.split(), *others]:
        if not config[name] > 0:
            raise UserError(f"{name} is {config[name]}; it must be above 0")
    for name in ("warmup_steps", "clip_norm", "val_images", "final_learning_rate"):
        if not config[name] >= 0:
            raise UserError(f"{name} is {config[name]}; it must not be negative")
    if config.schedule not in SCHEDULES:
        raise UserError(f"unknown schedule {config.schedule!r}; choose from {SCHEDULES}")
    if config.pool not in POOLS:
        raise UserError(f"unknown pool {config.pool!r}; choose from {POOLS}")
    if not 0 <= config.ema_decay < 1:
        raise UserError(f"ema_decay is {config.ema_decay}; it must lie in [0, 1)")
    if not min(config.temperature) > 0:
        raise UserError(f"temperature is {config.temperature}; both ends must be above 0")
    if config.steps_per_dispatch is not None and config.steps_per_dispatch < 1:
        raise UserError(f"steps_per_dispatch is {config.steps_per_dispatch}; it must be above 0")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"seed is {config.seed}; it must lie between 0 and 2**32 - 1")
    if not all(isinstance(part, int | float) for part in config.milestones):
        raise UserError(f"milestones is {config.milestones}; it must be fractions of the run")
    factors = config.reductions
    if not factors or not all(isinstance(by, int | float) and 1 <= by < 1e3 for by in factors):
        raise UserError(
            f"reductions is {factors}; it must be factors of at least 1, such as (1, 2)"
        )
    if config.warmup_steps > config.steps:
        raise UserError(
            f"warmup_steps={config.warmup_steps} is longer than the run of steps={config.steps}; "
            "lower it"
        )
    _check_validation(config)
    _check_finite(config)


def to_json(config: ConfigDict) -> dict[str, Any]:
    """A config as plain JSON values, the model's with all settings."""
    whole = {**config.to_dict(), "model": models.complete(config.model.to_dict())}
    return json.loads(json.dumps(whole))


def _check_validation(config: ConfigDict) -> None:
    if not config.val_scales:
        raise UserError("val_scales is empty; give scales such as (2, 3, 4)")
    for scale in config.val_scales:
        if not (isinstance(scale, int | float) and 1 <= scale <= MAX_SCALE):
            raise UserError(f"val_scales holds {scale!r}; scales go from 1 to {MAX_SCALE:g}")
        (_, _), (side, _) = protocol.cut_size((config.val_crop,) * 2, scale)
        if side <= 2 * protocol.shave_of(scale):
            raise UserError(
                f"val_crop={config.val_crop} is too small to be judged at scale {scale:g}; raise it"
            )


def _check_keys(config: ConfigDict) -> None:
    known = default_config()
    for name in config:
        if name not in known:
            raise UserError(f"unknown setting {name!r}; the settings are {', '.join(known)}")
    for name in known:
        if name not in config:
            raise UserError(f"the config lacks the setting {name!r}; start from default_config()")


def _check_sequences(config: ConfigDict) -> None:
    for name, default in default_config().items():
        if isinstance(default, tuple) and not isinstance(config[name], tuple | list):
            raise UserError(f"{name} is {config[name]!r}; it must be a sequence, such as {default}")


def _check_finite(config: ConfigDict) -> None:
    for name, value in config.items():
        for number in value if isinstance(value, tuple | list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"{name} is {value}; it must be finite")


def _check_pair(config: ConfigDict, name: str) -> None:
    value = config[name]
    if len(value) != 2 or not all(isinstance(item, int | float) for item in value):
        raise UserError(f"{name} is {value}; it must be two numbers (from, to)")
