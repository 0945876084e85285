"""What may differ between a run and its continuation: nothing that changes the samples."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.distributed import Group
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.training.config import default_config, to_json
from gaussiansr_jax.training.workdir import WEIGHTS

# May change without a note: where things are stored, and when something is reported. Images are
# compared by their pixels and not by these names, so a data set may be moved.
FREE = frozenset(
    [
        "pool",
        "pool_cache",
        "steps_per_dispatch",
        "log_every",
        "val_every",
        "checkpoint_every",
        "source",
        "val_source",
        "val_images",
        "skip_bad_images",
    ]
)
# May change, with a note: how the parameters follow from the samples.
STEERING = frozenset(
    [
        "steps",
        "learning_rate",
        "encoder_rate",
        "schedule",
        "milestones",
        "decay_factor",
        "final_learning_rate",
        "warmup_steps",
        "clip_norm",
        "ema_decay",
        "temperature",
    ]
)
_PROBES = 64  # tiles whose pixels stand for those of all


def check_settings(
    workdir: Path, step: int, before: Mapping[str, Any] | None, config: ConfigDict
) -> str:
    """Compares the settings of a run with those of its continuation.

    Args:
      workdir: of the run.
      step: from which it continues.
      before: its settings as `to_json` gives them; None if they are not known.
      config: the new ones.

    Returns:
      what has changed, in words; "" if nothing has.

    Raises:
      UserError: a setting has changed that the samples, the parameters at the start or the scores
        depend on.
    """
    if before is None:
        return ""
    defaults, now = to_json(default_config()), to_json(config)
    changed = {}
    for name in sorted(set(now) - FREE - {"model"}):
        old = before.get(name, defaults[name])
        if old != now[name]:
            changed[name] = (old, now[name])
    fixed = [name for name in changed if name not in STEERING]
    if fixed:
        old, new = (", ".join(f"{n}={changed[n][i]!r}" for n in fixed) for i in (0, 1))
        raise UserError(
            f"the run in {workdir} was started with {old}, which cannot become {new} in the "
            f"middle of it; {_way_out(workdir)}"
        )
    if not changed:
        return ""
    words = (f"{name} is {new!r}, not {old!r}" for name, (old, new) in changed.items())
    return f"from step {step} on {', '.join(words)}"


def images_seen(
    group: Group, pool: Pool, crops: UInt8[np.ndarray, "N S S 3"]
) -> dict[str, dict[str, Any]]:
    """Digests of what a run is trained and validated on, as JSON; every process must call it.

    They are of the pixels, not of names: of all crops, and of some of the tiles.
    """
    probes = np.unique(np.linspace(0, pool.total - 1, _PROBES).astype(int))
    own = [int(i) for i in probes if 0 <= i - pool.first < len(pool.tiles)]
    held = {index: _digest(pool.tiles[index - pool.first]) for index in own}
    tiles: dict[int, str] = {}
    for part, _ in group.gather("tiles seen", held):
        tiles |= part
    together = "".join(tiles[index] for index in sorted(tiles))
    return {
        "training": {
            "tiles": pool.total,
            "digest": _digest(np.frombuffer(together.encode(), "u1")),
        },
        "held-out": {"images": len(crops), "digest": _digest(crops)},
    }


def check_images(workdir: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Checks that a run continues with the images that it began with.

    Args:
      workdir: of the run.
      before: its `images_seen`; None if they are not known.
      now: those of its continuation.

    Raises:
      UserError: it does not.
    """
    for kind, facts in now.items():
        if before is None or before[kind] == facts:
            continue
        unit = next(iter(facts))
        raise UserError(
            f"the {kind} images are not those that the run in {workdir} was started with "
            f"({facts[unit]} {unit}, before {before[kind][unit]}); {_way_out(workdir)}"
        )


def _way_out(workdir: Path) -> str:
    return (
        "restore what it was, or start a new run from its weights with another --workdir and "
        f"--config.init_from={workdir / WEIGHTS}"
    )


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]
