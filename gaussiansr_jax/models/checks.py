"""Checks of the settings of encoders and heads, before these are built."""

import math
from typing import Any

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.ops import selection

# What settings of these names may be.
CHOICES = {"selection": selection.MODES, "evaluation": ("expectation", "argmax")}
POSITIVE = ("channels", "grid", "growth", "hidden", "kernels", "layers", "stamp", "window")


def check_setting(owner: str, key: str, value: Any, default: Any) -> None:
    """Checks a setting by its name and by its default's type.

    Args:
      owner: "encoder NAME" or "head NAME".
      key: the setting.
      value: its value.
      default: its default.

    Raises:
      UserError: the value is impossible.

    Examples:
      >>> check_setting("head direct", "window", 5, 3)
    """
    choices = CHOICES.get(key)
    if choices is not None and value not in choices:
        raise UserError(f"unknown {key} {value!r} of {owner}; choose from {', '.join(choices)}")
    if isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "True or False"
    elif isinstance(default, int):
        least = int(key in POSITIVE)
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        wanted = f"a whole number from {least} on"
    elif isinstance(default, float):
        fits, wanted = _is_number(value), "a finite number"
    elif isinstance(default, tuple):
        fits = isinstance(value, tuple) and len(value) == len(default)
        fits = fits and all(map(_is_number, value))
        wanted = f"{len(default)} finite numbers"
    else:
        return
    if key == "finest_cell":
        fits, wanted = fits and 0 <= value <= 1, "a number from 0 to 1"
    if key == "window":
        fits, wanted = fits and value % 2 == 1, "an odd whole number"
    if not fits:
        raise UserError(f"{key} of {owner} is {value!r}; it must be {wanted}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
