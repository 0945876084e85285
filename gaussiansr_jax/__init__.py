"""GaussianSR in JAX/Flax: super-resolution at any scale with 2D Gaussian fields.

import gaussiansr_jax as gsr

upscaler = gsr.load("gaussiansr-edsr-baseline")
image = upscaler.upscale(image, scale=3.7)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gaussiansr_jax.errors import UserError

if TYPE_CHECKING:
    from gaussiansr_jax.loading import load, push_to_hub
    from gaussiansr_jax.models import build
    from gaussiansr_jax.upscaling.upscaler import Upscaler
    from gaussiansr_jax.weights import DEFAULT_WEIGHTS

__all__ = [
    "DEFAULT_WEIGHTS",
    "Upscaler",
    "UserError",
    "__version__",
    "build",
    "load",
    "push_to_hub",
]
__version__ = "0.2.0"

_LAZY = {
    "DEFAULT_WEIGHTS": "weights",
    "Upscaler": "upscaling.upscaler",
    "build": "models",
    "load": "loading",
    "push_to_hub": "loading",
}


def __getattr__(name: str):
    """Imports JAX only when something that needs it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
